"""A cause outside the trials pauses a search: nothing is given up, and the resumed search ends as if nothing had been.

The small disk is a tmpfs, which only root may mount; elsewhere that test is skipped.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import children, started, summary, tune_inside, wait_for
from tests.helpers.disturbed import fill, numbers, runs, small_disk

pytestmark = pytest.mark.usefixtures("warm_ray")

GRID = (
    "--search", "grid", "--base-model", "wordllama", "--dims", 256, "--loss", "cosent,cosine", "--epochs", 1,
    "--learning-rate", "1e-3,2e-3,3e-3", "--jobs", 2, "--report", "false",
)  # fmt: skip
"""Six trials whose weights take 256 KB each."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("results")
    ran = tune_inside("search", *GRID, "--results", folder, "--cache", cache, "--name", "whole")
    assert ran.code == 0, ran.err
    return folder / "whole"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB; `mount -o remount,size=` changes that."""
    with small_disk(tmp_path / "disk", megabytes=8) as failed:
        if failed:
            pytest.skip(f"no tmpfs can be mounted here: {failed}")
        yield tmp_path / "disk"


def test_a_full_disk_costs_no_trial(disk: Path, cache: Path, undisturbed: Path) -> None:
    options = ("--results", disk, "--cache", cache)
    folder = disk / "full"

    def fill_later() -> None:
        wait_for(lambda: [*folder.glob("trials/*/done")])
        fill(disk / "filler")

    other = threading.Thread(target=fill_later)
    other.start()
    ran = tune_inside("search", *GRID, *options, "--name", "full", "--json")
    other.join()
    assert ran.code == 75, ran.err
    [line] = [line for line in ran.err.splitlines() if line.startswith("paused:")]
    assert "No space left on device" in line and "free some space" in line
    assert f"python -m tune search --resume full --results {disk}" in line and "Traceback" not in ran.err
    assert "No space left on device" in json.loads(ran.out)["interrupted"]
    assert "winner" not in summary(folder) and not (folder / "test.json").exists()
    assert not [*folder.glob("trials/*/failed.json"), *folder.glob("trials/*/lost.json")], "no trial is blamed"

    again = tune_inside("search", "--resume", "full", *options)
    assert again.code == 75 and re.search(r"has \d+ KiB free, and \d trials need up to \d", again.err), "not even begun"

    (disk / "filler").unlink()
    export = tune_inside("search", "--resume", "full", *options)
    assert export.code == 75 and "paused: cannot write" in export.err, "the winner is larger than the disk"
    assert not [*folder.glob(".best*")]
    subprocess.run(["mount", "-o", "remount,size=128m", disk], check=True)
    done = tune_inside("search", "--resume", "full", *options)
    assert done.code == 0, done.err
    assert numbers(folder) == numbers(undisturbed)


def test_baselines_on_a_full_disk_are_to_be_run_again(disk: Path, cache: Path) -> None:
    fill(disk / "filler")
    ran = tune_inside(
        "baselines", "--base-model", "wordllama", "--results", disk, "--cache", cache, "--name", "full", "--json"
    )
    assert ran.code == 75 and "No space left on device" in json.loads(ran.out)["interrupted"], ran.err
    line = ran.err.splitlines()[-1]
    assert line.startswith("paused: No space left on device; ")
    assert line.endswith("; embedded texts are kept. run the command again with another --name")


def test_what_a_kill_or_a_bad_disk_left_of_trials_is_finished_or_trained_again(
    undisturbed: Path, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(undisturbed, folder)
    for name in ("winner", "finalists", "contenders"):
        forget(folder / "summary.json", name)
    for name in ("test.json", "leaderboard.csv", "scores.parquet"):
        (folder / name).unlink()
    shutil.rmtree(folder / "best")
    unmarked, short, flipped, cut, whole, _ = sorted((folder / "trials").iterdir())
    (unmarked / "done").unlink()
    reports = (short / "reports.jsonl").read_text().splitlines(keepends=True)
    (short / "reports.jsonl").write_text("".join(reports[:-2]))
    weights = bytearray((flipped / "best.safetensors").read_bytes())
    weights[-1000] ^= 1
    (flipped / "best.safetensors").write_bytes(weights)
    (cut / "best.safetensors").write_bytes((cut / "best.safetensors").read_bytes()[:-1])
    trained = (whole / "reports.jsonl").stat().st_mtime_ns
    (folder / "split.parquet").unlink()

    ran = tune_inside("search", "--resume", "damaged", "--results", tmp_path, "--cache", cache)
    assert ran.code == 0, ran.err
    assert f"trial {short.name} is trained again: reports.jsonl is damaged" in ran.out
    assert f"trial {flipped.name} is trained again: best.safetensors is damaged" in ran.out
    assert f"trial {cut.name} is trained again: best.safetensors is damaged" in ran.out
    assert ran.out.count("is trained again") == 3 and (unmarked / "done").exists()
    assert (whole / "reports.jsonl").stat().st_mtime_ns == trained
    assert "split.parquet is missing or damaged; written again" in ran.out
    assert (folder / "split.parquet").read_bytes() == (undisturbed / "split.parquet").read_bytes()
    assert numbers(folder) == numbers(undisturbed)


def test_a_finished_search_makes_again_what_is_damaged(undisturbed: Path, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "finished"
    shutil.copytree(undisturbed, folder)
    [weights] = folder.glob("best/*_Dense/model.safetensors")
    name = weights.relative_to(folder / "best")
    weights.write_bytes(weights.read_bytes()[:-1])
    (folder / "best" / "README.md").write_text("edited")
    (folder / "split.parquet").write_bytes(b"PAR1")
    (folder / ".best.abcdefgh").mkdir()
    (folder / ".summary.json.1234.part").touch()
    ran = tune_inside("search", "--resume", "finished", "--results", tmp_path, "--cache", cache)
    assert ran.code == 0, ran.err
    assert f"best: {name} is damaged; exported again" in ran.out
    assert "split.parquet is missing or damaged; restore a copy" in ran.out, "the scores' rows are in its order"
    for file in (f"best/{name}", "test.json", "leaderboard.csv"):
        assert (folder / file).read_bytes() == (undisturbed / file).read_bytes(), file
    assert not [path for path in folder.iterdir() if path.name.endswith(".part") or path.name.startswith(".best")]


@pytest.mark.parametrize("process", ["raylet/raylet", pytest.param("gcs_server", marks=pytest.mark.slow)])
def test_a_search_pauses_within_seconds_if_ray_dies(
    process: str, cache: Path, undisturbed: Path, tmp_path: Path
) -> None:
    options, log = ("--results", tmp_path, "--cache", cache), tmp_path / "log"
    with started("search", *GRID, *options, "--name", "dead", log=log) as search:
        wait_for(lambda: [*tmp_path.glob("dead/trials/*/reports.jsonl")])
        [victim], agents = children(search.pid, process), children(search.pid, "Agent")
        os.kill(victim, signal.SIGKILL)
        assert search.wait(20) == 75, log.read_text()
        said = log.read_text().splitlines()
        assert said[-1].startswith(f"paused: Ray's {process.split('/')[0]} ended unexpectedly (SIGKILL); finished work")
        assert not [line for line in said if "Traceback" in line or "raylet)" in line]
        wait_for(lambda: not any(runs(agent) for agent in agents), 20)
    assert not [*tmp_path.glob("dead/trials/*/lost.json")]
    ran = tune_inside("search", "--resume", "dead", *options)
    assert ran.code == 0 and numbers(tmp_path / "dead") == numbers(undisturbed), ran.err


def forget(path: Path, name: str) -> None:
    """Remove a fact from a summary."""
    facts = json.loads(path.read_text())
    del facts[name]
    path.write_text(json.dumps(facts))
