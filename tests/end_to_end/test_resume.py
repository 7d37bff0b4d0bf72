"""A search that is killed, stopped or out of time loses nothing that was paid for, and pays for nothing twice."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.helpers import tensorboard_runs
from tests.helpers.command import children, done_trials, leaderboard, started, summary, tune, tune_inside, wait_for

pytestmark = pytest.mark.usefixtures("warm_ray")

SLOW = ("--base-model", "wordllama", "--epochs", "20", "--batch-size", "16", "--jobs", "2")
"""Trials of a few seconds, so that a kill finds some done, some half-way and some not begun."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def stamps(trials: list[Path]) -> dict[str, tuple[int, int]]:
    """When and as what the reports of each trial were written."""
    return {t.name: ((t / "reports.jsonl").stat().st_mtime_ns, (t / "done").stat().st_mtime_ns) for t in trials}


def report_numbers(trial: Path) -> list[int]:
    return [json.loads(line)["number"] for line in (trial / "reports.jsonl").read_text().splitlines()]


SPACES = {
    "grid": ("--search", "grid", "--dims", "16,32", "--loss", "cosent,contrastive", "--learning-rate", "1e-3,4e-3"),
    "asha": ("--search", "asha", "--dims", "16,32", "--loss", "cosent,contrastive", "--trials", "10"),
}


@pytest.mark.parametrize("algorithm", ["asha", pytest.param("grid", marks=pytest.mark.slow)])
def test_kill_9_of_the_driver(algorithm: str, tmp_path: Path, cache: Path) -> None:
    options = ("--results", tmp_path, "--cache", cache)
    folder = tmp_path / "killed"
    with started("search", *SPACES[algorithm], *SLOW, *options, "--name", "killed", log=tmp_path / "log") as process:

        def halfway() -> list[Path]:
            begun = [path.parent for path in folder.glob("trials/*/reports.jsonl")]
            return [path for path in begun if len(report_numbers(path)) > 2 and not (path / "done").exists()]

        wait_for(lambda: len(done_trials(folder)) >= 2 and halfway())
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    before = stamps(done_trials(folder))
    assert not (folder / "test.json").exists() and not (folder / "best").exists()

    ran = tune_inside("search", "--resume", "killed", *options)
    assert ran.code == 0, ran.err + ran.out
    assert "already finished" in ran.out
    after = stamps(done_trials(folder))
    assert {name: after[name] for name in before} == before, "what was done is not done again"
    rows = [row for row in leaderboard(folder) if row["status"] != "baseline"]
    planned = 8 if algorithm == "grid" else 10
    assert len(rows) == len({row["trial"] for row in rows}) == planned
    counted = summary(folder)["trials"]
    assert counted["halfway"] == counted["failed"] == 0 and counted["done"] + counted["stopped"] == planned
    for row in rows:
        numbers = report_numbers(folder / "trials" / row["trial"])
        assert numbers == list(range(1, len(numbers) + 1))
        assert (len(numbers) == 16) == (row["status"] == "done")
    if algorithm == "asha":
        rungs = json.loads((folder / "asha.json").read_text())
        assert len(rungs["rungs"]["0.0625"]) == planned, "every trial counts once at the first rung"
        assert len(rungs["stopped"]) == counted["stopped"]
    check_tensorboard(folder, rows)
    check_repeated_resumes(folder, options, tmp_path)


def check_tensorboard(folder: Path, rows: list[dict[str, str]]) -> None:
    """Every trial has its reports in TensorBoard's logs, each once, also those that ran when the driver died."""
    logs = tensorboard_runs.runs(folder)
    assert set(logs) == {row["trial"] for row in rows}
    for row in rows:
        scalars = tensorboard_runs.scalars(logs[row["trial"]])
        assert list(scalars) == report_numbers(folder / "trials" / row["trial"])
        assert scalars[max(scalars)] == pytest.approx(float(row["val_auc"]))
        assert tensorboard_runs.hparams(logs[row["trial"]])[2].end_time_secs > 0
    curves = {trial for trial, events in logs.items() if "val/precision_recall" in events.Tags()["tensors"]}
    assert curves == set(summary(folder)["finalists"])


def check_repeated_resumes(folder: Path, options: tuple[object, ...], results: Path) -> None:
    """On a finished search a resume only rebuilds what is missing, and never opens test again."""
    after = stamps(done_trials(folder))
    opened = (folder / "test.json").read_bytes()
    kept = (folder / "leaderboard.csv").read_bytes()
    (folder / "leaderboard.csv").unlink()
    scores = (folder / "scores.parquet").read_bytes()
    (folder / "scores.parquet").unlink()
    again = tune_inside("search", "--resume", "killed", *options)
    assert again.code == 0 and "opening test" not in again.out
    assert (folder / "leaderboard.csv").read_bytes() == kept and (folder / "test.json").read_bytes() == opened
    assert stamps(done_trials(folder)) == after

    assert not (folder / "scores.parquet").exists(), "only opening test again would make it"

    # Killed before test was scored, and the cache cleaned since: the vectors are rebuilt, the winner stays.
    (folder / "test.json").unlink()
    winner = summary(folder)["winner"]
    renewed = tune_inside("search", "--resume", "killed", "--results", results, "--cache", results / "new-cache")
    assert renewed.code == 0 and "opening test" in renewed.out, renewed.err
    assert summary(folder)["winner"] == winner and (folder / "leaderboard.csv").read_bytes() == kept
    assert (folder / "scores.parquet").read_bytes() == scores


