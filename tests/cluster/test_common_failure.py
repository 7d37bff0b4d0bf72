"""Trials that all fail for one reason end a search on Modal as they do elsewhere, and are trained again."""

from pathlib import Path

import pytest

from tests.helpers.modal_launch import SMALL, VOLUME, launch, modal_local, on_volume

pytestmark = [pytest.mark.modal, pytest.mark.timeout(250)]


def test_the_reason_ends_the_search_and_is_forgotten_on_the_volumes(tmp_path: Path) -> None:
    with modal_local(tmp_path, commit_seconds=0.5) as stand_in:
        ran = launch(
            stand_in, "--search", "grid", *SMALL, "--loss", "cosent,contrastive,cosine", "--learning-rate", "3e38",
            "--epochs", 1, "--results", tmp_path / "results", "--name", "broken",
        )  # fmt: skip
        assert ran.code == 2, ran.err
        [error] = [line for line in ran.err.splitlines() if line.startswith("error: ")]
        assert "the first 5 trials that ended all failed" in error and "--resume broken" in error
        assert on_volume(stand_in, "embedtune-trials", "broken/*/trial.json"), "they were trained"
        assert not on_volume(stand_in, "embedtune-trials", "broken/*/failed.json")
        assert not on_volume(stand_in, VOLUME, "broken/trials/*/failed.json")
        assert stand_in.running_calls() == []
        stand_in.wait_until_idle(5)
        assert stand_in.errors == [] and stand_in.unknown_rpcs == []
