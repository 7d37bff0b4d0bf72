"""`--dry-run`: how long the trials will take, by what trials took before, and what Modal costs for that."""

import json
import re
from pathlib import Path

import pytest

from cluster.plan import place, upload_line
from tests.helpers.command import done_trials, tune_here, tune_inside
from tests.helpers.tiny import save_tiny_bert, save_topics
from tune.config.search import search_config
from tune.pipeline.dry_run import time_line
from tune.pipeline.plan import Earlier, Place, planned_times

pytestmark = pytest.mark.usefixtures("warm_ray")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_topics(tmp_path_factory.mktemp("files"))


def grid(files: Path, results: Path) -> list[object]:
    data = ("--data", files / "topics.csv", "--split-column", "side", "--base-model", files / "static")
    axes = ("--dims", "8,16", "--loss", "cosent", "--learning-rate", "1e-2", "--epochs", 2, "--jobs", 1)
    return ["search", "--search", "grid", *data, *axes, "--guard", "none", "--results", results]


def seconds(said: str) -> float:
    """Return the time that a dry run names, or the sum of its two ends."""
    [took] = re.findall(r"time: the trials take (.*?), by", said)
    units = {"h": 3600, "min": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (h|min|s)\b", took))


def test_times_come_from_steps_and_then_from_earlier_searches(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = grid(files, tmp_path)
    first = tune_here(capsys, *command, "--dry-run")
    assert "grid: 2 trials, up to 1 at a time" in first.out and "by 10 steps on random vectors" in first.out
    # A layer of 16 x 768 floats, each as often as there are trials, and three times of the running one.
    assert "disk: at most 240 KiB of weights in results, 6 MiB of vectors in the cache" in first.out
    assert not [*tmp_path.iterdir()], "a dry run writes nothing"

    ran = tune_inside(*command, "--cache", files / "cache", "--name", "first")
    assert ran.code == 0, ran.err
    for trial in done_trials(tmp_path / "first"):
        reports = [json.loads(line) for line in (trial / "reports.jsonl").read_text().splitlines()]
        reports[-1]["seconds"] = 30.0
        (trial / "reports.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports))
    again = tune_here(capsys, *command, "--dry-run")
    assert "by earlier searches (first)" in again.out
    assert seconds(again.out) == pytest.approx(60, abs=2), "two trials of 30 seconds"
    longer = tune_here(capsys, *command, "--epochs", 20, "--dry-run")
    assert 60 < seconds(longer.out) <= 600

    whole = tune_here(
        capsys, *command, "--base-model", save_tiny_bert(tmp_path / "bert"), "--freeze", "false", "--dry-run"
    )
    assert "time: unknown, as no search has trained these base models here" in whole.out

    # What ran on this machine says nothing about Modal.
    config = search_config({"search": "grid", "results": tmp_path}, space={"base_model": str(files / "static")})
    assert planned_times(config, 500, Earlier(tmp_path, Place(8, "L4", (0.8, 0.8)))) is None
    assert "unknown, as no search has trained these base models on Modal" in time_line(
        config, 500, Earlier(tmp_path, Place(8, "L4"))
    )
    path = tmp_path / "first" / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "modal": {"gpu": "L4"}}))
    line = time_line(config, 500, Earlier(tmp_path, Place(8, "L4", (0.72, 0.72))))
    [low, high], [cheap, dear] = (
        [float(number) for number in found] for found in re.findall(r"([\d.]+) to ([\d.]+) (?:GPU hours|USD)", line)
    )
    assert 0 < low <= high and [cheap, dear] == pytest.approx([0.72 * low, 0.72 * high], abs=0.01)


def test_on_modal_the_price_is_that_of_the_gpu_and_the_upload_that_of_the_pairs(files: Path) -> None:
    pairs = {"data": str(files / "topics.csv")}
    frozen = place(search_config(data=pairs), None)
    assert frozen.jobs == 8 and frozen.usd_per_hour == (0.5904, 1.1016)
    given = place(search_config({"gpu_usd_per_hour": 3, "jobs": 2}, data=pairs), "H100")
    assert (given.jobs, given.gpu, given.usd_per_hour) == (2, "H100", (3, 3))
    size = (files / "topics.csv").stat().st_size / 1e6
    assert upload_line(search_config(data=pairs)) == f"upload: 1 file of pairs, {size:.1f} MB, and embedtune's code"
    assert upload_line(search_config()) == "upload: no pairs, only embedtune's code"