def test_kill_9_of_a_worker(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "worker"
    options = ("--results", tmp_path, "--cache", cache, "--name", "worker")
    grid = ("--search", "grid", "--dims", "16,32", "--loss", "cosent,contrastive", "--learning-rate", "2e-3")
    with started("search", *grid, *SLOW, *options, log=tmp_path / "log") as process:
        wait_for(lambda: any(len(report_numbers(p.parent)) > 3 for p in folder.glob("trials/*/reports.jsonl")))
        workers = wait_for(lambda: children(process.pid, "StreamTrainable"))
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(150) == 0, (tmp_path / "log").read_text()
    assert "its worker died; resuming" in (tmp_path / "log").read_text()
    assert summary(folder)["trials"] == {"done": 4, "stopped": 0, "failed": 0, "halfway": 0}
    for trial in done_trials(folder):
        assert report_numbers(trial) == list(range(1, 17))


@pytest.mark.parametrize(
    ("ended_by", "code", "reason"), [(signal.SIGINT, 130, "by Ctrl-C"), (signal.SIGTERM, 143, "by SIGTERM")]
)
def test_a_signal_keeps_everything_and_says_how_to_go_on(
    ended_by: signal.Signals, code: int, reason: str, tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "stopped"
    options = ("--results", tmp_path, "--cache", cache)
    search = ("search", *SPACES["asha"], *SLOW, *options, "--name", "stopped", "--json")
    with started(*search, log=tmp_path / "log") as process:
        wait_for(lambda: done_trials(folder))
        os.kill(process.pid, ended_by)
        assert process.wait(60) == code
        wait_for(lambda: not children(process.pid, "ray::"), 20)
    said = (tmp_path / "log").read_text()
    assert "python -m tune search --resume stopped" in said
    assert "Traceback" not in said and "received at" not in said
    [line] = [line for line in said.splitlines() if line.startswith("{")]
    answer = json.loads(line)
    assert answer["winner"] is None and answer["test"] is None and answer["interrupted"] == reason
    assert answer["paths"] == {"results": str(folder), "leaderboard": None, "best": None, "report": None}
    assert not (folder / "test.json").exists() and (folder / "search.toml").exists()


@pytest.mark.slow
def test_max_hours_ends_in_good_order(tmp_path: Path, cache: Path) -> None:
    options = ("--results", tmp_path, "--cache", cache, "--name", "short", "--max-hours", 15 / 3600)
    ran = tune("search", *SPACES["grid"], *SLOW, "--epochs", 400, *options)
    folder = tmp_path / "short"
    facts = summary(folder)
    assert "The search stopped early: after" in ran.out and "max-hours" in facts["interrupted"]
    assert facts["trials"]["done"] + facts["trials"]["halfway"] < 8
    # On a slow machine the time may be over before the first report; then there is no winner, and that is said.
    assert ran.code == (0 if facts.get("winner") else 1), ran.err
    assert (folder / "best" / "embedtune.json").exists() == (folder / "test.json").exists() == (ran.code == 0)


@pytest.mark.slow
def test_no_trial_that_can_be_trained_is_said_and_test_stays_closed(tmp_path: Path, cache: Path) -> None:
    options = ("--results", tmp_path, "--cache", cache, "--name", "failed", "--jobs", 1)
    space = ("--dims", 16, "--loss", "cosent", "--learning-rate", "3e38", "--epochs", 1, "--base-model", "wordllama")
    ran = tune("search", "--search", "grid", *space, *options, "--json")
    assert ran.code == 1 and "No trial produced a model" in ran.err and "try a lower learning rate" in ran.err
    answer = json.loads(ran.out)
    assert answer["winner"] is None and answer["val"] is None and answer["verdict"] is None
    folder = tmp_path / "failed"
    assert [row["status"] for row in leaderboard(folder)] == ["baseline", "baseline", "failed"]
    assert not (folder / "test.json").exists() and not any(row["test_auc"] for row in leaderboard(folder))


def test_what_cannot_be_resumed_is_said(tmp_path: Path, cache: Path) -> None:
    nothing = tune_inside("search", "--resume", "nothing", "--results", tmp_path)
    assert nothing.code == 2 and "is not a results folder" in nothing.err and nothing.err.count("\n") == 1
    changed = tune_inside("search", "--resume", "nothing", "--results", tmp_path, "--trials", 5, "--loss", "mnr")
    assert changed.code == 2 and "--trials, --loss cannot be changed" in changed.err
    escape = tune_inside("search", "--resume", "../x", "--results", tmp_path)
    assert escape.code == 2 and "the search's name only" in escape.err
