"""Ten rounds of the campaign, with two kinds of searches."""

from pathlib import Path

import pytest

from tests.faults.rounds import Campaign

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    root: Path = tmp_path_factory.mktemp("faults")
    return Campaign(root, ("asha", "whole"))


@pytest.mark.parametrize("seed", range(10))
def test_a_disturbed_search_ends_like_an_undisturbed_one(seed: int, campaign: Campaign) -> None:
    outcome = campaign.play(seed)
    assert not outcome.wrong, outcome
