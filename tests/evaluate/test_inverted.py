"""Labels look inverted if all untouched models are clearly below chance, and never otherwise."""

import numpy as np
from numpy.typing import NDArray

from tune.data.pairs import Meaning
from tune.data.sides import LabelledPairs
from tune.evaluate.inverted import inverted

_PLAIN = Meaning("1 is positive, 0 is negative", "1", "0")


def pairs(n: int = 200) -> LabelledPairs:
    return LabelledPairs([f"a {i}" for i in range(n)], [f"b {i}" for i in range(n)], np.arange(n, dtype=np.int8) % 2)


def scores(gap: float, seed: int = 0, n: int = 200) -> NDArray[np.float64]:
    """Return cosines that are higher by `gap` where the label is 1."""
    return np.random.default_rng(seed).normal(size=n) / 4 + gap * (np.arange(n) % 2)


def test_all_below_chance_is_evidence() -> None:
    found = inverted({"one": scores(-0.5), "two": scores(-0.4, 1)}, pairs(), _PLAIN, "validation", 0)
    assert found is not None and not found.confirmed
    assert "labels look inverted" in found.sentence and "--positive-label 0" in found.sentence
    assert all(base["auc"] < base["high"] < 0.5 for base in found.bases.values()) and len(found.bases) == 2


def test_one_model_above_chance_is_none() -> None:
    assert inverted({"one": scores(-0.5), "two": scores(0.1, 1)}, pairs(), _PLAIN, "validation", 0) is None


def test_chance_is_no_evidence() -> None:
    below = scores(-0.02, 3)
    assert inverted({"one": below}, pairs(), _PLAIN, "validation", 0) is None
    assert inverted({"one": scores(0.5)}, pairs(), _PLAIN, "validation", 0) is None
    assert inverted({}, pairs(), _PLAIN, "validation", 0) is None


def test_unknown_is_no_evidence() -> None:
    """Pairs that share one text have no interval."""
    tied = LabelledPairs(["same"] * 200, ["same"] * 200, pairs().label)
    assert inverted({"one": scores(-0.5)}, tied, _PLAIN, "validation", 0) is None


def test_what_the_user_said_is_not_doubted() -> None:
    said = Meaning("0 is positive, all else negative", "0", "1", notable=True, given=True)
    found = inverted({"one": scores(-0.5)}, pairs(), said, "validation", 0)
    assert found is not None and found.confirmed and "look inverted" not in found.sentence


def test_scores_may_be_distances() -> None:
    found = inverted({"one": scores(-0.5)}, pairs(), Meaning("4 and above is positive"), "validation", 0)
    assert found is not None and "distance" in found.sentence and "--positive-label" not in found.sentence
