"""Labels that seem to run the other way: untouched base models rank negatives above positives, clearly.

Much data numbers its classes with 0 for "same". A layer learns such labels just as well, and then seems to beat the
untouched model by far, so this is reported in place of praise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.pairs import Meaning
from tune.data.sides import LabelledPairs
from tune.evaluate.final_test import draws_of
from tune.metrics.score import roc_auc

_CHANCE = 0.5


@dataclass(frozen=True)
class Inverted:
    """Evidence that labels are inverted. confirmed: the user said which value is positive, so nothing is withheld."""

    sentence: str
    confirmed: bool
    bases: dict[str, dict[str, float]]
    """Base model -> auc, low, high."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values by field name."""
        return {"sentence": self.sentence, "confirmed": self.confirmed, "bases": self.bases}


def inverted(
    scores: Mapping[str, NDArray[np.float64]], pairs: LabelledPairs, meaning: Meaning, where: str, seed: int
) -> Inverted | None:
    """Return the evidence if the AUC of every model, with its whole interval, is below chance; None otherwise.

    scores: by model, [n], of these pairs. where: what the AUC is of, such as "validation". A single model above chance,
    or an interval that holds 0.5 or cannot be given, is no evidence.
    """
    aucs = {name: roc_auc(of_model, pairs.label) for name, of_model in scores.items()}
    if not aucs or max(aucs.values()) >= _CHANCE:
        return None
    bootstrap = draws_of(pairs, seed).bootstrap
    bases: dict[str, dict[str, float]] = {}
    for name, of_model in scores.items():
        interval = bootstrap.interval(of_model)
        if interval is None or interval[1] >= _CHANCE:
            return None
        bases[name] = {"auc": aucs[name], "low": interval[0], "high": interval[1]}
    shown = ", ".join(f"{name} {one['auc']:.4f} [{one['low']:.4f}, {one['high']:.4f}]" for name, one in bases.items())
    found = f"cosine similarity runs against them (AUC on {where}: {shown})"
    if meaning.given:
        return Inverted(f"the labels are as --positive-label says, but {found}", True, bases)
    return Inverted(f"the labels look inverted: {found}; {_fix(meaning)}", False, bases)


def _fix(meaning: Meaning) -> str:
    if not meaning.negative:
        return "higher scores must mean more alike: negate a distance"
    return (
        f"say which value is positive with --positive-label {meaning.negative}"
        f" (or --positive-label {meaning.positive}, if the labels are right)"
    )
