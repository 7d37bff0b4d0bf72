"""Confidence intervals of AUC from a bootstrap over components.

Draws depend on labels, components and a seed, never on a model, so all models of a search are compared on the same
draws. Linked pairs share texts and their errors correlate; resampling single pairs would make intervals too narrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.metrics.score import Labels, ModelScore, Scores, checked_pairs, roc_auc


@dataclass(frozen=True)
class Difference:
    """AUC of model a minus AUC of model b on the same pairs, with a percentile interval; 0.01 is one point.

    `delta` is the difference on all pairs, not the mean of the draws. `share_above_zero` is the share of draws in
    which a is ahead; ties count half.
    """

    delta: float
    low: float
    high: float
    share_above_zero: float
    level: float
    draws: int


class ComponentBootstrap:
    """Seeded bootstrap: each draw resamples all components with replacement, each with all its pairs.

    The cluster bootstrap of Field and Welsh 2007 ("Bootstrapping clustered data"), with percentile intervals.

    labels [n] of 0 and 1, component [n] of any integers. A draw that holds only one class is repeated; `redraws`
    counts these. Components are ordered by number, so draws do not depend on row order (but do depend on how the
    components are numbered). Draws are regenerated from the seed one at a time, so memory stays at a few arrays of
    size n.

    With one component there is nothing to resample, and intervals are as wide as possible. With few components
    (see `components`) a percentile interval is too narrow.

    Raises ValueError as `checked_pairs` does, and if there is not one integer component per label or draws is
    below 1.
    """

    def __init__(self, labels: Labels, component: NDArray[np.integer[Any]], draws: int = 2000, seed: int = 0) -> None:
        numbers = np.asarray(component)
        if numbers.shape != np.shape(labels) or not np.issubdtype(numbers.dtype, np.integer):
            raise ValueError(f"need one integer component per label, got {numbers.dtype} {numbers.shape}")
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        _, self._positive = checked_pairs(np.zeros(numbers.shape), labels)
        unique, self._component = np.unique(numbers, return_inverse=True)
        self.components = int(unique.size)
        self.draws = draws
        self.seed = seed
        self._positives = np.bincount(self._component, weights=self._positive, minlength=self.components)
        self._sizes = np.bincount(self._component, minlength=self.components).astype(np.float64)
        self.redraws = sum(rejected for _, rejected in self._tries())

    def multiplicities(self) -> Iterator[NDArray[np.float64]]:
        """Yield for each draw how often every component was drawn: [components], whole numbers as float64."""
        for times, _ in self._tries():
            yield times

    def aucs(self, scores: Scores) -> NDArray[np.float64]:
        """Return the ROC AUC of every draw, [draws]; a pair counts as often as its component was drawn.

        scores [n] in row order; ties count half. Raises ValueError if the length differs or a score is not finite.
        """
        ranking = self._ranking(scores)
        return np.fromiter(map(ranking.auc, self.multiplicities()), np.float64, self.draws)

    def interval(self, scores: Scores, level: float = 0.95) -> tuple[float, float]:
        """Return the percentile interval (low, high) of the AUC; (0, 1) if there is only one component.

        Raises ValueError as `aucs` does, and for a level outside (0, 1).
        """
        return self.interval_of(self.aucs(scores), level)

    def interval_of(self, aucs: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
        """Return the same from the result of `aucs`, [draws]."""
        _check_level(level)
        return (0.0, 1.0) if self.components == 1 else _percentiles(aucs, level)

    def difference(self, scores_a: Scores, scores_b: Scores, level: float = 0.95) -> Difference:
        """Return AUC of a minus AUC of b, paired: both are computed on the same draws.

        With one component the interval is (-1, 1) and the share 0.5. Raises ValueError as `interval` does.
        """
        delta = roc_auc(scores_a, self._positive) - roc_auc(scores_b, self._positive)
        return self.difference_of(delta, self.aucs(scores_a), self.aucs(scores_b), level)

    def difference_of(
        self, delta: float, aucs_a: NDArray[np.float64], aucs_b: NDArray[np.float64], level: float = 0.95
    ) -> Difference:
        """Return the same from the results of `aucs` for a and b, [draws], and the difference on all pairs.

        Saves recomputing draws when many models are compared.
        """
        _check_level(level)
        if self.components == 1:
            return Difference(delta, -1.0, 1.0, 0.5, level, self.draws)
        differences = aucs_a - aucs_b
        low, high = _percentiles(differences, level)
        share = float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
        return Difference(delta, low, high, share, level, self.draws)

    def _tries(self) -> Iterator[tuple[NDArray[np.float64], int]]:
        """Yield every draw with the number of one-class draws rejected before it.

        Terminates: with both classes present, a draw holds both with a probability above a quarter.
        """
        generator = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            rejected = 0
            while True:
                drawn = generator.integers(self.components, size=self.components)
                times = np.bincount(drawn, minlength=self.components).astype(np.float64)
                if 0 < times @ self._positives < times @ self._sizes:
                    break
                rejected += 1
            yield times, rejected

    def _ranking(self, scores: Scores) -> "_Ranking":
        return _Ranking(scores, self._positive, self._component)


class _Ranking:
    """One model's scores, sorted once so that the AUC of a draw takes a running sum and two look-ups, O(n)."""

    def __init__(self, scores: Scores, positive: NDArray[np.bool_], component: NDArray[np.intp]) -> None:
        values, _ = checked_pairs(scores, positive)
        order = np.argsort(values, kind="stable")
        positives, negatives = order[positive[order]], order[~positive[order]]
        self._positives = component[positives]
        self._negatives = component[negatives]
        # Per positive: how many negatives are below it, and how many are not above it. They differ only at ties.
        self._below = np.searchsorted(values[negatives], values[positives], side="left")
        self._not_above = np.searchsorted(values[negatives], values[positives], side="right")
        self._running = np.zeros(negatives.size + 1)

    def auc(self, times: NDArray[np.float64]) -> float:
        """Return the ROC AUC with the pairs of component c counted times[c] times.

        Sums of whole numbers below 2**53, so exact in any order.
        """
        weights = times[self._positives]
        running = self._running
        np.cumsum(times[self._negatives], out=running[1:])
        halves = weights @ running[self._below] + weights @ running[self._not_above]
        return float(halves / (2.0 * weights.sum() * running[-1]))


def with_interval(score: ModelScore, bootstrap: ComponentBootstrap, aucs: NDArray[np.float64]) -> ModelScore:
    """Return the score with `auc_low`, `auc_high` and `redraws` set; aucs: the bootstrap's, [draws]."""
    low, high = bootstrap.interval_of(aucs)
    return replace(score, auc_low=low, auc_high=high, redraws=bootstrap.redraws)


def _percentiles(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
