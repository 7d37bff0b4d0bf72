"""What a search needs of the disk follows from its space and its finalists; a low disk is told at each half."""

import os
from pathlib import Path

import pytest

from tests.helpers.disturbed import small_disk
from tune.config.search import SearchConfig, search_config
from tune.pipeline import room
from tune.pipeline.room import LowDisk, weights_need

WHOLE = {"base_model": "wordllama", "freeze": "false", "learning_rate": "1e-3", "loss": "cosent,cosine", "dims": "8,16"}


def config(**options: str | int) -> SearchConfig:
    return search_config({"search": "grid", "finalists": 2, **options}, space=dict(WHOLE))


@pytest.mark.parametrize(
    ("options", "trials", "jobs", "least"),
    [
        # The two best and one more, and two of the second cell; two run with their state.
        ({}, 40, 2, 3 + 2 + 2 + 6),
        ({"search": "random"}, 40, 2, 3 + 2 + 6),
        ({}, 4, 2, 4 + 6),
        ({"keep_weights": "all"}, 40, 2, 40 + 6),
    ],
)
def test_the_need_does_not_grow_with_the_number_of_trials(
    options: dict[str, str | int], trials: int, jobs: int, least: int
) -> None:
    exact = weights_need(config(**options), 10, trials, jobs, sampled=False)
    assert (exact.least, exact.most) == (10 * least, 10 * least)
    sampled = weights_need(config(**options), 10, trials, jobs, sampled=True)
    assert (sampled.least, sampled.most) == (10 * least, 10 * (trials + 6))


def test_a_low_disk_is_told_once_per_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LOOK_SECONDS", 0.0)
    with small_disk(tmp_path / "disk", megabytes=40) as failed:
        if failed:
            pytest.skip(f"no tmpfs can be mounted here: {failed}")
        low, said = LowDisk(tmp_path / "disk", weights=0), []
        for number in range(9):
            said.append(low())
            (tmp_path / "disk" / str(number)).write_bytes(os.urandom(4 * 2**20))
    assert [bool(line) for line in said] == [True, False, False, False, False, True, False, False, True], said
    assert said[0] == f"Warning: {tmp_path / 'disk'} has 40 MiB free; the search pauses if that is used up"
