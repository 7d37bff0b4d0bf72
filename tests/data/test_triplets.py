"""Triplets without labels are read as pairs: a text with each that belongs to it, and with each that does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.pair_files import parquet, put, read, refusal, refused_early, triples

HEADER = "anchor,positive,negative\n"


@pytest.mark.parametrize("names", ["anchor,positive,negative", "query,pos,neg", "Question,Positive,Negative_1"])
def test_triplets_are_pairs(tmp_path: Path, names: str, caplog: pytest.LogCaptureFixture) -> None:
    pairs = read(put(tmp_path / "p.csv", f"{names}\na,b,c\nd,e,f\n"))
    assert triples(pairs) == [("a", "b", 1), ("a", "c", 0), ("d", "e", 1), ("d", "f", 0)]
    assert pairs.row.tolist() == [0, 0, 1, 1] and pairs.columns.label is None and pairs.side is None
    assert "p.csv: 2 triplets read as 4 pairs" in caplog.text


def test_several_negatives(tmp_path: Path) -> None:
    put(tmp_path / "p.csv", "query,positive,negative_1,negative_2,note\na,b,c,d,x\ne,f,g,,y\n")
    pairs = read(tmp_path / "p.csv")
    assert triples(pairs) == [("a", "b", 1), ("a", "c", 0), ("a", "d", 0), ("e", "f", 1), ("e", "g", 0)]
    assert pairs.row.tolist() == [0, 0, 0, 1, 1]


def test_lists_of_texts(tmp_path: Path) -> None:
    rows = [{"query": "a", "pos": ["b", "c"], "neg": ["d"]}, {"query": "e", "pos": ["f"], "neg": []}]
    expected = [("a", "b", 1), ("a", "c", 1), ("a", "d", 0), ("e", "f", 1)]
    assert triples(read(put(tmp_path / "p.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))) == expected
    parquet(tmp_path / "p.parquet", [("a", ["b", "c"], ["d"]), ("e", ["f"], [])], "query pos neg")
    assert triples(read(tmp_path / "p.parquet")) == expected


def test_a_split_goes_with_the_row(tmp_path: Path) -> None:
    put(tmp_path / "p.csv", "anchor,positive,negative,split\na,b,c,train\nd,e,f,test\n")
    assert read(tmp_path / "p.csv", split_column="split").side == ["train", "train", "test", "test"]
    folder = tmp_path / "sides"
    folder.mkdir()
    put(folder / "train.csv", HEADER + "a,b,c\n")
    put(folder / "test.csv", HEADER + "d,e,f\ng,h,i\n")
    pairs = read(folder)
    assert pairs.side == ["train"] * 2 + ["test"] * 4 and pairs.row.tolist() == [0, 0, 1, 1, 2, 2]


def test_labels_go_before_negatives(tmp_path: Path) -> None:
    pairs = read(put(tmp_path / "p.csv", "anchor,positive,negative,label\na,b,c,1\nd,e,f,0\n"))
    assert triples(pairs) == [("a", "b", 1), ("d", "e", 0)]
    assert "add negatives" in refused_early(put(tmp_path / "q.csv", "anchor,positive,other\na,b,c\n"))
    assert "no label column" in refused_early(put(tmp_path / "r.csv", "text1,text2,negative\na,b,c\n"))


@pytest.mark.parametrize("options", [{"positive_label": "0"}, {"positive_from": 0.5}])
def test_options_for_labels_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    line = refused_early(put(tmp_path / "p.csv", HEADER + "a,b,c\n"), **options)
    assert "triplets" in line and f"leave out --{next(iter(options)).replace('_', '-')}" in line


def test_their_labels_are_not_in_doubt(tmp_path: Path) -> None:
    meaning = read(put(tmp_path / "p.csv", HEADER + "a,b,c\n")).meaning
    assert meaning.given and meaning.text == "triplets: 1 for positive, 0 for negative"


@pytest.mark.parametrize("column", ["query", "pos", "neg"])
def test_a_bad_value_is_named_by_its_own_row_and_column(tmp_path: Path, column: str) -> None:
    rows = [{"query": f"q{i}", "pos": [f"p{i}", f"r{i}"], "neg": [f"n{i}", f"m{i}"]} for i in range(4)]
    rows[2][column] = {"a": 1} if column == "query" else ["n", {"a": 1}]  # type: ignore[assignment]
    line = refusal(put(tmp_path / "p.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert f"column '{column}', row 3 is a dict" in line
