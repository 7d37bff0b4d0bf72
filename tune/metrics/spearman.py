"""Spearman's rank correlation of a model's scores with graded scores, and its interval on the draws of the AUC.

It is reported beside AUC where pairs have graded scores; nothing is ranked or decided by it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.metrics.intervals import Bootstrap
from tune.metrics.score import Scores

Grades = NDArray[np.floating[Any]]
"""Graded scores of pairs, [n]: any finite numbers, higher is more alike."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation, in [-1, 1], with its interval; low and high are None if none can be given."""

    rho: float
    low: float | None = None
    high: float | None = None


def spearman(scores: Scores, grades: Grades) -> float | None:
    """Return Spearman's correlation of scores and grades, [n] each; equal values share their mean rank.

    Returns None if all scores or all grades are equal. Raises ValueError if they differ in length or one is not finite.
    """
    from scipy.stats import spearmanr  # it takes half a second to import

    first, second = _checked(scores, grades)
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def correlate(scores: Scores, grades: Grades, bootstrap: Bootstrap) -> Correlation | None:
    """Return the correlation with a 95% interval from the same draws as the AUC; None as in `spearman`.

    No interval is given if the bootstrap gives none, if a draw holds a single score or grade, or for 1 and -1.
    """
    rho = spearman(scores, grades)
    if rho is None:
        return None
    resampled = bootstrap.resampled(RankCorrelation(scores, grades))
    if abs(rho) > 1 - _ROUNDING or not np.isfinite(resampled.draws).all():
        return Correlation(rho)
    found = bootstrap.interval_of(resampled)
    return Correlation(rho) if found is None else Correlation(rho, 2 * found[0] - 1, 2 * found[1] - 1)


class RankCorrelation:
    """Spearman's correlation of one model as the bootstrap takes it (`intervals.Statistic`).

    value: (1 + rho) / 2, which lies in [0, 1] like an AUC. Its log odds are twice Fisher's z = atanh(rho), so an
    interval that is symmetric in them is the usual one of a correlation.
    """

    def __init__(self, scores: Scores, grades: Grades) -> None:
        first, second = _checked(scores, grades)
        self._first = np.unique(first, return_inverse=True)[1]
        self._second = np.unique(second, return_inverse=True)[1]
        self.value = self.weighted(np.ones(first.size))

    def weighted(self, weights: NDArray[np.float64]) -> float:
        """Return the value with row i counted weights[i] times, [n]: the correlation of weighted mean ranks.

        NaN if only one score or one grade has any weight.
        """
        first, second = _ranks(self._first, weights), _ranks(self._second, weights)
        between, of_first, of_second = (weights @ (a * b) for a, b in _pairs(first, second))
        spread = float(of_first * of_second)
        return (1 + float(between) / float(np.sqrt(spread))) / 2 if spread > 0 else float("nan")

    def influence(self) -> NDArray[np.float64]:
        """Return by how much each row moves the value, [n] in row order; they sum to 0.

        The derivative by a row's weight, through its own term and the ranks of all rows it moves: the influence
        function of Croux and Dehon 2010 ("Influence functions of the Spearman and Kendall correlation measures"), for
        ties as well.
        """
        n = self._first.size
        ones = np.ones(n)
        first, second = _ranks(self._first, ones), _ranks(self._second, ones)
        between, of_first, of_second = (float(np.mean(a * b)) for a, b in _pairs(first, second))
        moved = first * second - 3 * between + _above(self._first, second) + _above(self._second, first)
        moved_first = first**2 - 3 * of_first + 2 * _above(self._first, first)
        moved_second = second**2 - 3 * of_second + 2 * _above(self._second, second)
        scale = np.sqrt(of_first * of_second)
        rho = between / scale
        influence: NDArray[np.float64] = moved / scale - rho / 2 * (moved_first / of_first + moved_second / of_second)
        return influence / (2 * n)


def _checked(scores: Scores, grades: Grades) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(scores, dtype=np.float64), np.asarray(grades, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"scores {first.shape} and grades {second.shape} must be two 1-d arrays of the same length")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a score or grade is not finite")
    return first, second


def _pairs(first: NDArray[np.float64], second: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], ...]]:
    return [(first, second), (first, first), (second, second)]


def _ranks(level: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted mean rank of every row as a share of all weight, less one half: their weighted mean is 0."""
    share = np.bincount(level, weights=weights) / weights.sum()
    ranks: NDArray[np.float64] = (np.cumsum(share) - share / 2 - 0.5)[level]
    return ranks


def _above(level: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for every row the sum of `values` over the rows ranked above it, plus half of that of its ties, over n."""
    of_level = np.bincount(level, weights=values) / level.size
    above: NDArray[np.float64] = (of_level.sum() - np.cumsum(of_level) + of_level / 2)[level]
    return above
