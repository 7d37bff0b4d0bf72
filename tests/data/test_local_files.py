"""Files copied elsewhere, at the same places below another root, are the same pairs."""

import shutil
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from tests.data.pair_files import ROWS, parquet, put, read, table, triples
from tests.data.test_folders import README, clone
from tune.data.local_files import local_files


def make(folder: Path) -> None:
    """Pairs of all kinds, beside files that are none."""
    put(folder / "pairs.csv", table(ROWS))
    put(folder / "notes.txt", "not pairs")
    (folder / "parts" / "split=train").mkdir(parents=True)
    parquet(folder / "parts" / "split=train" / "0.parquet", ROWS)
    put(folder / "parts" / "notes.txt", "not pairs")
    clone(folder / "clone", README)
    columns = dict(zip(("text1", "text2", "label"), map(list, zip(*ROWS, strict=True)), strict=True))
    DatasetDict({"train": Dataset.from_dict(columns)}).save_to_disk(str(folder / "saved"))


@pytest.mark.parametrize(
    "data", ["pairs.csv", "parts", "parts/*/0.parquet", "p*.csv", "clone:pair-class", "clone:folder", "saved"]
)
def test_copies_are_the_same_pairs(tmp_path: Path, data: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    make(here)
    found = local_files(f"{here}/{data}")
    assert found is not None
    for file in found.files:
        copy = there / file.relative_to(here)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    assert triples(read(f"{there / found.root.relative_to(here)}{found.rest}")) == triples(read(f"{here}/{data}"))
    assert not list(there.rglob("notes.txt")), "only what is read is copied"


def test_a_file_scheme_is_a_path(tmp_path: Path) -> None:
    path = put(tmp_path / "my pairs.csv", table(ROWS))
    found = local_files(path.as_uri())
    assert found is not None and (found.root, found.files, found.rest) == (path, [path], "")


def test_what_is_elsewhere_is_not_copied() -> None:
    for data in ("owner/name", "https://host/pairs.csv", "hf://datasets/owner/name"):
        assert local_files(data) is None
