"""Files that cannot be read: each is refused in one line that says how to fix it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.pair_files import ROWS, jsonl, parquet, put, refusal, refused_early, table, write


@pytest.mark.parametrize(
    "name", ["pairs.csv", "./pairs", "/nowhere/pairs", "a/b/c", "quora", "data/pairs.xlsx", "~/x/y"]
)
def test_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no such file" in refused_early(name)


def test_near_name_is_offered(tmp_path: Path) -> None:
    put(tmp_path / "pairs.csv", table(ROWS))
    assert "'pairs.csv'" in refused_early(tmp_path / "pair.csv")


@pytest.mark.parametrize("name", ["p.txt", "p.xlsx", "p", "p.parquet.gz", "p.csv.zip"])
def test_unknown_format(tmp_path: Path, name: str) -> None:
    line = refused_early(put(tmp_path / name, table(ROWS)))
    assert "unknown format" in line and "csv, csv.gz, tsv, jsonl or parquet" in line


def test_folders_refused(tmp_path: Path) -> None:
    assert "contains no csv" in refused_early(tmp_path)
    put(tmp_path / "notes.txt", "x")
    assert "contains no csv" in refused_early(tmp_path)
    put(tmp_path / "b.csv", table(ROWS))
    put(tmp_path / "a.csv", table(ROWS, header="question1 question2 label"))
    line = refused_early(tmp_path)
    assert "a.csv, b.csv" in line and "their columns or formats differ: give one file" in line
    put(tmp_path / "a.csv", table(ROWS)).rename(tmp_path / "a.tsv")
    parquet(tmp_path / "a.parquet", ROWS)
    assert "their columns or formats differ" in refused_early(tmp_path)
    for name in ("pair", "pair-class"):
        (tmp_path / "sub" / name).mkdir(parents=True)
        put(tmp_path / "sub" / name / "pairs.csv", table(ROWS))
    assert "give one of its folders pair, pair-class" in refused_early(tmp_path / "sub")


def test_a_pointer_of_git_lfs(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    for name in ("p.csv", "p.parquet"):
        assert "is a git-lfs pointer" in refused_early(put(tmp_path / name, pointer))


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


def test_not_utf8(tmp_path: Path) -> None:
    line = refused_early(put(tmp_path / "p.csv", "text1,text2,label\na,b,1\nc,ü,0\n".encode("latin-1")))
    assert "byte 26 (0xfc) in line 3" in line and "UTF-8" in line
    late = b"text1,text2,label\n" + b"abc,def,1\n" * 300_000 + b"x,\xff,0\n"
    assert f"byte {len(late) - 4} (0xff) in line 300002" in refusal(put(tmp_path / "late.csv.gz", late))
    assert "not UTF-8" in refused_early(put(tmp_path / "utf16.csv", table(ROWS).encode("utf-16")))
    assert "line 4" in refusal(put(tmp_path / "p.jsonl", jsonl(ROWS).encode() + b'{"text1": "\xe9"}\n'))
    cut = "text1,text2,label\na,b,1\nc,ü".encode()[:-1]
    assert "line 3" in refused_early(put(tmp_path / "cut.csv", cut))


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
    assert "in line 3 is never closed" in refusal(put(tmp_path / "r.csv", 'text1,text2,label\na,b,1\n"d\nf",e,"0\n'))


def test_values_that_are_not_text(tmp_path: Path) -> None:
    rows = {"text1": ["a", "b"], "text2": [["x"], ["y"]], "label": [0, 1]}
    pq.write_table(pa.table(rows), tmp_path / "p.parquet")
    assert "is a list, not text" in refusal(tmp_path / "p.parquet")
    pq.write_table(pa.table({**rows, "text2": [b"\xff\xfe", b"y"]}), tmp_path / "q.parquet")
    assert "not UTF-8" in refusal(tmp_path / "q.parquet")
