"""File formats: texts come back exactly as written, and reading leaves nothing behind."""

import logging
import os
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.pair_files import ROWS, jsonl, put, read, refusal, table, triples, write

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
    told = put(tmp_path / "excel.csv", "sep=;\r\n" + table(ROWS, ";", "\r\n"))
    assert triples(read(told)) == ROWS
    assert triples(read(put(tmp_path / "bom.csv", "\ufeffsep=;\n" + table(ROWS, ";")))) == ROWS
    unnamed = ",text1,text2,label\n0,a,b,1\n\n1,c,d,0\n"
    assert triples(read(put(tmp_path / "index [1]*.csv", unnamed))) == [("a", "b", 1), ("c", "d", 0)]
    assert triples(read(put(tmp_path / "pipe.csv", table(ROWS, "|")))) == ROWS


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


def test_multibyte_characters_across_chunks_are_fine(tmp_path: Path) -> None:
    rows = [("ü" * 700_001, "漢" * 700_001, 1), ("b", "c", 0)]
    assert triples(read(put(tmp_path / "p.csv", table(rows)))) == rows


def test_a_changed_file_is_read_again_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_reading_is_quiet_and_needs_no_network(
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
