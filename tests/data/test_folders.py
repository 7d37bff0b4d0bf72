"""Folders and patterns: sides, parts of one table, key=value partitions, clones of hub datasets."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pytest

from tests.data.pair_files import ROWS, jsonl, parquet, put, read, refused_early, table, triples

MORE = [("a", "b", 1), ("c", "d", 0), ("e", "f", 1)]


def test_parts_are_one_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As Spark and pandas leave them, with a marker file."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    put(folder / "_SUCCESS", "")
    for i, rows in enumerate((ROWS, MORE)):
        parquet(folder / f"part-0000{i}-5d1c.snappy.parquet", rows)
    pairs = read(folder)
    assert triples(pairs) == [*ROWS, *MORE] and pairs.side is None and pairs.row.tolist() == list(range(6))
    assert "pairs: read as one table: part-00000-5d1c.snappy.parquet, part-00001-5d1c.snappy.parquet" in caplog.text
    for path in list(folder.iterdir()):
        path.unlink()
    put(folder / "1.csv", table(ROWS))
    put(folder / "2.csv.gz", table(MORE))
    assert triples(read(folder)) == [*ROWS, *MORE]


def test_partitions_are_columns(tmp_path: Path) -> None:
    columns = {
        "text1": ["a", "b", "c", "d"],
        "text2": ["e", "f", "g", "h"],
        "label": [1, 0, 1, 0],
        "split": ["train", "train", "test", "test"],
        "lang": ["en", "en", "en", "pt br"],
    }
    pa_dataset.write_dataset(
        pa.table(columns), tmp_path / "p", format="parquet", partitioning=["split", "lang"], partitioning_flavor="hive"
    )
    pairs = read(tmp_path / "p", split_column="split")
    assert sorted(zip(triples(pairs), pairs.side or [], strict=True)) == [
        (("a", "e", 1), "train"),
        (("b", "f", 0), "train"),
        (("c", "g", 1), "test"),
        (("d", "h", 0), "test"),
    ]
    assert read(tmp_path / "p").side is None
    assert sorted(read(tmp_path / "p", text_b="lang", text_a="text1").text_b) == ["en", "en", "en", "pt br"]
    pairs = read(f"{tmp_path}/p/split=*/lang=*/*.parquet", split_column="split")
    assert sorted(pairs.side or []) == ["test", "test", "train", "train"]
    assert sorted(read(f"{tmp_path}/p/split=*", split_column="split").side or []) == ["test", "test", "train", "train"]


def test_labels_in_folder_names(tmp_path: Path) -> None:
    for label, rows in (("0", MORE[:1]), ("1", MORE[1:]), ("__HIVE_DEFAULT_PARTITION__", MORE[:1])):
        (tmp_path / f"label={label}").mkdir()
        put(tmp_path / f"label={label}" / "part-0.csv", "text1,text2\n" + "".join(f"{a},{b}\n" for a, b, _ in rows))
    assert triples(read(tmp_path)) == [("a", "b", 0), ("c", "d", 1), ("e", "f", 1), ("a", "b", -1)]


def test_sides_as_folders(tmp_path: Path) -> None:
    for side in ("train", "test"):
        (tmp_path / side).mkdir()
        for i in range(2):
            parquet(tmp_path / side / f"part-{i}.parquet", ROWS)
    assert read(tmp_path).side == ["train"] * 6 + ["test"] * 6


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    parquet(tmp_path / "data" / "part-0.parquet", ROWS)
    parquet(tmp_path / "data" / "part-1.parquet", MORE)
    put(tmp_path / "data" / "notes.csv", "a,b\n1,2\n")
    for pattern in ("data/part-*.parquet", "~/data/part-?.parquet", f"{tmp_path}/**/*.parquet", "data/*[01].parquet"):
        assert triples(read(pattern)) == [*ROWS, *MORE], pattern
    assert triples(read("~/data/part-1.parquet")) == MORE
    put(tmp_path / "data" / "train.jsonl", jsonl(ROWS))
    put(tmp_path / "data" / "test.jsonl", jsonl(MORE))
    assert read("data/t*.jsonl").side == ["train"] * 3 + ["test"] * 3
    assert "no such file" in refused_early("data/nothing-*.parquet")
    put(tmp_path / "data" / "x.txt", "")
    assert "matches no csv" in refused_early("data/*.txt")
    assert "no such file" in refused_early("~nobody-of-this-name/pairs.csv")


README = """---
license: mit
configs:
- config_name: pair
  data_files: pairs.jsonl
