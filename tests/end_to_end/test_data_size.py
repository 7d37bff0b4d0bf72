"""`--preset data-size`: quality against the number of training pairs, from any pairs file."""

import tomllib
from pathlib import Path

import pytest

from tests.helpers.command import Ran, leaderboard, summary, tune_here, tune_inside
from tests.helpers.tiny import write_some_pairs
from tune.report.crossings import crossings_table
from tune.report.figures.sizes import sizes
from tune.report.story import Story, read_story
from tune.results.layout import ResultsFolder

pytestmark = pytest.mark.usefixtures("warm_ray")

PRESET = ("search", "--preset", "data-size", "--base-model", "wordllama")
SIZES = (200, 400, 800, 1600, 3139)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """The preset on the demo pairs, with short trials."""
    root = tmp_path_factory.mktemp("sizes")
    short = ("--dims", 32, "--epochs", 2, "--learning-rate", "1e-2", "--train-size", "200:all", "--finalists", 1)
    ran = tune_inside(*PRESET, *short, "--results", root, "--cache", root / "cache", "--name", "sizes", "--jobs", 1)
    return ran, root / "sizes"


@pytest.fixture(scope="module")
def story(searched: tuple[Ran, Path]) -> Story:
    return read_story(ResultsFolder(searched[1]))


def test_sizes_follow_from_the_data_and_are_written_down(
    searched: tuple[Ran, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ran, folder = searched
    assert ran.code == 0, ran.err
    assert "train sizes: 200, 400, 800, 1,600, all 3,139" in ran.out and "grid: 5 trials" in ran.out
    # So that a resume is the same search, even on another version's rule.
    [space] = tomllib.loads((folder / "search.toml").read_text())["space"]
    assert space["train_size"] == [200, 400, 800, 1600, 0]
    again = tune_here(capsys, "search", folder / "search.toml", "--dry-run")
    assert again.code == 0 and "grid: 5 trials" in again.out


def test_every_size_is_scored_on_test_and_drawn(searched: tuple[Ran, Path], story: Story) -> None:
    rows = leaderboard(searched[1])
    figure = sizes([story])
    assert figure is not None
    drawn = [row for data in figure.spec("light")["datasets"].values() for row in data]
    points = {row["pairs"]: row["auc"] for row in drawn if row.get("series") == "wordllama (layer)" and "trial" in row}
    by_size = {int(row["train_size"]) or SIZES[-1]: row for row in rows if row["status"] == "done"}
    assert tuple(sorted(points)) == SIZES == tuple(sorted(by_size))
    assert all(points[size] == pytest.approx(float(row["test_auc"])) for size, row in by_size.items())
    flat = {row["series"]: row["auc"] for row in drawn if "untouched" in str(row.get("series"))}
    [base] = [row for row in rows if row["trial"] == "baseline:wordllama"]
    assert flat == {"wordllama (untouched)": pytest.approx(float(base["test_auc"]))}
    assert "wordllama (layer) to beat" in figure.title
    assert "twice the pairs (6,278)" in figure.subtitle or "cannot be estimated" in figure.subtitle


def test_pairs_that_are_enough_agree_with_the_comparisons(searched: tuple[Ran, Path], story: Story) -> None:
    table = crossings_table([story])
    found = {row.cells[1].text: row for row in table.rows}
    size_of = {row["trial"]: int(row["train_size"]) or SIZES[-1] for row in leaderboard(searched[1])[: len(SIZES)]}
    above = {
        size_of[entry["a"]]: entry["low"] > 0
        for entry in summary(searched[1])["comparisons"]
        if entry["b"] == "baseline:wordllama"
    }
    assert tuple(sorted(above)) == SIZES
    enough = min(size for size in SIZES if all(above[other] for other in SIZES if other >= size))
    assert found["wordllama (untouched)"].cells[3].value == enough
    assert found["wordllama (untouched)"].cells[4].text == "paired difference"
    words = found["tf-idf (words)"]
    assert words.cells[4].text == "intervals apart" and any("Intervals apart" in note for note in table.notes)


def test_a_dry_run_counts_the_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = tune_here(capsys, *PRESET, "--dry-run", "--results", tmp_path)
    # Two learning rates.
    assert (
        ran.code == 0 and "train sizes: 250, 500, 1,000, 2,000, all 3,139" in ran.out and "grid: 10 trials" in ran.out
    )
    folds = tune_here(capsys, *PRESET, "--folds", 2, "--dry-run", "--results", tmp_path)
    assert "train sizes: 250, 500, 1,000, all 1,789" in folds.out, "each of two folds trains on the other"
    assert not list(tmp_path.iterdir())


def test_too_few_pairs_are_refused_with_a_lower_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_some_pairs(tmp_path / "few.csv", {"train": 400, "val": 260, "test": 260})
    few = (*PRESET, "--data", pairs, "--split-column", "side", "--results", tmp_path / "results")
    refused = tune_here(capsys, *few)
    assert refused.code == 2 and refused.err.count("\n") == 1 and not (tmp_path / "results").exists()
    assert "250:all needs at least 500 pairs, but the train side has 400 pairs" in refused.err
    assert "such as --train-size 25:all" in refused.err
    lower = tune_here(capsys, *few, "--train-size", "25:all", "--dry-run")
    assert lower.code == 0 and "train sizes: 25, 50, 100, 200, all 400" in lower.out
