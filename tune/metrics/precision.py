"""Precision at a share of positives found: what a threshold costs that misses few pairs."""

import numpy as np
from numpy.typing import NDArray

from tune.metrics.score import Scores, checked_pairs


class PrecisionAtRecall:
    """The highest precision at a recall of at least `recall`, as a statistic to resample.

    scores [n], positive [n] in row order; pairs of equal score are called positive together. value: on the pairs as
    they are. Raises ValueError as `checked_pairs` does.
    """

    def __init__(self, scores: Scores, positive: NDArray[np.bool_], recall: float = 0.9) -> None:
        values, _ = checked_pairs(scores, positive)
        self._order = np.argsort(-values, kind="stable")
        ranked = values[self._order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        self._positive = positive[self._order].astype(np.float64)
        self._recall = recall
        self.value = self.weighted(np.ones(values.size))

    def weighted(self, weights: NDArray[np.float64]) -> float:
        """Return the precision with row i counted weights[i] times, [n]."""
        counted = weights[self._order]
        found = np.cumsum(counted * self._positive)[self._ends]
        called = np.cumsum(counted)[self._ends]
        # Recall is an exact quotient of whole numbers but for its last digits.
        enough = found >= self._recall * found[-1] * (1 - 1e-12)
        return float((found[enough] / called[enough]).max())

    def influence(self) -> NDArray[np.float64]:
        """Return zeros, [n]: a bootstrap over components, which takes its error from the draws, does not ask."""
        return np.zeros(self._order.size)