- config_name: pair-class
  data_files:
  - split: train
    path: [sub/train-*, more/*.parquet]
  - split: dev
    path: sub/dev.parquet
- config_name: folder
  data_dir: more
---

# Pairs
"""


def clone(folder: Path, readme: str) -> Path:
    for name in ("sub", "more"):
        (folder / name).mkdir(parents=True)
    put(folder / "README.md", readme)
    put(folder / "pairs.jsonl", jsonl(MORE))
    parquet(folder / "sub" / "train-0.parquet", ROWS[:2])
    parquet(folder / "sub" / "dev.parquet", ROWS[2:])
    parquet(folder / "more" / "0.parquet", MORE)
    return folder


def test_configs_of_a_clone(tmp_path: Path) -> None:
    folder = clone(tmp_path / "quora", README)
    line = refused_early(folder)
    assert "several configs: pair, pair-class, folder" in line and "--data quora:pair" in line
    pairs = read(f"{folder}:pair-class")
    assert sorted(pairs.side or []) == ["train"] * 5 + ["val"] and len(pairs) == 6
    assert sorted(zip(pairs.text_a, pairs.side or [], strict=True))[-1] == ("opening hours", "val")
    assert triples(read(f"{folder}:pair")) == MORE == triples(read(f"{folder}:folder"))
    assert "has no config 'no', only pair, pair-class, folder" in refused_early(f"{folder}:no")
    (folder / "pairs.jsonl").unlink()
    assert "README.md names 'pairs.jsonl', but there is no such file" in refused_early(f"{folder}:pair")


def test_the_usual_config_of_a_clone(tmp_path: Path) -> None:
    marked = README.replace("config_name: pair\n", "config_name: pair\n  default: true\n")
    assert triples(read(clone(tmp_path / "marked", marked))) == MORE
    named = README.replace("config_name: folder", "config_name: default")
    assert triples(read(clone(tmp_path / "named", named))) == MORE
    outside = README.replace("pairs.jsonl", "../marked/pairs.jsonl")
    assert "no such file" in refused_early(f"{clone(tmp_path / 'outside', outside)}:pair")


def test_a_readme_without_configs_changes_nothing(tmp_path: Path) -> None:
    put(tmp_path / "pairs.csv", table(ROWS))
    for readme in (
        "configs: of the building",
        "---\nconfigs: [\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nconfigs: []\n---\n",
    ):
        put(tmp_path / "README.md", readme)
        assert triples(read(tmp_path)) == ROWS


def test_json_about_the_data_is_not_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("dataset_infos.json", "dataset_info.json"):
        folder = tmp_path / name.removesuffix(".json")
        (folder / "data").mkdir(parents=True)
        put(folder / name, '{"default": {}}')
        put(folder / "data" / "pairs.csv", table(ROWS))
        assert triples(read(folder)) == ROWS
    put(tmp_path / "pairs.csv", table(ROWS))
    put(tmp_path / "metadata.json", '{"rows": 3}')
    assert triples(read(tmp_path)) == ROWS == triples(read(f"{tmp_path}/*"))
    assert "skipped metadata.json beside other files" in caplog.text
    (tmp_path / "pairs.csv").unlink()
    put(tmp_path / "metadata.json", jsonl(MORE))
    assert triples(read(tmp_path)) == MORE, "there is nothing else"
    put(tmp_path / "train.csv", table(ROWS))
    put(tmp_path / "test.json", jsonl(MORE))
    assert read(tmp_path).side == ["train"] * 3 + ["test"] * 3


def test_patterns_of_a_readme(tmp_path: Path) -> None:
    def of(pattern: str) -> str:
        return f"---\nconfigs:\n- config_name: default\n  data_files:\n{pattern}\n---\n"

    (tmp_path / "more" / "deep").mkdir(parents=True)
    put(tmp_path / "more" / "deep" / "a.csv", table(ROWS))
    put(tmp_path / "README.md", of("  - split: train\n    path: more/**.csv"))
    assert triples(read(tmp_path)) == ROWS
    put(tmp_path / "README.md", of("  - split: train\n  - split: test\n    path: more/deep/a.csv"))
    assert triples(read(tmp_path)) == ROWS, "an entry without a path is skipped"
    put(tmp_path / "README.md", of("  - split: train\n    path: '**x/[/***'"))
    assert "README.md names" in refused_early(tmp_path)
    (tmp_path / "data").mkdir()
    put(tmp_path / "data" / "b.csv", table(MORE))
    put(tmp_path / "README.md", of("  - split: train"))
    assert triples(read(tmp_path)) == MORE, "as without configs"


def test_parts_may_differ_in_columns_that_are_not_used(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", '{"text1": "a", "text2": "b", "label": 1, "note": "x"}\n')
    put(tmp_path / "b.jsonl", '{"text2": "d", "text1": "c", "label": 0}\n')
    assert triples(read(tmp_path)) == [("a", "b", 1), ("c", "d", 0)]
    put(tmp_path / "b.jsonl", '{"text2": "d", "text1": "c", "note": "x"}\n')
    assert "their columns or formats differ" in refused_early(tmp_path)


@pytest.mark.parametrize("data", ["", "  ", "file://"])
def test_empty_data_is_not_the_working_directory(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "pairs.csv", table(ROWS))
    monkeypatch.chdir(tmp_path)
    assert "--data is empty" in refused_early(data)
    assert triples(read(".")) == ROWS


def test_links_to_a_folder_above_are_not_followed(tmp_path: Path) -> None:
    inner = tmp_path / "p" / "label=1"
    inner.mkdir(parents=True)
    (tmp_path / "p" / "label=0").mkdir()
    for folder in (inner, tmp_path / "p" / "label=0"):
        put(folder / "part-0.csv", "text1,text2\na,b\n")
    (inner / "again=1").symlink_to(inner)
    expected = [("a", "b", 0), ("a", "b", 1)]
    assert triples(read(tmp_path / "p")) == expected
    assert triples(read(f"{tmp_path}/p/**/*.csv")) == expected
    (inner / "above=1").symlink_to(tmp_path / "p")
    assert triples(read(tmp_path / "p")) == expected


def test_a_test_side_of_triplets_is_labelled(tmp_path: Path) -> None:
    put(tmp_path / "train.csv", "anchor,positive,label\na,b,1\nc,d,0\n")
    put(tmp_path / "test.csv", "anchor,positive,negative\ne,f,g\n")
    pairs = read(tmp_path)
    assert pairs.side == ["train", "train", "test", "test"] and pairs.label.tolist() == [1, 0, 1, 0]
