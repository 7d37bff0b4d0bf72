"""Confidence intervals of AUC from bootstrap draws of whatever the test pairs share.

Draws depend on labels, shared texts and a seed, never on a model, so all models of a search are compared on the same
draws. Linked pairs share texts and their errors correlate; resampling single pairs would make intervals too narrow.

An interval is the estimate plus and minus a quantile of Student's t times the standard error of the draws. With few
components or texts, percentiles of the draws cover too rarely (tests/benchmarks/interval_coverage.py); and p-values
from t need no draws beyond those of the interval, however many comparisons there are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from tune.metrics.score import Labels, ModelScore, Scores, checked_pairs
from tune.metrics.weighted import Ranking

DRAWS = 2000
"""The standard error of 2,000 draws is itself off by 1.6%."""

SAYS_NOTHING = 0.9
"""An interval that covers more than this share of all possible values is not given."""

_THREADS = 2
_ROWS_PER_THREAD = 20_000
"""Draws of fewer rows take less than starting threads for them."""
_ROWS_AT_ONCE = 1 << 20
"""Rows of draws that are in memory at once."""

Method = Literal["components", "two-way"]


@dataclass(frozen=True)
class Difference:
    """AUC of model a minus AUC of model b on the same pairs, with an interval; 0.01 is one point.

    p: two-sided, of "no difference"; below 1 - level just if the interval excludes 0. low, high and p are None if no
    interval can be given; `reason` then says why.
    """

    delta: float
    low: float | None
    high: float | None
    p: float | None
    level: float
    draws: int
    reason: str = ""


class Statistic(Protocol):
    """A number in [0, 1] computed from the pairs, of one model: its AUC, for one."""

    value: float

    def weighted(self, weights: NDArray[np.float64]) -> float:
        """Return the value with row i counted weights[i] times, [n]."""
        ...

    def influence(self) -> NDArray[np.float64]:
        """Return by how much each row moves the value, [n]."""
        ...


@dataclass(frozen=True, eq=False)
class Resampled:
    """A model's AUC (or another `Statistic`), that of every draw, [draws], and the influence of every row on it, [n].

    Also of a difference of two models: all three are then differences, over the draws that both have.
    """

    value: float
    draws: NDArray[np.float64]
    influence: NDArray[np.float64]

    def __sub__(self, other: "Resampled") -> "Resampled":
        same = min(len(self.draws), len(other.draws))
        draws = self.draws[:same] - other.draws[:same]
        return Resampled(self.value - other.value, draws, self.influence - other.influence)


class Bootstrap(ABC):
    """Seeded draws of the pairs, the same for every model.

    method: what is drawn. draws: how many. reason: why no interval can be given, or "". The weights of a draw are
    regenerated from the seed one draw at a time, so memory stays at a few arrays of size n.
    """

    method: Method
    reason: str = ""

    def __init__(self, labels: Labels, draws: int, seed: int) -> None:
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        _, self._positive = checked_pairs(np.zeros(np.shape(labels)), labels)
        self._ones = self._positive.astype(np.float64)
        self.draws = draws
        self.seed = seed
        self._redraws: int | None = None

    @property
    def redraws(self) -> int:
        """How many draws held only one class and were repeated."""
        if self._redraws is None:
            self._redraws = 0 if self.reason else sum(rejected for _, rejected in self._tries())
        return self._redraws

    def weights(self) -> Iterator[NDArray[np.float64]]:
        """Yield for each draw how often every row counts: [n], whole numbers as float64."""
        redraws = 0
        for weights, rejected in self._tries():
            redraws += rejected
            yield weights
        self._redraws = redraws

    def aucs(self, scores: Scores) -> NDArray[np.float64]:
        """Return the ROC AUC of every draw, [draws].

        scores [n] in row order; ties count half. Raises ValueError if the length differs or a score is not finite.
        """
        return self.resample(scores).draws

    def resample(self, scores: Scores) -> Resampled:
        """Return all that intervals and comparisons of this model need. Raises ValueError as `aucs` does."""
        return self.resampled(Ranking(scores, self._positive))

    def resampled(self, statistic: Statistic) -> Resampled:
        """Return the same for any statistic of these pairs."""
        draws = np.empty(0) if self.reason else np.fromiter(map(statistic.weighted, self.weights()), np.float64)
        return Resampled(statistic.value, draws, statistic.influence())

    def resample_all(
        self,
        scores: Sequence[Scores],
        draws: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Resampled]:
        """Return the same for several models, making each draw once for all of them. Raises ValueError as `aucs`.

        draws: only the first so many; of intervals from d draws, the width has an error of about 1 / sqrt(2 d).
        progress: of draws made, and all of them. Models of many pairs are ranked in two threads.
        """
        few = self.draws if draws is None else min(draws, self.draws)
        rankings = [Ranking(one, self._positive) for one in scores]
        drawn = np.empty((len(rankings), 0 if self.reason else few))
        if drawn.size:
            self._draw_all(rankings, drawn, progress)
        return [Resampled(one.value, own, one.influence()) for one, own in zip(rankings, drawn, strict=True)]

    def _draw_all(
        self, rankings: Sequence[Ranking], drawn: NDArray[np.float64], progress: Callable[[int, int], None] | None
    ) -> None:
        """Fill in the AUC of every model and draw, drawn [models, draws]."""
        few, weights = drawn.shape[1], self.weights()
        # A block keeps several threads busy, and small ones the caches.
        size = min(max(_ROWS_AT_ONCE // len(self._ones), 1), few)
        threads = _THREADS if len(self._ones) >= _ROWS_PER_THREAD and len(rankings) > 1 else 0
        with ThreadPoolExecutor(threads or 1, "draws") as pool:
            for start in range(0, few, size):
                block = list(islice(weights, min(size, few - start)))

                def rank(place: int, start: int = start, block: Sequence[NDArray[np.float64]] = block) -> None:
                    own = drawn[place, start : start + len(block)]
                    own[:] = [rankings[place].weighted(one) for one in block]

                list((pool.map if threads else map)(rank, range(len(rankings))))
                if progress is not None:
                    progress(start + len(block), few)
        if few == self.draws:
            # Nothing is left, and what was drawn again has then been counted.
            next(weights, None)

    def interval(self, scores: Scores, level: float = 0.95) -> tuple[float, float] | None:
        """Return the interval (low, high) of the AUC, or None; see `interval_of`.

        Raises ValueError as `aucs` does, and for a level outside (0, 1).
        """
        return self.interval_of(self.resample(scores), level)

    def interval_of(self, model: Resampled, level: float = 0.95) -> tuple[float, float] | None:
        """Return the same from the result of `resample`; None if none can be given.

        Symmetric on the scale of log odds, so its ends stay inside (0, 1).
        """
        found = self._bounds(model, level)
        return None if isinstance(found, str) else found

    def scored(self, score: ModelScore, model: Resampled) -> ModelScore:
        """Return the score with `auc_low`, `auc_high`, `redraws` and `interval` set; model: of the same scores."""
        found = self._bounds(model, 0.95)
        if isinstance(found, str):
            return replace(score, redraws=self.redraws, interval=found)
        return replace(score, auc_low=found[0], auc_high=found[1], redraws=self.redraws, interval=self.described())

    def _bounds(self, model: Resampled, level: float) -> tuple[float, float] | str:
        """Return the interval, or why there is none."""
        _check_level(level)
        if self.reason:
            return self.reason
        error, freedom = self._error(model)
        if error == 0 or not 0 < model.value < 1:
            return "every draw gives the same AUC"
        centre, scale = logit(model.value), error / (model.value * (1 - model.value))
        half = student().ppf((1 + level) / 2, freedom) * scale
        low, high = float(expit(centre - half)), float(expit(centre + half))
        return "the interval would span nearly every possible AUC" if high - low > SAYS_NOTHING else (low, high)

    def difference(self, scores_a: Scores, scores_b: Scores, level: float = 0.95) -> Difference:
        """Return AUC of a minus AUC of b, paired: both are computed on the same draws.

        Raises ValueError as `interval` does.
        """
        return self.difference_of(self.resample(scores_a), self.resample(scores_b), level)

    def difference_of(self, model_a: Resampled, model_b: Resampled, level: float = 0.95) -> Difference:
        """Return the same from the results of `resample`; saves recomputing draws when many models are compared."""
        _check_level(level)
        between = model_a - model_b
        unknown = Difference(between.value, None, None, None, level, self.draws)
        if self.reason:
            return replace(unknown, reason=self.reason)
        error, freedom = self._error(between)
        if error == 0:
            if between.value == 0:
                return replace(unknown, low=0.0, high=0.0, p=1.0)
            return replace(unknown, reason="the difference is the same in every draw")
        half = float(student().ppf((1 + level) / 2, freedom)) * error
        low, high = between.value - half, between.value + half
        if high - low > 2 * SAYS_NOTHING:
            return replace(unknown, reason="the interval would span nearly every possible difference")
        p = float(2 * student().sf(abs(between.value) / error, freedom))
        return replace(unknown, low=max(low, -1.0), high=min(high, 1.0), p=p)

    @abstractmethod
    def described(self) -> str:
        """Return in a few words what is drawn: "bootstrap over 4,552 components"."""

    @abstractmethod
    def _draw(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return the weights of one draw, [n], whichever classes it holds."""

    @abstractmethod
    def _error(self, model: Resampled) -> tuple[float, float]:
        """Return the standard error of a model's AUC, or of a difference, and the degrees of freedom of its t."""

    def _tries(self) -> Iterator[tuple[NDArray[np.float64], int]]:
        """Yield every draw with the number of one-class draws rejected before it.

        Terminates: both classes are present, so a draw holds both with a probability above 0.
        """
        generator = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            rejected = 0
            while True:
                weights = self._draw(generator)
                if 0 < np.einsum("i,i->", weights, self._ones) < weights.sum():
                    break
                rejected += 1
            yield weights, rejected


