"""`check-data` shows what a search would read, so that an inversion is seen before a search."""

import csv
import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tests.helpers.command import tune_here
from tests.helpers.tiny import topic_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 topic pairs with 0 for the same topic, five without a label, one with a terminal's escape codes."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    made = topic_pairs(4000, 0)
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["query", "document", "same"])
        writer.writerow(["\x1b[31mred\nlines", "t1w1", 1])
        writer.writerows(zip(made.text_a, made.text_b, 1 - made.label, strict=True))
        writer.writerows((f"odd {i}", "one", "") for i in range(5))
    return path


def test_shows_columns_labels_examples_rows_and_split(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = tune_here(capsys, "check-data", pairs, "--label", "same")
    assert ran.code == 0 and ran.err == "", ran.err
    assert "'query' and 'document'" in ran.out
    assert "'same': 1 is positive, 0 is negative" in ran.out
    assert "4006 read" in ran.out and "5 unlabelled" in ran.out
    assert "split     train" in ran.out and "test" in ran.out
    head, _, rest = ran.out.partition("positive: these should belong together\n")
    positive, _, negative = rest.partition("negative: these should not belong together\n")
    assert positive.count("  |  ") == 3 and negative.count("  |  ") == 3 and head
    assert "\x1b" not in ran.out and "red lines" in ran.out
    # With the labels the wrong way round, "negative" pairs share their topic.
    for line in filter(None, negative.split("\n\n")[0].splitlines()):
        a, b = (side.split()[0].partition("w")[0] for side in line.strip().split("  |  "))
        assert a == b


def test_json_and_the_other_label(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--data", pairs, "--label", "same", "--json")
    plain = json.loads(tune_here(capsys, "check-data", *options).out)
    turned = json.loads(tune_here(capsys, "check-data", *options, "--positive-label", 0).out)
    assert plain["examples"]["positive"][1:] == turned["examples"]["negative"][1:]
    assert plain["rows"] == turned["rows"] and plain["problem"] == ""
    total = sum(side["pairs"] for side in plain["sides"].values())
    positive = sum(side["positive"] for side in plain["sides"].values())
    assert total == plain["rows"]["kept"]
    assert positive + sum(side["positive"] for side in turned["sides"].values()) == total


def test_too_few_pairs_are_shown_before_they_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = Features(
        {"text1": Value("string"), "text2": Value("string"), "label": ClassLabel(names=["same", "other"])}
    )
    rows = {"text1": [f"a{i}" for i in range(30)], "text2": [f"b{i}" for i in range(30)], "label": [0, 1] * 15}
    rows["split"] = ["train"] * 30
    features["split"] = Value("string")
    Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "few.parquet"))
    ran = tune_here(capsys, "check-data", tmp_path / "few.parquet")
    assert ran.code == 2 and "100 of either class are needed" in ran.err and ran.err.count("\n") == 1
    assert "0 (same) is positive, 1 (other) negative" in ran.out and "a0  |  b0" in ran.out
    assert "column 'split' is not used; --split-column split keeps that split" in ran.out


def test_wrong_commands(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = tune_here(capsys, "check-data", pairs, "--data", pairs)
    assert both.code == 2 and "give one of them" in both.err
    missing = tune_here(capsys, "check-data", "no-such.csv")
    assert missing.code == 2 and "no such file" in missing.err
    unknown = tune_here(capsys, "check-data", pairs, "--loss", "cosent")
    assert unknown.code == 2 and "--loss" in unknown.err


def test_without_data_it_shows_the_demo_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    ran = tune_here(capsys, "check-data")
    assert ran.code == 0 and "data      demo" in ran.out and "4000 kept" in ran.out
    assert "--positive-label" not in ran.out


def test_triplets_and_equal_texts_that_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"a{i},{'a' if i == 1 else 'b'}{i},c{i}" for i in range(40)]
    (tmp_path / "p.csv").write_text("\n".join(["anchor,positive,negative", *rows, ""]))
    ran = tune_here(capsys, "check-data", tmp_path / "p.csv")
    assert "label     triplets: 1 for positive, 0 for negative\n" in ran.out
    assert "80 read, 80 kept\n" in ran.out, "a kept pair of equal texts is not listed as dropped"
    assert "--positive-label" not in ran.out


def test_only_a_label_column_can_be_turned(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, graded = (
        tune_here(capsys, "check-data", pairs, "--label", "same", *more) for more in ((), ("--positive-from", 1))
    )
    assert "--positive-label VALUE" in plain.out and "--positive-label" not in graded.out


def test_pairs_that_cross_sides_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"a{i},b{i},{i % 2}" for i in range(24000)]
    (tmp_path / "p.csv").write_text("\n".join(["text1,text2,label", *lines, ""]))
    options = ("--data", tmp_path / "p.csv", "--split", "cut")
    report = json.loads(tune_here(capsys, "check-data", *options, "--json").out)
    left = sum(side["pairs"] for side in report["sides"].values())
    assert report["dropped"] == {"crossing": 24000 - left}
    assert (
        f"24000 read, {left} kept (dropped: {24000 - left} crossing)" in tune_here(capsys, "check-data", *options).out
    )
