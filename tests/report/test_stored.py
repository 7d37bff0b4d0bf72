"""Vectors as they may be stored: the front is chosen on validation, its figure and table show what test says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import tune_here
from tests.report.folders import made_up_folder
from tests.report.stored_folders import stored_folder
from tests.report.test_odd_results import changed, rewritten
from tune.report.figures.dims import dims
from tune.report.figures.stored import front_of, stored
from tune.report.prices import STORAGE_USD_PER_GB_MONTH, Prices
from tune.report.story import Story, read_story
from tune.report.tables import Table, vectors
from tune.results.layout import ResultsFolder


def story_of(folder: Path) -> Story:
    return read_story(ResultsFolder(folder))


def requantised(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change every entry of quantised vectors in place."""
    return changed(folder, lambda summary: [change(entry) for entry in summary["quantised"]])


def front(folder: Path) -> list[str]:
    return [one.label for one in front_of(stored(story_of(folder)))]


def column(table: Table, name: str) -> list[str]:
    place = [heading.replace("\n", " ") for heading in table.columns].index(name)
    return [row.cells[place].text for row in table.rows]


def test_the_front_is_chosen_on_validation_whatever_test_says(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path, (64, 256), ("wordllama",))
    chosen = front(folder)
    # On validation 64 int8 beats 256 binary, which has half its bytes; 64 float32 is beaten by 256 int8 of that size.
    assert "64 int8" in chosen and "256 binary" in chosen and "64 float32" not in chosen
    # Test the other way round: the smallest best, the largest worst.
    requantised(folder, lambda entry: entry.update(auc=1 - entry["bytes"] / 10_000))
    assert front(folder) == chosen
    figure = dims(story_of(folder))
    assert figure is not None and "scores no lower than" in figure.title
    table = vectors(story_of(folder), Prices())
    rows = zip(column(table, "dims"), column(table, "precision"), strict=True)
    assert [f"{size} {precision}" for size, precision in rows] == chosen


def test_losses_stand_with_their_paired_intervals(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path, (64, 256), ("wordllama",))
    without = dims(story_of(folder))
    assert without is not None and "paired" not in without.subtitle
    assert "points lost [95%]" not in [name.replace("\n", " ") for name in vectors(story_of(folder), Prices()).columns]
    requantised(folder, lambda entry: entry.update(lost=0.0123, lost_low=-0.0004, lost_high=0.025, lost_from="x"))
    figure = dims(story_of(folder))
    assert figure is not None and "(lost: 1.2 points [0.0, 2.5], paired)" in figure.subtitle
    assert set(column(vectors(story_of(folder), Prices()), "points lost [95%]")) == {"1.2 [0.0, 2.5]"}


def test_the_recommended_size_is_the_smallest_close_on_validation(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path, (64, 128, 256), ("wordllama",))

    def scores(entry: dict[str, Any]) -> None:
        best = {"float32": 0.9, "float16": 0.899, "int8": 0.897, "binary": 0.8}[entry["precision"]]
        low = {64: 0.05, 128: 0.001, 256: 0.0}[entry["dims"]]
        entry.update(val_auc=best - low, auc=best - low - 0.02)

    requantised(folder, scores)
    figure = dims(story_of(folder))
    assert figure is not None
    assert figure.title == "int8 at 128 dims keeps all but 0.4 points of AUC at an eighth of the bytes"
    # What test says of the recommended vectors is shown, and changes nothing else.
    requantised(folder, lambda entry: entry.update(auc=0.7) if entry["precision"] == "int8" else None)
    worse = dims(story_of(folder))
    assert worse is not None and worse.title == "int8 at 128 dims loses 18.0 points of AUC at an eighth of the bytes"


def test_where_nothing_smaller_is_close_the_next_smaller_says_what_it_loses(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path, (64, 256), ("wordllama",))
    requantised(
        folder, lambda entry: entry.update(val_auc=0.5 + entry["bytes"] / 10_000, auc=0.5 + entry["bytes"] / 10_000)
    )
    figure = dims(story_of(folder))
    assert figure is not None and figure.title == "float16 loses 5.1 points of AUC at half of the bytes"


def test_the_table_has_the_numbers_of_the_summary_and_the_price(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path)
    entries = {
        (entry["dims"], entry["precision"]): entry
        for entry in json.loads((folder / "summary.json").read_text())["quantised"]
        if entry["base_model"] == "minilm" and not entry["key"].startswith("baseline:")
    }
    table = vectors(story_of(folder), Prices(storage=2.0))
    assert len(table.rows) > 8
    for row in table.rows:
        size, precision, per_vector, gigabytes, usd, val, auc = (cell.text for cell in row.cells)
        entry = entries[int(size), precision]
        assert float(per_vector.replace(",", "")) == entry["bytes"]
        assert float(gigabytes) == pytest.approx(entry["bytes"] / 1000, rel=0.005)
        assert float(usd) == pytest.approx(2 * entry["bytes"] / 1000, rel=0.005)
        assert val == f"{entry['val_auc']:.4f}"
        assert auc == f"{entry['auc']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]"
    assert "2 USD per GB and month, as given" in table.notes[0]
    listed = vectors(story_of(folder), Prices()).notes[0]
    assert f"at {STORAGE_USD_PER_GB_MONTH} USD per GB and month, list price of" in listed and "2026" in listed


def test_a_random_search_claims_no_front(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path, search="asha")
    assert dims(story_of(folder)) is None
    table = vectors(story_of(folder), Prices())
    assert column(table, "dims") == ["384"] * 4
    assert column(table, "precision") == ["binary", "int8", "float16", "float32"]
    assert "not a front" in table.notes[0]


def test_a_search_with_a_matryoshka_trial_claims_one(tmp_path: Path) -> None:
    folder = stored_folder(tmp_path, (64, 256), ("wordllama",), search="asha")
    rewritten(folder, lambda row: row["status"] == "done" and row.update(matryoshka="64,256"))
    assert dims(story_of(folder)) is not None


def test_without_quantised_vectors_the_dims_are_compared_in_float32(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    figure = dims(story_of(folder))
    assert figure is not None and figure.title == "64 dims lose 1.1 points of AUC at a quarter of the bytes"
    assert set(column(vectors(story_of(folder), Prices()), "precision")) == {"float32"}


@pytest.mark.parametrize("given", ["-1", "nan", "inf", "cheap"])
def test_a_price_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    ran = tune_here(capsys, "report", tmp_path, f"--storage-usd-per-gb-month={given}")
    assert ran.code == 2 and "is not a price" in ran.err and ran.err.count("\n") == 1
