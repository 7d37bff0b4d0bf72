"""Graded scores: their range, the scale from 0 to 1 that losses need, and a threshold for labels if none is given."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.config.data import DataConfig
from tune.data._columns import Columns, show
from tune.errors import DataError

Scores = NDArray[np.float64]
"""[n]; NaN if a row has no score."""


_ENDS = (("low", "lowest"), ("high", "highest"))


@dataclass(frozen=True)
class Scale:
    """Where graded scores come from. column: its name. low, high: the scores that become 0 and 1.

    found: which of low and high were not given but found in the data.
    """

    column: str
    low: float
    high: float
    found: tuple[str, ...] = ()

    def described(self) -> str:
        """Return the limits in a few words: "0 to 5 (highest found)"."""
        low, high = (f" ({name} found)" if end in self.found else "" for end, name in _ENDS)
        return f"{self.low:g}{low} to {self.high:g}{high}"

    def scaled(self, scores: Scores) -> Scores:
        """Return (score - low) / (high - low)."""
        return (scores - self.low) / (self.high - self.low)


def graded(
    scores: Scores, label: NDArray[np.int8] | None, columns: Columns, config: DataConfig, where: str
) -> tuple[Scores, Scale]:
    """Return scores scaled to [0, 1], and their scale. scores: as written. label: [n]; None if there is none.

    Raises DataError if the scores cannot be scaled, if there is no label or the threshold makes labels of one class
    only, or if scores are lower for pairs labelled 1.
    """
    assert columns.score is not None
    scale = _scale(scores, columns.score, config, where)
    if label is None:
        raise DataError(
            f"{where}: column {show(scale.column)} has scores, but nothing says which pairs are positive: add"
            f" --positive-from SCORE{_hint(scores)}, or name a column of 0 and 1 with --label"
        )
    if columns.label == columns.score:
        _check_threshold(scores, label, config, where)
    else:
        _check_direction(scores, label, scale.column, where)
    return scale.scaled(scores), scale


def _scale(scores: Scores, column: str, config: DataConfig, where: str) -> Scale:
    """Return the scale of these scores, with the limits given or else found in the data."""
    there = _present(scores)
    if not len(there):
        raise DataError(f"{where}: score column {show(column)} is empty: fill in scores, or leave out --score")
    low = float(there.min()) if config.score_min is None else config.score_min
    high = float(there.max()) if config.score_max is None else config.score_max
    if outside := list(dict.fromkeys(there[(there < low) | (there > high)].tolist()))[:3]:
        raise DataError(
            f"{where}: score column {show(column)} contains {', '.join(f'{value:g}' for value in outside)}, outside"
            f" {low:g} to {high:g}: correct these rows, or --score-min and --score-max"
        )
    if low >= high:
        raise DataError(
            f"{where}: all scores of column {show(column)} are {low:g}, so there is nothing to learn from them:"
            " name another column, or leave out --score"
        )
    found = [name for name, given in (("low", config.score_min), ("high", config.score_max)) if given is None]
    return Scale(column, low, high, tuple(found))


def _check_threshold(scores: Scores, label: NDArray[np.int8], config: DataConfig, where: str) -> None:
    """Raise DataError if the threshold makes labels of one class only. label: made with it."""
    assert config.positive_from is not None
    positives, count = int((label == 1).sum()), len(_present(scores))
    if positives in (0, count):
        raise DataError(
            f"{where}: --positive-from {config.positive_from:g} makes {'all' if positives else 'none'} of the"
            f" {count:,} pairs positive: choose another threshold{_hint(scores)}"
        )


def _check_direction(scores: Scores, label: NDArray[np.int8], column: str, where: str) -> None:
    """Raise DataError if scores are lower for pairs labelled 1: losses would pull the wrong pairs together."""
    positive, negative = (_present(scores[label == value]) for value in (1, 0))
    if len(positive) and len(negative) and positive.mean() < negative.mean():
        raise DataError(
            f"{where}: scores of column {show(column)} are lower for pairs labelled 1 (mean {positive.mean():.3g}) than"
            f" for pairs labelled 0 ({negative.mean():.3g}), but higher must mean more alike: reverse them, or check"
            " the label column"
        )


def _hint(scores: Scores) -> str:
    """Return the threshold that splits the pairs most evenly and what it does; "" if none splits them."""
    there = np.sort(_present(scores))
    levels = np.unique(there)[1:]
    if not len(levels):
        return ""
    positives = len(there) - np.searchsorted(there, levels)
    threshold = float(levels[np.abs(positives - len(there) / 2).argmin()])
    # A short number is easier to type and to remember, if it splits them as well.
    short = float(f"{threshold:.2g}")
    threshold = short if there[0] < short <= there[-1] else threshold
    above = int((there >= threshold).sum())
    shown = f"{threshold:g}" if float(f"{threshold:g}") == threshold else repr(threshold)
    return f", such as --positive-from {shown} ({above:,} of {len(there):,} pairs positive)"


def _present(scores: Scores) -> Scores:
    return scores[~np.isnan(scores)]
