"""Confidence intervals of AUC by a bootstrap of components.

Owns the draws: made from labels, components and a seed, never from a model, so every model of a search is
judged on the same ones. Linked pairs share texts and err together; drawing pairs one by one would make
intervals too narrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.metrics.score import Labels, Scores, TestScore, checked_pairs, roc_auc


@dataclass(frozen=True)
class Difference:
    """AUC of model a minus AUC of model b on the same pairs, with its percentile interval; 0.01 is one point.

    `delta` is that on all pairs, not the mean of the draws. `share_above_zero` is the share of draws in which
    a is ahead, a draw in which they are equal counting half.
    """

    delta: float
    low: float
    high: float
    share_above_zero: float
    level: float
    draws: int


class ComponentBootstrap:
    """Seeded draws of components with replacement, as many as there are, each with all its pairs.

    The cluster bootstrap of Field and Welsh 2007 ("Bootstrapping clustered data"), with percentile intervals.

    labels [n] of 0 and 1, component [n] of any integers. A draw that holds one class only is drawn again;
    `redraws` counts these. Components are ordered by their number, so the draws do not depend on the order of
    the rows (they do on which component has which number). Nothing of size draws * n is kept: the draws are
    made anew from the seed each time, one after the other, so memory stays at a few arrays of size n.

    With one component there is nothing to draw: its intervals say so by being as wide as can be. With few
    (see `components`) a percentile interval is too narrow.

    ValueError: as in `checked_pairs`, components of another length or not integers, draws below 1.
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
        self.redraws = sum(again for _, again in self._tries())

    def multiplicities(self) -> Iterator[NDArray[np.float64]]:
        """Each draw in turn: how often every component was drawn, [components], whole numbers as float64."""
        for times, _ in self._tries():
            yield times

    def aucs(self, scores: Scores) -> NDArray[np.float64]:
        """ROC AUC of every draw, [draws], each pair counted as often as its component was drawn.

        scores [n] in the rows' order; ties count half. ValueError: another length, or not finite.
        """
        ranking = self._ranking(scores)
        return np.fromiter(map(ranking.auc, self.multiplicities()), np.float64, self.draws)

    def interval(self, scores: Scores, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval (low, high) of the AUC; (0, 1) where there is one component.

        ValueError as in `aucs`, or a level outside (0, 1).
        """
        return self.interval_of(self.aucs(scores), level)

    def interval_of(self, aucs: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
        """The same, of what `aucs` gave, [draws]."""
        _check_level(level)
        return (0.0, 1.0) if self.components == 1 else _percentiles(aucs, level)

    def difference(self, scores_a: Scores, scores_b: Scores, level: float = 0.95) -> Difference:
        """AUC of a minus AUC of b, paired: both are taken on the same draws.

        With one component the interval is (-1, 1) and the share 0.5. ValueError as in `interval`.
        """
        delta = roc_auc(scores_a, self._positive) - roc_auc(scores_b, self._positive)
        return self.difference_of(delta, self.aucs(scores_a), self.aucs(scores_b), level)

    def difference_of(
        self, delta: float, aucs_a: NDArray[np.float64], aucs_b: NDArray[np.float64], level: float = 0.95
    ) -> Difference:
        """The same, of what `aucs` gave for either, [draws]; delta: on all pairs. For many models, each drawn once."""
        _check_level(level)
        if self.components == 1:
            return Difference(delta, -1.0, 1.0, 0.5, level, self.draws)
        differences = aucs_a - aucs_b
        low, high = _percentiles(differences, level)
        share = float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
        return Difference(delta, low, high, share, level, self.draws)

    def _tries(self) -> Iterator[tuple[NDArray[np.float64], int]]:
        """Every draw, with how many of one class were thrown away before it.

        Comes to an end: where both classes are present, a draw holds both with a chance above a quarter.
        """
        generator = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            again = 0
            while True:
                drawn = generator.integers(self.components, size=self.components)
                times = np.bincount(drawn, minlength=self.components).astype(np.float64)
                if 0 < times @ self._positives < times @ self._sizes:
                    break
                again += 1
            yield times, again

    def _ranking(self, scores: Scores) -> "_Ranking":
        return _Ranking(scores, self._positive, self._component)


class _Ranking:
    """One model's scores sorted once, so that the AUC of a draw is a running sum and two look-ups, O(n)."""

    def __init__(self, scores: Scores, positive: NDArray[np.bool_], component: NDArray[np.intp]) -> None:
        values, _ = checked_pairs(scores, positive)
        order = np.argsort(values, kind="stable")
        wanted, unwanted = order[positive[order]], order[~positive[order]]
        self._wanted = component[wanted]
        self._unwanted = component[unwanted]
        # Per positive: how many negatives lie below it, and how many not above it. They differ at ties only.
        self._below = np.searchsorted(values[unwanted], values[wanted], side="left")
        self._not_above = np.searchsorted(values[unwanted], values[wanted], side="right")
        self._running = np.zeros(unwanted.size + 1)

    def auc(self, times: NDArray[np.float64]) -> float:
        """ROC AUC where the pairs of component c count times[c] times.

        Sums of whole numbers below 2**53: exact, whatever their order.
        """
        weights = times[self._wanted]
        running = self._running
        np.cumsum(times[self._unwanted], out=running[1:])
        halves = weights @ running[self._below] + weights @ running[self._not_above]
        return float(halves / (2.0 * weights.sum() * running[-1]))


def with_interval(score: TestScore, bootstrap: ComponentBootstrap, aucs: NDArray[np.float64]) -> TestScore:
    """The score with `auc_low`, `auc_high` and `redraws`; aucs [draws] are what the bootstrap gave for it."""
    low, high = bootstrap.interval_of(aucs)
    return replace(score, auc_low=low, auc_high=high, redraws=bootstrap.redraws)


def _percentiles(draws: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
