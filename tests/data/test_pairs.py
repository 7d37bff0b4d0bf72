"""Reading pairs: columns, labels and sides are found by their usual names, in files, folders and hub datasets."""

import json
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from tests.data.pair_files import ROWS, jsonl, parquet, put, read, refusal, refused_early, table, triples
from tune.config.data import DataConfig
from tune.data.pairs import check_data, read_pairs
from tune.errors import DataError


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


def test_minus_one_beside_0_and_1_is_no_label(tmp_path: Path) -> None:
    for marks in ((-1, 0, 1), ("-1", "no", "yes"), (-1.0, 0.0, 1.0)):
        path = put(tmp_path / "p.csv", table([("a", "b", mark) for mark in marks]))
        assert read(path).label.tolist() == [-1, 0, 1]
    assert read(path, positive_from=1).label.tolist() == [-1, 0, 1]
    parquet(tmp_path / "p.parquet", [("a", "b", 0), ("c", "d", -1), ("e", "f", 1)])
    assert read(tmp_path / "p.parquet").label.tolist() == [0, -1, 1]
    third = put(tmp_path / "q.csv", table([("a", "b", mark) for mark in (-1, 0, 1, 2)]))
    assert "'-1', '2'" in refusal(third)
    assert read(third, positive_from=0.5).label.tolist() == [0, 0, 1, 1], "a scale with more than these is graded"


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


def test_a_test_file_without_labels_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "train.csv", "id,question1,question2,is_duplicate\n0,a,b,1\n1,c,d,0\n")
    put(tmp_path / "test.csv", "test_id,question1,question2\n0,e,f\n")
    pairs = read(tmp_path)
    assert pairs.text_a == ["a", "c"] and pairs.side is None, "one file that remains is no split"
    assert "test.csv: left out, since it has no label column" in caplog.text
    put(tmp_path / "val.csv", "question1,question2,is_duplicate\ng,h,1\n")
    assert read(tmp_path).side == ["train", "train", "val"]
    put(tmp_path / "train.csv", "question1,question2\na,b\n")
    assert "train.csv: no label column" in refusal(tmp_path)


def test_a_clone_of_a_hub_dataset(tmp_path: Path) -> None:
    put(tmp_path / "README.md", "---\nconfigs: []\n---\n")
    (tmp_path / "data").mkdir()
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [("a", "b", 0), ("c", "d", 1)])
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [("e", "f", 1)])
    assert read(tmp_path).side == ["train", "train", "test"]


def test_a_dataset_saved_to_disk(tmp_path: Path) -> None:
    columns = {"text1": ["a", "c", "e"], "text2": ["b", "d", "f"], "label": [1, 0, 1]}
    one = Dataset.from_dict(columns)
    # Saved with the order of its rows apart from the rows.
    one.select([2, 0, 1]).save_to_disk(str(tmp_path / "one"))
    pairs = read(tmp_path / "one")
    assert pairs.text_a == ["e", "a", "c"] and pairs.label.tolist() == [1, 1, 0] and pairs.side is None
    assert pairs.source == "one"
    splits = DatasetDict({"train": one, "validation": one.select([0]), "test": one.select([1])})
    splits.save_to_disk(str(tmp_path / "three"))
    assert read(tmp_path / "three").side == ["train", "train", "train", "val", "test"]
    splits["test"] = splits["test"].remove_columns("label")
    splits.save_to_disk(str(tmp_path / "unlabelled"))
    check_data(DataConfig(data=str(tmp_path / "unlabelled")))
    assert read(tmp_path / "unlabelled").side == ["train", "train", "train", "val"]
    next((tmp_path / "one").glob("*.arrow")).unlink()
    assert "cannot read saved dataset 'one'" in refusal(tmp_path / "one")


def test_folder_without_a_split(tmp_path: Path) -> None:
    put(tmp_path / "anything.csv", table(ROWS))
    assert triples(read(tmp_path)) == ROWS
    for i in range(2):
        put(tmp_path / f"train-{i}.csv", table(ROWS))
    (tmp_path / "anything.csv").unlink()
    assert read(tmp_path).side is None


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


def test_demo_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tune.data.demo")
    monkeypatch.setattr("tune.data.demo.demo_pairs", lambda seed=0: ROWS)
    check_data(DataConfig())
    pairs = read_pairs(DataConfig())
    assert triples(pairs) == ROWS and pairs.synthetic and pairs.source == "demo"
    with pytest.raises(DataError, match="--split-column given without --data"):
        check_data(DataConfig(split_column="split"))
