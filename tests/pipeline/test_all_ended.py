"""A search that was killed after its last trial, before its winner was fixed, is resumed without Ray."""

import json
from pathlib import Path

import pytest

from tests.helpers.command import summary, tune_inside
from tune.search import ray_cluster

pytestmark = pytest.mark.usefixtures("warm_ray")

TINY = (
    "--base-model", "wordllama", "--dims", "8,16", "--loss", "cosent", "--learning-rate", "1e-3", "--epochs", "1",
    "--train-size", "300", "--report", "false",
)  # fmt: skip
LATER = ("winner", "finalists", "contenders", "trials", "interrupted", "test", "verdict", "verdicts", "warnings")


def cut_back(folder: Path) -> None:
    """Leave of a finished search what there is after its last trial."""
    facts = {name: value for name, value in summary(folder).items() if name not in LATER}
    (folder / "summary.json").write_text(json.dumps(facts))
    for name in ("test.json", "scores.parquet", "leaderboard.csv"):
        (folder / name).unlink()


@pytest.mark.parametrize("algorithm", ["grid", "asha"])
def test_no_ray_starts_when_all_trials_have_ended(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ("--results", tmp_path, "--cache", tmp_path / "cache")
    ran = tune_inside("search", "--search", algorithm, "--trials", 2, *TINY, "--jobs", 2, *places, "--name", "ended")
    assert ran.code == 0, ran.err
    folder = tmp_path / "ended"
    before, table = summary(folder), (folder / "leaderboard.csv").read_text()
    cut_back(folder)

    def no_ray(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray_cluster, "started", no_ray)
    resumed = tune_inside("search", "--resume", "ended", *places)
    assert resumed.code == 0, resumed.err
    assert "already finished" in resumed.out and "starting Ray" not in resumed.out
    after = summary(folder)
    assert after["winner"]["trial"] == before["winner"]["trial"] and after["trials"] == before["trials"]
    assert (folder / "leaderboard.csv").read_text() == table
