"""A search of fewer configurations than --trials says so before it starts, tries each once, and ends normally."""

from pathlib import Path

import pytest

from tests.helpers.command import leaderboard, summary, tune_here, tune_inside

pytestmark = pytest.mark.usefixtures("warm_ray")

LISTS = (
    "--search", "asha", "--base-model", "wordllama", "--dims", "8,16", "--loss", "cosent", "--learning-rate", "1e-3",
    "--epochs", "1", "--train-size", "300", "--trials", "5",
)  # fmt: skip
LINE = "the space has only 2 configurations; all of them will be tried, not 5 (--trials)"


def test_a_dry_run_counts_the_configurations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry = tune_here(capsys, "search", *LISTS, "--results", tmp_path, "--dry-run")
    assert dry.code == 0 and "asha: 2 trials, up to " in dry.out and LINE in dry.out
    ranged = tune_here(capsys, "search", *LISTS, "--dropout", "0:0.1", "--results", tmp_path, "--dry-run")
    assert "asha: 5 trials, up to " in ranged.out and "the space has only" not in ranged.out


def test_a_search_tries_all_of_them_once_and_ends(tmp_path: Path) -> None:
    places = ("--results", tmp_path, "--name", "few", "--cache", tmp_path / "cache")
    ran = tune_inside("search", *LISTS, "--jobs", 2, *places)
    assert ran.code == 0, ran.err
    assert ran.out.index(LINE) < ran.out.index("search: 2 trials, 2 at a time") and "stopped early:" not in ran.out
    trials = [row for row in leaderboard(tmp_path / "few") if row["status"] != "baseline"]
    assert {row["dims"] for row in trials} == {"8", "16"} and len(trials) == 2
    assert summary(tmp_path / "few")["interrupted"] == ""
