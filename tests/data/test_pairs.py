"""Reading pairs: what people hand in comes back as written; what cannot be searched on is one clear line."""

import csv
import gzip
import io
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tune.config.data import DataConfig
from tune.data.pairs import Pairs, check_data, read_pairs
from tune.errors import DataError

ROWS = [
    ("how do I pay", "ways of paying", 1),
    ("how do I pay", "where are you", 0),
    ("opening hours", "when open", 1),
]
ODD = [
    ("NA", "null", 1),
    ("None", "nan", 0),
    ("007", "1e5", 1),
    ("2020-01-01", "2021-02-03 00:00:00", 0),
    ('she said "hi", then left', "a, b; c\td", 1),
    ("first line\nsecond line", "with\r\nWindows break", 0),
    ("🙂👩‍👩‍👧 naïve 漢字", "à la carte", 1),
    ("x" * 100_000, "y" * 200_000, 0),
    ("  spaces around  ", "true", 1),
    ("C:\\temp\\new", "'single' quotes", 0),
]


def table(
    rows: list[tuple[str, str, Any]],
    delimiter: str = ",",
    newline: str = "\n",
    header: str = "text1 text2 label",
) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=newline)
    writer.writerow(header.split())
    writer.writerows(rows)
    return out.getvalue()


def jsonl(rows: list[tuple[str, str, Any]], header: str = "text1 text2 label") -> str:
    return "".join(json.dumps(dict(zip(header.split(), row, strict=True))) + "\n" for row in rows)


def parquet(path: Path, rows: list[tuple[str, str, Any]], header: str = "text1 text2 label") -> None:
    pq.write_table(pa.table(dict(zip(header.split(), zip(*rows, strict=True), strict=True))), path)


def put(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path | str, **options: Any) -> Pairs:
    config = DataConfig(data=str(path), **options)
    check_data(config)
    return read_pairs(config)


def triples(pairs: Pairs) -> list[tuple[str, str, int]]:
    return list(zip(pairs.text_a, pairs.text_b, pairs.label.tolist(), strict=True))


def refusal(path: Path | str, **options: Any) -> str:
    """The one line that reading is refused with."""
    config = DataConfig(data=str(path), **options)
    with pytest.raises(DataError) as refused:
        read_pairs(config)
    line = str(refused.value)
    assert "\n" not in line and "\r" not in line and 20 < len(line) < 600, line
    assert ": " in line
    return line


def refused_early(path: Path | str, **options: Any) -> str:
    """The same line from both, where check_data refuses already."""
    config = DataConfig(data=str(path), **options)
    with pytest.raises(DataError) as refused:
        check_data(config)
    assert str(refused.value) == refusal(path, **options)
    return str(refused.value)


def write(folder: Path, suffix: str, rows: list[tuple[str, str, Any]]) -> Path:
    path = folder / f"pairs{suffix}"
    if suffix == ".parquet":
        parquet(path, rows)
        return path
    if "json" in suffix:
        return put(path, jsonl(rows))
    return put(path, table(rows, "\t" if ".tsv" in suffix else ","))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".parquet", ".CSV"])
def test_odd_texts_come_back_as_written(tmp_path: Path, suffix: str) -> None:
    pairs = read(write(tmp_path, suffix, ODD))
    assert triples(pairs) == ODD
    assert pairs.row.tolist() == list(range(len(ODD)))
    assert pairs.side is None and not pairs.synthetic
    assert pairs.source == f"pairs{suffix}"


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_bom_and_windows_line_ends(tmp_path: Path, bom: str, newline: str) -> None:
    assert triples(read(put(tmp_path / "a.csv", bom + table(ROWS, newline=newline)))) == ROWS
    assert triples(read(put(tmp_path / "a.tsv", bom + table(ROWS, "\t", newline)))) == ROWS
    assert triples(read(put(tmp_path / "a.jsonl", bom + jsonl(ROWS).replace("\n", newline)))) == ROWS


def test_table_details(tmp_path: Path) -> None:
    assert triples(read(put(tmp_path / "semicolon.csv", table(ROWS, ";")))) == ROWS
    unnamed = ",text1,text2,label\n0,a,b,1\n\n1,c,d,0\n"
    assert triples(read(put(tmp_path / "index [1]*.csv", unnamed))) == [("a", "b", 1), ("c", "d", 0)]
    short = "text1,text2,label\na,b,1\nc,d,0\ne,f\ng\n"
    assert triples(read(put(tmp_path / "short.csv", short)))[2:] == [("e", "f", -1), ("g", "", -1)]


