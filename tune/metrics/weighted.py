"""The AUC of one model's scores when pairs count more than once, and what each pair contributes to the plain AUC."""

import numpy as np
from numpy.typing import NDArray

from tune.metrics.score import Scores, checked_pairs


class Ranking:
    """One model's scores, sorted once so that the AUC of a draw takes a running sum and two look-ups, O(n).

    scores [n], positive [n] in row order; ties count half. value: the plain ROC AUC. Raises ValueError as
    `checked_pairs` does.
    """

    def __init__(self, scores: Scores, positive: NDArray[np.bool_]) -> None:
        values, _ = checked_pairs(scores, positive)
        order = np.argsort(values, kind="stable")
        self._positives, self._negatives = order[positive[order]], order[~positive[order]]
        above, below = values[self._positives], values[self._negatives]
        # Per positive: how many negatives are below it, and how many are not above it. They differ only at ties.
        self._below = np.searchsorted(below, above, side="left")
        self._not_above = np.searchsorted(below, above, side="right")
        self._not_below = above.size - np.searchsorted(above, below, side="left")
        self._above = above.size - np.searchsorted(above, below, side="right")
        self.value = int(self._below.sum() + self._not_above.sum()) / (2 * above.size * below.size)
        self._tied = np.flatnonzero(self._below != self._not_above)
        self._running = np.zeros(below.size + 1)
        self._buffers = np.empty(above.size), np.empty(above.size), np.empty(below.size)

    def weighted(self, weights: NDArray[np.float64]) -> float:
        """Return the ROC AUC with row i counted weights[i] times, [n].

        Sums of whole numbers below 2**53, so exact in any order. Not for two threads at once.
        """
        running, (positives, below, negatives) = self._running, self._buffers
        # Into arrays that exist, and without a check of the places: thrice as fast as indexing.
        np.take(weights, self._positives, out=positives, mode="clip")
        np.take(weights, self._negatives, out=negatives, mode="clip")
        np.cumsum(negatives, out=running[1:])
        np.take(running, self._below, out=below, mode="clip")
        # Not @: OpenBLAS starts threads for it, which cost several times what they save here.
        halves = 2.0 * np.einsum("i,i->", positives, below)
        if len(self._tied):
            more = running[self._not_above[self._tied]] - below[self._tied]
            halves += np.einsum("i,i->", positives[self._tied], more)
        return float(halves / (2.0 * positives.sum() * running[-1]))

    def influence(self) -> NDArray[np.float64]:
        """Return by how much each row moves the AUC, [n] in row order; they sum to 0.

        For a positive, (its share of negatives below - AUC) / positives; for a negative accordingly: the placement
        values of DeLong, DeLong and Clarke-Pearson 1988. The sum of their squares estimates the variance of the AUC if
        rows are independent.
        """
        ones, zeros = self._positives.size, self._negatives.size
        influence = np.empty(ones + zeros)
        influence[self._positives] = ((self._below + self._not_above) / (2 * zeros) - self.value) / ones
        influence[self._negatives] = ((self._above + self._not_below) / (2 * ones) - self.value) / zeros
        return influence
