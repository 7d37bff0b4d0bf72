"""`--extend`: a finished search goes on as a new one, which equals one that had all the trials from the start."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.helpers.command import done_trials, leaderboard, summary, tune_inside
from tests.helpers.disturbed import numbers
from tests.helpers.tiny import save_topics

pytestmark = pytest.mark.usefixtures("warm_ray")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_topics(tmp_path_factory.mktemp("place"))


def space(place: Path, algorithm: str) -> tuple[object, ...]:
    data = ("--data", place / "topics.csv", "--split-column", "side", "--base-model", place / "static")
    axes = ("--dims", "8,16", "--loss", "cosent,cosine", "--learning-rate", "1e-3:1e-1", "--epochs", 4)
    return ("--search", algorithm, *data, *axes, "--batch-size", 16, "--jobs", 2, "--guard", "none")


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("algorithm", ["asha", "random", pytest.param("optuna", marks=pytest.mark.slow)])
def test_an_extended_search_equals_one_of_all_trials(algorithm: str, place: Path, tmp_path: Path) -> None:
    options = ("--results", tmp_path, "--cache", place / "cache")
    for name, trials in (("long", 9), ("short", 5)):
        ran = tune_inside("search", *space(place, algorithm), *options, "--trials", trials, "--name", name)
        assert ran.code == 0, ran.err
    before, done = contents(tmp_path / "short"), done_trials(tmp_path / "short")

    dry = tune_inside("search", "--resume", "short", "--extend", 4, "--dry-run", *options)
    assert f"{algorithm}: 4 trials, up to 2 at a time" in dry.out and "by earlier searches (long, short)" in dry.out
    ran = tune_inside("search", "--resume", "short", "--extend", 4, "--name", "more", *options)
    assert ran.code == 0, ran.err
    assert contents(tmp_path / "short") == before, "the search that is extended stays as it was"
    assert numbers(tmp_path / "more") == numbers(tmp_path / "long")
    for trial in done:
        copy = tmp_path / "more" / "trials" / trial.name / "reports.jsonl"
        assert copy.read_bytes() == (trial / "reports.jsonl").read_bytes(), "nothing is trained again"

    assert "The test side was opened after that, but not for the first time: search short" in " ".join(ran.out.split())
    extends = summary(tmp_path / "more")["extends"]
    opened = json.loads((tmp_path / "short" / "test.json").read_text())["opened"]
    assert extends == {"name": "short", "trials": 5, "test_opened": opened}
    assert "test first opened" in (tmp_path / "more" / "best" / "README.md").read_text()

    if algorithm == "random":
        again = tune_inside("search", "--resume", "more", "--extend", 1, "--json", *options)
        assert again.code == 0, again.err
        third = Path(json.loads(again.out)["paths"]["results"])
        assert third.name not in ("short", "more") and summary(third)["extends"]["test_opened"] == opened
        assert len([row for row in leaderboard(third) if row["status"] != "baseline"]) == 10


def test_what_cannot_be_extended_is_refused(place: Path, tmp_path: Path) -> None:
    options = ("--results", tmp_path, "--cache", place / "cache")
    grid = ("--search", "grid", "--learning-rate", "1e-2", "--dims", 8, "--loss", "cosent", "--name", "grid")
    assert tune_inside("search", *space(place, "grid"), *grid, *options).code == 0
    small = ("--learning-rate", "1e-2", "--loss", "cosent", "--trials", 8, "--name", "small")
    assert tune_inside("search", *space(place, "random"), *small, *options).code == 0
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "search.toml").write_text((tmp_path / "small" / "search.toml").read_text())
    made = sorted(path.name for path in tmp_path.iterdir())
    refused = {
        ("--resume", "grid", "--extend", 3): "grid is a grid, which has tried its whole space",
        ("--resume", "small", "--extend", 3): "has tried all 2 configurations of its space",
        ("--resume", "small", "--extend", 0): "--extend 0: give the number of trials to add, 1 or more",
        ("--resume", "small", "--extend", "many"): "--extend many: give the number of trials to add",
        ("--resume", "small", "--extend", 3, "--epochs", 2): "--resume small: --epochs cannot be changed",
        ("--resume", "begun", "--extend", 3): "has no winner yet; finish it with --resume begun",
        ("--extend", 3): "--extend goes with --resume NAME",
    }
    for arguments, line in refused.items():
        ran = tune_inside("search", *arguments, *options)
        assert ran.code == 2 and line in ran.err and ran.err.count("error:") == 1, ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == made