class ComponentBootstrap(Bootstrap):
    """Each draw resamples all components with replacement, each with all its pairs.

    The cluster bootstrap of Field and Welsh 2007 ("Bootstrapping clustered data"). The standard error of k components
    is raised by sqrt(k / (k - 1)), since draws of k have too small a variance by that (Hesterberg 2015, "What Teachers
    Should Know About the Bootstrap"); t has as many degrees of freedom as there are components of equal
    size with the same sum of squared shares, less one (Kish's effective number).

    labels [n] of 0 and 1, component [n] of any integers. Components are ordered by number, so draws do not depend on
    row order (but do depend on how the components are numbered). With one component there is nothing to resample.

    Raises ValueError as `checked_pairs` does, and if there is not one integer component per label or draws is below 1.
    """

    method: Method = "components"

    def __init__(self, labels: Labels, component: NDArray[np.integer[Any]], draws: int = DRAWS, seed: int = 0) -> None:
        numbers = np.asarray(component)
        if numbers.shape != np.shape(labels) or not np.issubdtype(numbers.dtype, np.integer):
            raise ValueError(f"need one integer component per label, got {numbers.dtype} {numbers.shape}")
        super().__init__(labels, draws, seed)
        unique, self._component = np.unique(numbers, return_inverse=True)
        self.components = int(unique.size)
        shares = np.bincount(self._component) / numbers.size
        self._freedom = max(1 / float(shares @ shares) - 1, 1.0)
        if self.components == 1:
            self.reason = "shared texts link all pairs into one component, so there is nothing to resample"

    def described(self) -> str:
        """Return "bootstrap over N components"."""
        return f"bootstrap over {self.components:,} components"

    def _draw(self, generator: np.random.Generator) -> NDArray[np.float64]:
        drawn = generator.integers(self.components, size=self.components)
        return np.bincount(drawn, minlength=self.components).astype(np.float64)[self._component]

    def _error(self, model: Resampled) -> tuple[float, float]:
        k = self.components
        return float(model.draws.std() * np.sqrt(k / (k - 1))), self._freedom


def student() -> Any:
    """Return Student's t of scipy.stats, which takes half a second to import and is first needed after a search."""
    from scipy.stats import t

    return t


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
