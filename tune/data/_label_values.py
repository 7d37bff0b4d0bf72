"""Values of label and score columns: words for yes, no and nothing, numbers, and names of classes."""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data._columns import is_null, show
from tune.errors import DataError

UNLABELLED = -1
"""Label of rows without a label; cleaning drops them."""

_YES = ("1", "true", "yes", "t", "y")
_NO = ("0", "false", "no", "f", "n")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "\\n")
"""Words for no value, casefolded. "-": SNLI's pairs without a majority. \\N: null in exports of PostgreSQL."""

_POSITIVE_NAMES = frozenset((
    "positive", "pos", "yes", "y", "true", "t", "1", "same", "match", "matches", "matched", "matching", "duplicate",
    "duplicates", "similar", "relevant", "related", "entailment", "entails", "entailed", "equivalent", "equal",
    "paraphrase", "paraphrases", "linked",
))  # fmt: skip
_NEGATIVE_NAMES = frozenset((
    "negative", "neg", "no", "n", "false", "f", "0", "different", "differs", "distinct", "mismatch", "unmatched",
    "dissimilar", "irrelevant", "unrelated", "contradiction", "neutral", "other", "unique",
))  # fmt: skip
_NEGATIONS = frozenset(("not", "no", "non"))
_FILLERS = frozenset(("is", "are", "a", "an", "the"))
_PREFIXES = ("not", "non", "no", "un", "dis", "ir", "mis")
_SHORTEST_STEM = 3
"""Letters of a word that a prefix may negate."""


def positive_name(names: Sequence[str]) -> int | None:
    """Return which of two class names is positive, 0 or 1, if that is clear from the words; None if not.

    Clear: one is the negation of the other, or one is a usual word for positive and the other for negative.
    """
    words = ["".join(c if c.isalnum() else " " for c in name.casefold()).split() for name in names]
    joined = ["".join(name) for name in words]
    negated = [bool(_NEGATIONS.intersection(name)) for name in words]
    stems = ["".join(word for word in name if word not in _NEGATIONS | _FILLERS) for name in words]
    if stems[0] == stems[1] and stems[0] and negated[0] != negated[1]:
        return int(negated[0])
    for i in (0, 1):
        if len(joined[i]) >= _SHORTEST_STEM and joined[1 - i] in {prefix + joined[i] for prefix in _PREFIXES}:
            return i
        if joined[i] in _POSITIVE_NAMES and joined[1 - i] in _NEGATIVE_NAMES:
            return i
    return None


def parse_scores(values: Sequence[Any], column: str, where: str) -> NDArray[np.float64]:
    """Return graded scores, NaN for none (as for labels), [n]. Raises DataError showing up to three others."""
    out = np.full(len(values), np.nan)
    bad: dict[str, None] = {}
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        number = number_of(value)
        if number is None or math.isinf(number):
            bad[show(value)] = None
        else:
            out[i] = number
    if bad:
        raise DataError(
            f"{where}: score column {show(column)} contains {', '.join(list(bad)[:3])}: use finite numbers, or leave"
            " the field empty to drop the row"
        )
    return out


def plain_label(value: Any) -> int | None:
    """Return 0, 1, -1 for a missing label, or None if the value does not say it."""
    if is_missing(value):
        return UNLABELLED
    word = str(value).strip().casefold()
    if word in _YES or word in _NO:
        return int(word in _YES)
    number = number_of(value)
    return int(number) if number in (0.0, 1.0) else None


def listed(values: Iterable[Hashable], most: int = 3) -> str:
    """Return the first distinct values for a message."""
    return ", ".join(show(value) for value in list(dict.fromkeys(values))[:most])


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none."""
    return is_null(value) or str(value).strip().casefold() in _MISSING


def number_of(value: Any) -> float | None:
    """Return a number, a boolean or the text of a number as a float; None for anything else, and for NaN."""
    if isinstance(value, bool):
        return float(value)
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return None if math.isnan(number) else number
