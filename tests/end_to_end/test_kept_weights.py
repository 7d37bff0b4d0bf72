"""Whole models that cannot be finalists lose their weights while the search runs, and nothing else changes."""

from pathlib import Path

import pytest

from tests.helpers.command import Ran, leaderboard, summary, tune_inside
from tests.helpers.disturbed import numbers
from tests.helpers.tiny import save_tiny_bert, write_topic_pairs

pytestmark = pytest.mark.usefixtures("warm_ray")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    save_tiny_bert(folder / "bert")
    write_topic_pairs(folder / "topics.csv", {"train": 300, "val": 300, "test": 400})
    return folder


def searched(place: Path, name: str, *options: object) -> Ran:
    return tune_inside(
        "search", "--data", place / "topics.csv", "--split-column", "side", "--base-model", place / "bert" / "model",
        "--freeze", "false", "--search", "asha", "--deterministic", "true", "--trials", 5, "--dims", 8,
        "--loss", "cosent",
        "--learning-rate", "1e-6,1e-5,1e-4,1e-3,3e-3", "--epochs", 2, "--eval-pairs", 0, "--finalists", 1, "--jobs", 2,
        "--results", place, "--cache", place / "cache", "--name", name, *options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def search(place: Path) -> tuple[Ran, Path]:
    return searched(place, "finalists"), place / "finalists"


def with_weights(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("trials/*/best.safetensors")}


def test_the_weights_of_two_stay_and_the_results_are_the_same(search: tuple[Ran, Path], place: Path) -> None:
    ran, folder = search
    assert ran.code == 0, ran.err
    assert "weights: up to " in ran.out
    ranked = [row["trial"] for row in leaderboard(folder) if row["rank"]]
    assert any(row["status"] == "stopped" for row in leaderboard(folder)), "asha decides as well"
    assert len(ranked) == 5 and with_weights(folder) == set(ranked[:2]), "the finalist and one more"
    kept = searched(place, "all", "--keep-weights", "all")
    assert kept.code == 0, kept.err
    assert len(with_weights(place / "all")) == 5
    assert numbers(folder) == numbers(place / "all")


def test_what_was_deleted_on_purpose_is_whole_and_not_trained_again(search: tuple[Ran, Path], place: Path) -> None:
    _, folder = search
    checked = tune_inside("check", folder)
    assert checked.code == 0, checked.out
    deleted = next(path.parent for path in sorted(folder.glob("trials/*/weights_deleted")))
    refused = tune_inside("export", folder, "--trial", deleted.name, "--to", place / "exported")
    assert refused.code == 2 and f"the weights of trial {deleted.name} were deleted to save disk" in refused.err
    assert "--keep-weights all" in refused.err and refused.err.count("\n") == 1

    before = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/reports.jsonl")}
    winner = summary(folder)["winner"]["trial"]
    for name in ("summary.json", "test.json", "leaderboard.csv", "scores.parquet"):
        (folder / name).unlink()
    again = tune_inside("search", "--resume", "finalists", "--results", place, "--cache", place / "cache")
    assert again.code == 0, again.err
    assert "trained again" not in again.out and summary(folder)["winner"]["trial"] == winner
    assert {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/reports.jsonl")} == before
