"""Whatever is in a file: it is read, or refused in one line that names it. Never a traceback, never a guess in silence.

Files of a search are damaged as disks and kills damage them (cut, flipped, mixed), and replaced by anything at all.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tune.config.data import DataConfig
from tune.config.search import SearchConfig, search_config
from tune.config.toml import read_toml, write_toml
from tune.data.pairs import check_data, read_pairs
from tune.data.split import read_split_rows
from tune.errors import UserError
from tune.results.layout import ResultsFolder, read_test
from tune.results.rungs import RungFile
from tune.results.summary import Summary
from tune.train.directory import TrialDirectory
from tune.train.stream import Report

EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
REPORT = Report(1, 0.0625, 0.7, 0.7, 0.6, 0.5, 1.0, 9.0, 2.0, step=3)
WHOLE: dict[str, bytes] = {
    "search.toml": write_toml(search_config({"search": "asha"}, {"data": "pairs.csv"})).encode(),
    "asha.json": json.dumps({"rungs": {"0.0625": {"ab": 0.7, "cd": None}}, "stopped": {"cd": 0.0625}}).encode(),
    "asha.log": json.dumps({"rungs": {}, "stopped": {"ab": 0.25}}).encode() + b"\n",
    "reports.jsonl": REPORT.to_line().encode() + b"\n",
    "summary.json": b'{"name": "x", "trials": {"done": 1}}',
    "test.json": b'{"winner": {"auc": 0.9}}',
}
READERS: dict[str, Callable[[Path], Any]] = {
    "search.toml": lambda path: search_config(**read_toml(path)),
    "asha.json": RungFile,
    "asha.log": lambda path: RungFile(path.with_suffix(".json")),
    "reports.jsonl": lambda path: TrialDirectory(path.parent).reports(),
    "trial.json": lambda path: TrialDirectory(path.parent).config(),
    "failed.json": lambda path: TrialDirectory(path.parent).failure(),
    "lost.json": lambda path: TrialDirectory(path.parent).lost(),
    "done": lambda path: TrialDirectory(path.parent).settle(),
    "split.parquet": read_split_rows,
    "summary.json": lambda path: Summary(path).get("winner"),
    "test.json": lambda path: read_test(ResultsFolder(path.parent)),
}

anything = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with a byte changed, or cut short."""
    at = draw(st.integers(0, len(whole) - 1))
    return whole[:at] + draw(st.sampled_from([b"", bytes([draw(st.integers(0, 255))]) + whole[at + 1 :]]))


def read(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Read a file, or return the line that refuses it."""
    try:
        return reader(path)
    except UserError as error:
        line = str(error)
        assert line and "\n" not in line.strip() and "Traceback" not in line
        return line


@pytest.mark.parametrize("name", READERS)
@EXAMPLES
@given(data=st.data())
def test_files_of_a_search(name: str, tmp_path: Path, data: st.DataObject) -> None:
    logging.getLogger("tune.results.rungs").setLevel(logging.ERROR)
    options = [anything, *([damaged(WHOLE[name])] if name in WHOLE else [])]
    path = tmp_path / name
    path.write_bytes(data.draw(st.one_of(*options)))
    read(path, READERS[name])


@EXAMPLES
@given(content=st.one_of(anything, damaged(b'text_a,text_b,label\n"a, b",c,1\nd,"e ""f""",0\ng,h,1\n')))
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "csv.gz"])
def test_pairs(suffix: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"pairs.{suffix}"
    path.write_bytes(content)

    def reader(path: Path) -> int:
        config = DataConfig(data=str(path))
        check_data(config)
        return len(read_pairs(config).label)

    read(path, reader)


@EXAMPLES
@given(data=st.data())
def test_damaged_parquet(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"text_a": ["a", "b"] * 50, "text_b": ["c", "d"] * 50, "label": [0, 1] * 50}), path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    config = DataConfig(data=str(path))
    read(path, lambda _: (check_data(config), read_pairs(config)))


@EXAMPLES
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_written_configuration_reads_as_it_was(tmp_path: Path, text: str) -> None:
    """Any column name survives, also one with control characters."""
    config = search_config({"search": "grid"}, {"data": "pairs.csv", "text_a": text, "label": text + "\x7f"})
    path = tmp_path / "search.toml"
    path.write_text(write_toml(config), newline="")
    again: SearchConfig = search_config(**read_toml(path))
    assert again.data == config.data and again.spaces == config.spaces