def test_tsv_without_quoting(tmp_path: Path) -> None:
    plain = 'text1\ttext2\tlabel\n"Hello" he said\tb\t1\n"open\tquote at start"\t0\n5" pipe\t"\t1\n'
    expected = [('"Hello" he said', "b", 1), ('"open', 'quote at start"', 0), ('5" pipe', '"', 1)]
    assert triples(read(put(tmp_path / "plain.tsv", plain))) == expected


def test_jsonl_details(tmp_path: Path) -> None:
    lines = (
        '{"text1": 7, "text2": 1e5, "label": true}\n\n{"label": 0.0, "text2": "b", "text1": null}\n'
        '{"text1": "cut \\ud83d", "text2": "\\ud83d\\ude42", "other": [1], "label": "yes"}\n'
        '{"text1": "x", "text2": "y"}'
    )
    assert triples(read(put(tmp_path / "p.jsonl", lines))) == [
        ("7", "1e5", 1),
        ("", "b", 0),
        ("cut \ufffd", "🙂", 1),
        ("x", "y", -1),
    ]


def test_parquet_types(tmp_path: Path) -> None:
    columns = {
        "text1": pa.array(["a", None, "c"]).dictionary_encode(),
        "text2": pa.array([b"a", "é".encode(), b"c"], pa.binary()),
        "id": pa.array([[1], [2], None]),
        "label": pa.array([1.0, 0.0, None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    assert triples(read(tmp_path / "p.parquet")) == [("a", "a", 1), ("", "é", 0), ("c", "c", -1)]


def test_changed_file_is_read_anew_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("HOME", str(scratch))
    path = tmp_path / "p.csv"
    for label in (0, 1):
        stamp = put(path, f"text1,text2,label\na,b,{label}\nc,d,{1 - label}\n")
        os.utime(stamp, (1, 1))
        assert read(path).label.tolist() == [label, 1 - label]
    assert list(scratch.iterdir()) == []


def test_reading_is_quiet_and_asks_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a local file needs no network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr("datasets.load.get_session", no_network)
    level = logging.getLogger("datasets").level
    read(put(tmp_path / "p.csv", table(ROWS)))
    refusal(put(tmp_path / "bad.csv", "text1,text2,label\na,b,1\na,b,c,0\n"))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("datasets").level == level


@pytest.mark.parametrize(
    ("header", "query_document"),
    [
        ("text1 text2 label", False),
        ("Text_A Text-B LABEL", False),
        ("sentence1 sentence2 score", False),
        ("Sentence_0 Sentence_1 similarity", False),
        ("question1 question2 is_duplicate", False),
        ("query document relevant", True),
        ("Query Passage Relevance", True),
        ("anchor positive label", False),
        ("premise hypothesis target", False),
    ],
)
def test_usual_columns(tmp_path: Path, header: str, query_document: bool) -> None:
    pairs = read(put(tmp_path / "p.csv", table(ROWS, header=header)))
    assert triples(pairs) == ROWS
    assert pairs.columns.names() == header.split()
    assert pairs.columns.query_document is query_document


def test_given_columns(tmp_path: Path) -> None:
    path = put(tmp_path / "p.csv", "left text,text1,right,ok,label\na,x,b,yes,5\nc,x,d,no,6\n")
    pairs = read(path, text_a="left text", text_b="Right", label="ok")
    assert triples(pairs) == [("a", "b", 1), ("c", "d", 0)]
    assert pairs.columns.text_b == "right"


def test_columns_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "p.csv", "foo,bar,label\na,b,1\nc,d,0\n")
    line = refused_early(path)
    assert "'foo', 'bar', 'label'" in line and "--text-a" in line and "--text-b" in line
    assert "'baz' (--text-a)" in refused_early(path, text_a="baz", text_b="bar")
    assert "two purposes" in refused_early(path, text_a="foo", text_b="bar", label="foo")
    assert "--split-column" in refused_early(path, text_a="foo", text_b="bar", split_column="fold")
    assert "--label" in refused_early(put(tmp_path / "n.csv", "text1,text2,gut\na,b,1\n"))
    both = refused_early(put(tmp_path / "b.csv", "text1,text2,query,document,label\na,b,c,d,1\n"))
    assert "text1/text2" in both and "query/document" in both and "--text-a" in both
    assert "twice" in refused_early(put(tmp_path / "t.csv", "text1,text2,text1,label\na,b,c,1\n"))
    many = ",".join(f"a very long name of a column {i}" for i in range(500))
    assert "488 more" in refused_early(put(tmp_path / "m.csv", f"{many}\n{many}\n"), text_a="x")


@pytest.mark.parametrize("words", [("0", "1"), ("0.0", "1.0"), ("False", "TRUE"), ("no", "Yes"), (" 0", "1 ")])
def test_labels(tmp_path: Path, words: tuple[str, str]) -> None:
    rows = [("a", "b", words[0]), ("c", "d", words[1]), ("e", "f", ""), ("g", "h", "NA")]
    assert read(put(tmp_path / "p.csv", table(rows))).label.tolist() == [0, 1, -1, -1]


def test_typed_labels(tmp_path: Path) -> None:
    for zero, one in ((0, 1), (0.0, 1.0), (False, True)):
        parquet(tmp_path / "p.parquet", [("a", "b", zero), ("c", "d", one), ("e", "f", None)])
        pairs = read(tmp_path / "p.parquet")
        assert pairs.label.tolist() == [0, 1, -1] and pairs.label.dtype == np.int8


def test_labels_of_other_values(tmp_path: Path) -> None:
    rows = [(f"a{i}", "b", label) for i, label in enumerate([1, 0, 3.5, 4.2, 3.5, "good\nbad", 9])]
    line = refusal(put(tmp_path / "p.csv", table(rows)))
    assert "'3.5', '4.2', 'good\\nbad'" in line and "9" not in line and "--positive-from" in line


def test_graded_labels(tmp_path: Path) -> None:
    rows = [("a", "b", 3.9), ("c", "d", 4), ("e", "f", "5.0"), ("g", "h", "")]
    path = put(tmp_path / "p.csv", table(rows))
    assert read(path, positive_from=4).label.tolist() == [0, 1, 1, -1]
    assert "'yes'" in refusal(put(tmp_path / "q.csv", table([("a", "b", "yes")])), positive_from=4)


def test_split_column(tmp_path: Path) -> None:
    sides = ["train", "Dev", "TEST ", "validation", "val", "valid", "train"]
    rows = {
        "text1": [f"a{i}" for i in range(7)],
        "text2": ["b"] * 7,
        "label": [0, 1, 0, 1, 0, 1, 0],
        "Fold": sides,
        "other": ["train", "held\nout", None, 3, "train", "x", "y"],
    }
    put(
        tmp_path / "p.jsonl",
        "".join(json.dumps(dict(zip(rows, row, strict=True))) + "\n" for row in zip(*rows.values(), strict=True)),
    )
    pairs = read(tmp_path / "p.jsonl", split_column="fold")
    assert pairs.side == ["train", "val", "test", "val", "val", "val", "train"]
    assert pairs.columns.split == "Fold"
    assert read(tmp_path / "p.jsonl").side is None
    assert pairs.take(np.array([2, 0])).side == ["test", "train"]
    line = refusal(tmp_path / "p.jsonl", split_column="other")
    assert "'held\\nout', None, '3'" in line and "train, val" in line


def test_eval_is_test_unless_there_is_a_test(tmp_path: Path) -> None:
    for third, expected in (("train", "test"), ("test", "val")):
        rows = {
            "text1": ["a", "b", "c"],
            "text2": ["d", "e", "f"],
            "label": [0, 1, 0],
            "s": ["train", "eval", third],
        }
        pq.write_table(pa.table(rows), tmp_path / "p.parquet")
        sides = read(tmp_path / "p.parquet", split_column="s").side
        assert sides is not None and sides[1] == expected


def test_folder_with_sides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "my pairs"
    folder.mkdir()
    put(folder / "test.csv", table([("t", "t2", 1)]))
    put(folder / "quora_validation.jsonl", jsonl([("v", "v2", 0)], "question1 question2 label"))
    for i in (1, 0):
        parquet(folder / f"train-0000{i}-of-00002.parquet", [(f"n{i}", "n", i)])
    put(folder / "README.md", "notes")
    put(folder / "corpus.csv", "id,text\n1,x\n")
    pairs = read(folder)
    assert pairs.text_a == ["n0", "n1", "v", "t"] and pairs.side == ["train", "train", "val", "test"]
    assert pairs.row.tolist() == [0, 1, 2, 3] and pairs.source == "my pairs"
    assert "corpus.csv" in caplog.text


def test_folder_without_a_split(tmp_path: Path) -> None:
    put(tmp_path / "anything.csv", table(ROWS))
    assert triples(read(tmp_path)) == ROWS
    for i in range(2):
        put(tmp_path / f"train-{i}.csv", table(ROWS))
    (tmp_path / "anything.csv").unlink()
    assert read(tmp_path).side is None


def test_folders_refused(tmp_path: Path) -> None:
    assert "holds no csv" in refused_early(tmp_path)
    put(tmp_path / "notes.txt", "x")
    assert "holds no csv" in refused_early(tmp_path)
    for name in ("b", "a"):
        put(tmp_path / f"{name}.csv", table(ROWS))
    line = refused_early(tmp_path)
    assert "a.csv, b.csv" in line and "name one file" in line


@pytest.mark.parametrize(
    "name", ["pairs.csv", "./pairs", "/nowhere/pairs", "a/b/c", "quora", "data/pairs.xlsx", "~/x/y"]
)
def test_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no such file" in refused_early(name)


def test_near_name_is_offered(tmp_path: Path) -> None:
    put(tmp_path / "pairs.csv", table(ROWS))
    assert "'pairs.csv'" in refused_early(tmp_path / "pair.csv")


def test_hub_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    line = refused_early("someone/no-such-pairs:pair-class")
    assert "no network" in line and "someone/no-such-pairs:pair-class" in line and "local file" in line


def hub_of(monkeypatch: pytest.MonkeyPatch, splits: dict[str, list[tuple[str, str, int]]]) -> None:
    from datasets import Dataset, DatasetDict

    def load(name: str, config: str | None) -> DatasetDict:
        assert (name, config) == ("owner/name", "pair-class")
        made = {
            split: Dataset.from_dict(
                dict(zip(("text1", "text2", "label"), map(list, zip(*rows, strict=True)), strict=True))
            )
            for split, rows in splits.items()
        }
        return DatasetDict(made)

    monkeypatch.setattr("tune.data._library._host_is_unknown", lambda: False)
    monkeypatch.setattr("datasets.load_dataset", load)


def test_hub_splits_are_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_of(monkeypatch, {"test": ROWS[:1], "train": ROWS, "dev": ROWS[1:2]})
    pairs = read_pairs(DataConfig(data="owner/name:pair-class"))
    assert triples(pairs) == [*ROWS, ROWS[1], ROWS[0]]
    assert pairs.side == ["train"] * 3 + ["val", "test"] and pairs.source == "owner/name:pair-class"
    hub_of(monkeypatch, {"train": ROWS})
    assert read_pairs(DataConfig(data="owner/name:pair-class")).side is None
    hub_of(monkeypatch, {"one": ROWS, "two": ROWS})
    assert "one, two" in refusal("owner/name:pair-class")


def test_hub_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("first line\n  second line")

    monkeypatch.setattr("tune.data._library._host_is_unknown", lambda: False)
    monkeypatch.setattr("datasets.load_dataset", fail)
    monkeypatch.setattr("datasets.load_dataset_builder", fail)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    assert "first line second line" in refused_early("owner/name")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet"])
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    assert "is empty" in refused_early(put(tmp_path / f"p{suffix}", ""))


def test_blank_or_header_only(tmp_path: Path) -> None:
    assert "is empty" in refused_early(put(tmp_path / "p.csv", "\ufeff\n \n"))
    for name in ("p.csv", "p.tsv"):
        assert "no rows" in refused_early(put(tmp_path / name, "text1,text2,label\n"))
    schema = pa.schema([("text1", pa.string()), ("text2", pa.string()), ("label", pa.int64())])
    pq.write_table(schema.empty_table(), tmp_path / "p.parquet")
    assert "no rows" in refused_early(tmp_path / "p.parquet")


@pytest.mark.parametrize("name", ["p.txt", "p.xlsx", "p", "p.parquet.gz", "p.csv.zip"])
def test_unknown_format(tmp_path: Path, name: str) -> None:
    line = refused_early(put(tmp_path / name, table(ROWS)))
    assert "unknown format" in line and "csv, csv.gz, tsv, jsonl or parquet" in line


@pytest.mark.parametrize("labels", [(0, 0), (1, 1), (1, "")])
def test_one_class(tmp_path: Path, labels: tuple[object, ...]) -> None:
    line = refusal(put(tmp_path / "p.csv", table([(f"a{i}", "b", label) for i, label in enumerate(labels)])))
    present = labels[0]
    assert f"only pairs labelled {present}" in line and f"add pairs labelled {1 - int(str(present))}" in line


def test_no_labels_at_all(tmp_path: Path) -> None:
    assert "no labelled pairs" in refusal(put(tmp_path / "p.csv", table([("a", "b", ""), ("c", "d", "")])))


def test_anchor_positive_needs_negatives(tmp_path: Path) -> None:
    line = refused_early(put(tmp_path / "p.csv", "anchor,positive\na,b\nc,d\n").rename(tmp_path / "pairs.csv"))
    assert "negatives" in line


def test_not_utf8(tmp_path: Path) -> None:
    line = refused_early(put(tmp_path / "p.csv", "text1,text2,label\na,b,1\nc,ü,0\n".encode("latin-1")))
    assert "byte 26 (0xfc) in line 3" in line and "UTF-8" in line
    late = b"text1,text2,label\n" + b"abc,def,1\n" * 300_000 + b"x,\xff,0\n"
    assert f"byte {len(late) - 4} (0xff) in line 300002" in refusal(put(tmp_path / "late.csv.gz", late))
    assert "not UTF-8" in refused_early(put(tmp_path / "utf16.csv", table(ROWS).encode("utf-16")))
    assert "line 4" in refusal(put(tmp_path / "p.jsonl", jsonl(ROWS).encode() + b'{"text1": "\xe9"}\n'))
    cut = "text1,text2,label\na,b,1\nc,ü".encode()[:-1]
    assert "line 3" in refused_early(put(tmp_path / "cut.csv", cut))


def test_multibyte_characters_across_chunks_are_fine(tmp_path: Path) -> None:
    rows = [("ü" * 700_001, "漢" * 700_001, 1), ("b", "c", 0)]
    assert triples(read(put(tmp_path / "p.csv", table(rows)))) == rows


def test_truncated_files(tmp_path: Path) -> None:
    whole = write(tmp_path, ".csv.gz", [(f"text {i * 7919}", f"other {i * 104729}", i % 2) for i in range(50_000)])
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    assert "truncated or damaged gzip" in refusal(whole)
    whole.write_bytes(b"text1,text2,label\na,b,1\n")
    assert "truncated or damaged gzip" in refused_early(whole)
    pieces = write(tmp_path, ".parquet", ROWS)
    content = pieces.read_bytes()
    pieces.write_bytes(content[: len(content) // 2])
    assert "truncated or damaged parquet" in refused_early(pieces)
    pieces.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    assert "parquet" in refusal(pieces)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"text1": "a", "text2"', "line 4 is not JSON"),
        ("[1, 2]", "line 4 is ['1', '2'], not an object"),
        ("text", "line 4 is not JSON"),
        ("[" * 100_000, "line 4 is not JSON"),
    ],
)
def test_broken_jsonl(tmp_path: Path, bad: str, says: str) -> None:
    line = refusal(put(tmp_path / "p.jsonl", jsonl(ROWS) + bad + "\n" + jsonl(ROWS)))
    assert says in line and "one object per line" in line


def test_json_array(tmp_path: Path) -> None:
    array = json.dumps([{"text1": "a", "text2": "b", "label": 1}])
    assert "one object per line" in refused_early(put(tmp_path / "p.json", array))


def test_ragged_tables(tmp_path: Path) -> None:
    line = refused_early(put(tmp_path / "p.csv", "text1,text2,label\na,b,c,1\nd,e,0\n"))
    assert "4 fields" in line and "names 3" in line and "double quotes" in line
    line = refusal(put(tmp_path / "q.csv", "text1,text2,label\na,b,1\nd,e,0\na,b,c,1\n"))
    assert "line 4 has 4 fields" in line
    assert "never closed" in refusal(put(tmp_path / "r.csv", 'text1,text2,label\na,b,1\n"d,e,0\n'))


def test_texts_that_are_no_texts(tmp_path: Path) -> None:
    rows = {"text1": ["a", "b"], "text2": [["x"], ["y"]], "label": [0, 1]}
    pq.write_table(pa.table(rows), tmp_path / "p.parquet")
    assert "holds a list, not a text" in refusal(tmp_path / "p.parquet")
    pq.write_table(pa.table({**rows, "text2": [b"\xff\xfe", b"y"]}), tmp_path / "q.parquet")
    assert "not UTF-8" in refusal(tmp_path / "q.parquet")


def test_demo_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tune.data.demo")
    monkeypatch.setattr("tune.data.demo.demo_pairs", lambda seed=0: ROWS)
    check_data(DataConfig())
    pairs = read_pairs(DataConfig())
    assert triples(pairs) == ROWS and pairs.synthetic and pairs.source == "demo"
    with pytest.raises(DataError, match="--split-column given without --data"):
        check_data(DataConfig(split_column="split"))
