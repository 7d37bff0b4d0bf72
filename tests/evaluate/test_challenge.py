"""A challenge in memory: paired on the same pairs, and careful with every further look."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.tiny import topic_pairs
from tune.config.trial import TrialConfig
from tune.evaluate.challenge import Contender, caution, compare, corrected

PAIRS = topic_pairs(400, seed=1)


def contender(noise: float, seed: int = 0, dims: int = 64) -> Contender:
    """A model whose cosines are the labels with so much noise."""
    config = TrialConfig(base_model="folder/base", dims=dims, loss="cosent", learning_rate=1e-3)
    scores = PAIRS.label + noise * np.random.default_rng(seed).normal(size=len(PAIRS))
    return Contender(config, dims, scores)


def test_either_side_can_win() -> None:
    better, worse = contender(0.7, dims=32), contender(1.5, seed=1)
    won, lost = compare(better, worse, PAIRS, 0, 2), compare(worse, better, PAIRS, 0, 2)
    assert won["outcome"] == "beats" and lost["outcome"] == "behind"
    assert (won["delta"], won["low"], won["high"]) == pytest.approx((-lost["delta"], -lost["high"], -lost["low"]))
    assert won["sentence"].startswith("the challenger (base, cosent) beats the incumbent (base, cosent) by ")
    assert won["sentence"].endswith(" at 32 dims, half of its storage")
    assert won["aucs"]["challenger"]["auc"] - won["aucs"]["incumbent"]["auc"] == pytest.approx(won["delta"])


def test_the_same_scores_are_level() -> None:
    one = contender(0.7)
    found = compare(one, dataclasses.replace(one, dims=128), PAIRS, 0, 2)
    assert (found["outcome"], found["delta"], found["p"]) == ("level", 0, 1) and caution(found, 9) == ""


def test_looks_weaken_a_small_advantage_and_spare_a_large_one() -> None:
    small, incumbent = contender(0.65, seed=3), contender(1.0, seed=4)
    found = {looks: compare(small, incumbent, PAIRS, 0, looks) for looks in (2, 3, 200)}
    assert {one["outcome"] for one in found.values()} == {"beats"}
    assert [found[looks]["p_looks"] for looks in (2, 3)] == [found[2]["p"], 2 * found[2]["p"]]
    assert caution(found[2], 2) == "" and "the difference stays clear" in caution(found[3], 3)
    assert "for the 199 looks after the first, the difference is no longer clear" in caution(found[200], 200)
    large = compare(contender(0.3), incumbent, PAIRS, 0, 200)
    assert "the difference stays clear (p < 0.001)" in caution(large, 200)
    assert corrected(None, 3) is None and corrected(0.6, 3) == 1
