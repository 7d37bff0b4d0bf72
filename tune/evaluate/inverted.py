"""Labels that seem to run the other way: untouched base models clearly rank negatives above positives.

Much data numbers its classes with 0 for "same". A layer learns such labels just as well, and then seems to beat the
untouched model by far, so this is reported instead of praise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.pairs import Meaning
from tune.data.sides import LabelledPairs
from tune.evaluate.draws import draws_of
from tune.metrics.score import roc_auc
from tune.metrics.verdict import in_brackets

_CHANCE = 0.5


@dataclass(frozen=True)
class Inverted:
    """Evidence that labels are inverted. confirmed: the user said which value is positive, so nothing is withheld."""

    sentence: str
    confirmed: bool
    bases: dict[str, dict[str, float]]
    """Base models below chance -> auc, low, high."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values by field name."""
        return {"sentence": self.sentence, "confirmed": self.confirmed, "bases": self.bases}


def inverted(
    scores: Mapping[str, NDArray[np.float64]],
    pairs: LabelledPairs,
    meaning: Meaning,
    where: str,
    seed: int,
    who: str = "untouched base models rank",
) -> Inverted | None:
    """Return the evidence if some model's AUC, with its whole interval, is below chance and none's is above; else None.

    scores: by model, [n], of these pairs. where: what the AUC is of, such as "validation". who: the models, with the
    verb. A model at chance, or without an interval, is no evidence either way.
    """
    aucs = {name: roc_auc(of_model, pairs.label) for name, of_model in scores.items()}
    if not aucs or min(aucs.values()) >= _CHANCE:
        return None
    bootstrap = draws_of(pairs, seed).bootstrap
    bases: dict[str, dict[str, float]] = {}
    for name, of_model in scores.items():
        interval = bootstrap.interval(of_model)
        if interval is not None and interval[0] > _CHANCE:
            return None
        if interval is not None and interval[1] < _CHANCE:
            bases[name] = {"auc": aucs[name], "low": interval[0], "high": interval[1]}
    if not bases:
        return None
    shown = ", ".join(f"{name} {one['auc']:.4f}{in_brackets(one['low'], one['high'])}" for name, one in bases.items())
    found = f"{who} negative pairs above positive ones (AUC on {where}: {shown})"
    if meaning.given:
        return Inverted(f"labels follow what {meaning.as_given}, but {found}", True, bases)
    return Inverted(f"the labels look inverted: {found}; {_fix(meaning)}", False, bases)


def _fix(meaning: Meaning) -> str:
    if not meaning.negative:
        return "higher scores must mean more alike: negate a distance"
    return (
        f"rerun with --positive-label {quote(meaning.negative)}, or with --positive-label {quote(meaning.positive)} if"
        " the labels are right"
    )
