"""Labels look inverted if some untouched model is clearly below chance and none is clearly above."""

import numpy as np
from numpy.typing import NDArray

from tune.data.pairs import Meaning
from tune.data.sides import LabelledPairs
from tune.evaluate.inverted import inverted
from tune.metrics.score import roc_auc

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


def test_one_model_clearly_above_chance_is_none() -> None:
    assert inverted({"one": scores(-0.5), "two": scores(0.4, 1)}, pairs(), _PLAIN, "validation", 0) is None


def test_a_model_at_chance_hides_nothing() -> None:
    """A base model that knows nothing about these texts may fall on either side of 0.5."""
    chance = next(one for seed in range(20) if 0.5 < roc_auc(one := scores(0, seed), pairs().label) < 0.54)
    found = inverted({"one": scores(-0.5), "two": chance}, pairs(), _PLAIN, "validation", 0)
    assert found is not None and list(found.bases) == ["one"]
    assert "two" not in found.sentence and "look inverted" in found.sentence


def test_who_ranks_is_named() -> None:
    found = inverted({"one": scores(-0.5)}, pairs(), _PLAIN, "these pairs", 0, "this model ranks")
    assert found is not None
    assert found.sentence.startswith("the labels look inverted: this model ranks negative pairs above positive ones (")
    assert found.sentence.endswith(
        "; rerun with --positive-label 0, or with --positive-label 1 if the labels are right"
    )


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
    said = Meaning("0 is positive, all others are negative", "0", "1", notable=True, given=True)
    found = inverted({"one": scores(-0.5)}, pairs(), said, "validation", 0)
    assert found is not None and found.confirmed and "look inverted" not in found.sentence
    assert found.sentence.startswith("labels follow what --positive-label says, but untouched base models rank")


def test_scores_may_be_distances() -> None:
    found = inverted({"one": scores(-0.5)}, pairs(), Meaning("4 and above is positive"), "validation", 0)
    assert found is not None and "distance" in found.sentence and "--positive-label" not in found.sentence


def test_values_are_quoted_for_the_shell() -> None:
    found = inverted({"one": scores(-0.5)}, pairs(), Meaning("", "same $x", "not same"), "validation", 0)
    assert found is not None and "--positive-label 'not same'" in found.sentence
    assert "--positive-label 'same $x'" in found.sentence


def test_a_threshold_is_a_choice_too() -> None:
    said = Meaning("4 and above is positive", given=True, as_given="--positive-from says (higher scores ...)")
    found = inverted({"one": scores(-0.5)}, pairs(), said, "validation", 0)
    assert found is not None and found.confirmed and "what --positive-from says" in found.sentence
