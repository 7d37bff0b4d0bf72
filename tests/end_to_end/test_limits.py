"""A search that reaches a limit has complete results, and says which limit it was."""

from pathlib import Path

import pytest

from tests.helpers.command import leaderboard, summary, tune_inside

pytestmark = pytest.mark.usefixtures("warm_ray")

SMALL = ("--base-model", "wordllama", "--loss", "cosent", "--learning-rate", "1e-2", "--epochs", 30, "--jobs", 2)


def test_a_target_ends_a_search_with_a_winner_and_its_test(tmp_path: Path) -> None:
    place = ("--results", tmp_path / "results", "--cache", tmp_path / "cache")
    dims = ("--search", "grid", "--dims", ",".join(map(str, range(16, 28))))
    ran = tune_inside("search", *SMALL, *dims, *place, "--name", "one", "--target-auc", 0.51, "--max-hours", 1)
    assert ran.code == 0, ran.err
    folder = tmp_path / "results" / "one"
    facts = summary(folder)
    assert facts["interrupted"].endswith("(--target-auc 0.51)")
    assert f"The search stopped early: {facts['interrupted']}" in ran.out
    rows = [row for row in leaderboard(folder) if row["status"] != "baseline"]
    assert 1 <= len(rows) <= 4 and facts["trials"]["halfway"] == sum(row["status"] == "unfinished" for row in rows) > 0
    assert rows[0]["test_auc"] and rows[0]["trial"] == facts["winner"]["trial"]
    assert (folder / "best" / "embedtune.json").exists()
    again = tune_inside("search", "--resume", "one", *place, "--target-auc", 0.99)
    assert again.code == 0 and "the winner is already fixed" in again.out, "test was opened: nothing is chosen again"
    assert [row for row in leaderboard(folder) if row["status"] != "baseline"] == rows


def test_trials_with_one_cause_of_failure_fix_no_winner(tmp_path: Path) -> None:
    place = ("--results", tmp_path / "results", "--cache", tmp_path / "cache")
    rates = ("--search", "grid", "--dims", "16,17,18,19,20,21", "--loss", "cosent", "--epochs", 1, "--jobs", 2)
    ran = tune_inside("search", "--base-model", "wordllama", *rates, "--learning-rate", "3e38", *place, "--name", "one")
    assert ran.code == 2 and ran.err.count("the first 5 trials that ended all failed: ") == 1, ran.err
    assert "--resume one" in ran.err and "Traceback" not in ran.err
    folder = tmp_path / "results" / "one"
    assert summary(folder).get("winner") is None and not (folder / "test.json").exists()
    assert not list(folder.glob("trials/*/failed.json"))
    on = tune_inside("search", "--resume", "one", *place, "--max-failures", 100)
    assert on.code == 1 and "No trial produced a model" in on.out + on.err
    assert summary(folder)["trials"]["failed"] == 6
