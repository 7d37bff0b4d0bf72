"""The AUC of a winner that was chosen on the very pairs that judge it: bootstrap bias-corrected cross-validation.

The highest of many out-of-fold AUCs flatters, most of all on few pairs. So the choice is repeated on each draw of the
pairs, and what it chooses is scored on the pairs that were not drawn (BBC-CV: Tsamardinos, Greasidou and Borboudakis
2018, "Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation", Machine Learning 107,
1895-1922).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.metrics.intervals import Bootstrap, ComponentBootstrap, Resampled, student
from tune.metrics.score import Scores, checked_pairs

MOST_DRAWS, LEAST_DRAWS = 1000, 200
_WORK = 4e8
"""Scores to rank over all draws and candidates: about five seconds."""
_AT_ONCE = 2_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FoldedPairs:
    """Cross-validated pairs: label [n] of 0 and 1; component, fold [n], integers. Each component is in one fold."""

    label: NDArray[np.int8]
    component: NDArray[np.int64]
    fold: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class OutOfBagAuc(Resampled):
    """The AUC on the pairs that each draw left out: their mean, and those of all draws, [draws].

    plain: of one fixed model on all pairs, which no interval may be narrower than. Also of a difference.
    """

    plain: Resampled

    def __sub__(self, other: Resampled) -> "OutOfBagAuc":
        assert isinstance(other, OutOfBagAuc)
        return OutOfBagAuc(self.value - other.value, self.draws - other.draws, self.influence, self.plain - other.plain)


class OutOfBagBootstrap(ComponentBootstrap):
    """Each draw chooses on the drawn components and scores on the others. Intervals as of any `Bootstrap`.

    A draw is repeated if the pairs left out lack a class, or no fold has both among the pairs drawn.

    The standard error is that of the draws times sqrt(f / (1 - f)), f being the mean share of pairs that a draw leaves
    out: a sample of that share, drawn without replacement, varies by that much more than the mean over all draws does.
    What the choice varies by is part of it. t has as many degrees of freedom as the scarcer class has components of
    equal size, less one. An interval is never narrower than that of `usual` for the chosen model's out-of-fold scores
    as if it had been fixed before. tests/benchmarks/fold_coverage.py shows how often such intervals hold the truth.

    usual: the bootstrap that fits these pairs if a model is fixed. Raises ValueError as `ComponentBootstrap` does.
    """

    def __init__(self, pairs: FoldedPairs, usual: Bootstrap, draws: int = MOST_DRAWS, seed: int = 0) -> None:
        super().__init__(pairs.label, pairs.component, draws, seed)
        self._usual = usual
        self._folds = [np.flatnonzero(pairs.fold == own) for own in np.unique(pairs.fold)]
        self._freedom = max(min(self._effective(of) for of in (self._positive, ~self._positive)) - 1, 1.0)
        self.reason = self.reason or usual.reason.replace("test pairs", "pairs")

    def described(self) -> str:
        """Return "N draws of C components, and scored on the pairs not drawn"."""
        return f"{self.draws:,} draws of {self.components:,} components, and scored on the pairs not drawn"

    def chosen(self, candidates: NDArray[np.floating], winner: Scores) -> OutOfBagAuc:
        """Return the AUC of the procedure that takes the candidate with the highest mean AUC over the folds.

        candidates: [c, n], out-of-fold scores. winner: [n], those of the candidate that was chosen on all pairs.
        """
        within = [self._ranked(scores, self._folds) for scores in candidates]
        overall = [one for scores in candidates for one in self._ranked(scores, [np.arange(len(self._ones))])]
        found = []
        for weights in self._several():
            means = np.stack([_mean_auc(folds, weights) for folds in within])
            best = means.argmax(axis=0)
            left = (weights == 0).astype(np.float64)
            aucs = np.empty(len(weights))
            for candidate in np.unique(best):
                of = best == candidate
                aucs[of] = overall[candidate].auc(left[of])
            found.append(aucs)
        return self._of(found, winner)

    def fixed(self, scores: Scores) -> OutOfBagAuc:
        """Return the AUC of a model that was not chosen, on the same pairs left out. scores: [n]."""
        [ranked] = self._ranked(scores, [np.arange(len(self._ones))])
        return self._of([ranked.auc((weights == 0).astype(np.float64)) for weights in self._several()], scores)

    def _of(self, found: Sequence[Floats], scores: Scores) -> OutOfBagAuc:
        draws, plain = np.concatenate([*found, np.empty(0)]), self._usual.resample(scores)
        return OutOfBagAuc(float(draws.mean()) if draws.size else plain.value, draws, np.empty(0), plain)

    def _ranked(self, scores: Scores, groups: Sequence[NDArray[np.int64]]) -> list["_Ranked"]:
        values, _ = checked_pairs(scores, self._positive)
        return [_Ranked(values, self._positive, rows) for rows in groups]

    def _several(self) -> Iterator[Floats]:
        """Yield the weights of several draws at a time, [some, n]; none if there is only one component to draw."""
        if self.components == 1:
            return
        size, block = max(_AT_ONCE // len(self._ones), 1), []
        for weights in self.weights():
            block.append(weights)
            if len(block) == size:
                yield np.stack(block)
                block = []
        if block:
            yield np.stack(block)

    def _holds_both(self, weights: Floats) -> bool:
        """Whether the draw can be used."""
        left, drawn = weights == 0, weights > 0
        positive = self._positive
        if not ((left & positive).any() and (left & ~positive).any()):
            return False
        return any((drawn & positive)[rows].any() and (drawn & ~positive)[rows].any() for rows in self._folds)

    def _tries(self) -> Iterator[tuple[Floats, int]]:
        generator = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            rejected = 0
            while not self._holds_both(weights := self._draw(generator)):
                rejected += 1
            yield weights, rejected

    def _error(self, model: Resampled) -> tuple[float, float]:
        assert isinstance(model, OutOfBagAuc)
        k = self.components
        left = (1 - 1 / k) ** k
        own = float(model.draws.std() * np.sqrt(left / (1 - left) * k / (k - 1))), self._freedom
        usual = self._usual._error(model.plain)
        return max(own, usual, key=lambda one: one[0] * student().ppf(0.975, one[1]))

    def _effective(self, rows: NDArray[np.bool_]) -> float:
        """Return how many components of equal size have the same sum of squared shares of these rows."""
        shares = np.bincount(self._component[rows]) / rows.sum()
        return 1 / float(shares @ shares)


def draws_for(candidates: int, pairs: int) -> int:
    """Return how many draws to take, so that many candidates on many pairs do not take minutes."""
    return int(np.clip(_WORK / max(candidates * pairs, 1), LEAST_DRAWS, MOST_DRAWS))


class _Ranked:
    """Some rows of a model's scores, sorted once, for the AUC of many draws at a time."""

    def __init__(self, values: Floats, positive: NDArray[np.bool_], rows: NDArray[np.int64]) -> None:
        ordered = rows[np.argsort(values[rows], kind="stable")]
        self._positives, self._negatives = ordered[positive[ordered]], ordered[~positive[ordered]]
        below = values[self._negatives]
        self._below = np.searchsorted(below, values[self._positives], side="left")
        self._not_above = np.searchsorted(below, values[self._positives], side="right")

    def auc(self, weights: Floats) -> Floats:
        """Return the AUC of each draw, [draws], NaN if it lacks a class. weights: [draws, n]."""
        positives, negatives = weights[:, self._positives], weights[:, self._negatives]
        running = np.zeros((len(weights), negatives.shape[1] + 1))
        np.cumsum(negatives, axis=1, out=running[:, 1:])
        halves = (positives * (running[:, self._below] + running[:, self._not_above])).sum(axis=1)
        with np.errstate(invalid="ignore"):
            found: Floats = halves / (2 * positives.sum(axis=1) * running[:, -1])
        return found


def _mean_auc(folds: Sequence[_Ranked], weights: Floats) -> Floats:
    """Return the mean AUC of each draw over the folds that have both classes in it."""
    aucs = np.stack([fold.auc(weights) for fold in folds])
    there = ~np.isnan(aucs)
    mean: Floats = np.where(there, aucs, 0.0).sum(axis=0) / there.sum(axis=0)
    return mean
