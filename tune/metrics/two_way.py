"""The two-way bootstrap, for pairs that shared texts link into a few large components, and the rule that chooses it.

A component that holds half of the pairs cannot be resampled: it is there or it is not. Its texts can.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tune.metrics.intervals import DRAWS, Bootstrap, ComponentBootstrap, Method, Resampled
from tune.metrics.score import Labels

LARGEST = 0.05
"""The largest share of the pairs that one component may hold if components are drawn."""
FEWEST = 50
"""The fewest components that may be drawn."""
MOST_OF_ONE_TEXT = 0.9
"""The largest share of the pairs that may hold one text: no draw shows what the result would be with another."""
FEWEST_TEXTS = 3
"""The fewest different texts on either side: with two, intervals span nearly everything."""

Texts = NDArray[np.integer[Any]]


class TwoWayBootstrap(Bootstrap):
    """Each draw resamples texts; a pair counts as often as the product of its two texts' counts.

    The pigeonhole bootstrap of Owen 2007 ("The pigeonhole bootstrap", Ann. Appl. Stat. 1(2), 386-411): the texts of
    either side are drawn with replacement, independently. It fits pairs that share no text being independent, given a
    fixed model; no bootstrap is exact then (McCullagh 2000, "Resampling and exchangeable arrays", Bernoulli 6(2),
    285-301).

    A text that occurs on both sides is one text: it is equally hard for the model on either, and two counts would call
    its pairs independent. If there is such a text, all texts are drawn together, and a pair of a text with itself
    counts as often as that text: the square of its count would be 2 on average.

    The draws count the noise of single pairs three times, since the product of two counts has a variance of 3. That
    makes intervals up to 1.7 times too wide where pairs share few texts. So 2 (1 - 1 / sqrt(k)) times the variance of
    that noise is taken off again, k being the effective number of texts: all of the surplus with many texts, less with
    few, where the draws themselves spread too little. The factor is chosen by simulation
    (tests/benchmarks/interval_coverage.py). The variance is never below that of independent pairs. t has as many
    degrees of freedom as the side with fewer texts has texts, less one.

    labels [n] of 0 and 1; a, b [n], integers that name the texts of either side, equal for equal texts. Texts are
    ordered by number, so draws do not depend on row order. No interval can be given (`reason`) if one text is in more
    than MOST_OF_ONE_TEXT of the pairs, or a side has fewer than FEWEST_TEXTS.

    Raises ValueError as `checked_pairs` does, and if there are not two integers per label or draws is below 1.
    """

    method: Method = "two-way"

    def __init__(self, labels: Labels, a: Texts, b: Texts, draws: int = DRAWS, seed: int = 0) -> None:
        super().__init__(labels, draws, seed)
        self._a, second, self._sides = _numbered(a, b, self._positive.size)
        texts, same = sum(self._sides), self._a == second
        self._b = np.where(same, texts, second)  # the text there counts once in every draw
        unordered = np.minimum(self._a, second) * texts + np.maximum(self._a, second)
        self._cell = np.unique(unordered, return_inverse=True)[1]
        self._of_one_text = np.bincount(self._cell, weights=same) > 0
        shares = (np.bincount(self._a, minlength=texts) + np.bincount(self._b, minlength=texts)[:texts]) / same.size
        self._effective = 1 / float(shares @ shares)
        self._fewest = min(np.unique(self._a).size, np.unique(second).size)
        self.reason = self._unresampled(float(shares.max()))

    def _unresampled(self, largest: float) -> str:
        """Return why these texts say too little for an interval, or ""; largest: share of the pairs that hold one."""
        if largest > MOST_OF_ONE_TEXT:
            held = f"one text is in {_percent(largest)} of the test pairs"
            return f"{held}, so nothing shows what the result would be with another"
        if self._fewest < FEWEST_TEXTS:
            return f"one side of the test pairs has only {self._fewest} different texts"
        return ""

    def described(self) -> str:
        """Return "two-way bootstrap over texts"."""
        return "two-way bootstrap over texts"

    def _draw(self, generator: np.random.Generator) -> NDArray[np.float64]:
        drawn = [np.bincount(generator.integers(size, size=size), minlength=size) for size in self._sides]
        times = np.concatenate([*drawn, [1]]).astype(np.float64)
        return times[self._a] * times[self._b]

    def _error(self, model: Resampled) -> tuple[float, float]:
        noise = np.bincount(self._cell, weights=model.influence) ** 2
        surplus = 2 * max(1 - 1 / np.sqrt(self._effective), 0.0) * float(noise[~self._of_one_text].sum())
        k = self._fewest
        variance = max(float(model.draws.var()) - surplus, float(noise.sum())) * k / (k - 1)
        # All draws agree where every positive is above every negative, or the models rank the pairs alike.
        return float(np.sqrt(variance)) if model.draws.std() > 0 else 0.0, k - 1


@dataclass(frozen=True, eq=False)
class Drawn:
    """The bootstrap of some pairs, and why this one: how many components they form, and the largest one's share."""

    bootstrap: Bootstrap
    components: int
    largest: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values: method ("components", "two-way"; None if no interval can be given), components,
        largest_share, reason (why none can be given, or ""), draws, redraws, and all this as a `sentence`.
        """
        bootstrap = self.bootstrap
        return {
            "method": None if bootstrap.reason else bootstrap.method,
            "components": self.components,
            "largest_share": self.largest,
            "reason": bootstrap.reason,
            "draws": bootstrap.draws,
            "redraws": bootstrap.redraws,
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Return one line on how intervals were made, without a full stop."""
        held = f"the largest holds {_percent(self.largest)} of the test pairs"
        if self.bootstrap.reason:
            return f"no intervals can be given: {self.bootstrap.reason}"
        if self.bootstrap.method == "components":
            return f"intervals: {self.bootstrap.described()} of pairs that share texts; {held}"
        components = "1 component" if self.components == 1 else f"{self.components:,} components"
        return f"intervals: {self.bootstrap.described()}; shared texts form {components}, {held}"


def bootstrap_over(labels: Labels, a: Texts, b: Texts, draws: int = DRAWS, seed: int = 0) -> Drawn:
    """Return the bootstrap that fits these pairs: components if there are enough and none is large, else texts.

    Arguments and errors as of `TwoWayBootstrap`.
    """
    component = linked(a, b)
    sizes = np.bincount(component)
    largest = float(sizes.max() / sizes.sum())
    bootstrap: Bootstrap
    if largest > LARGEST or sizes.size < FEWEST:
        bootstrap = TwoWayBootstrap(labels, a, b, draws, seed)
    else:
        bootstrap = ComponentBootstrap(labels, component, draws, seed)
    return Drawn(bootstrap, int(sizes.size), largest)


def linked(a: Texts, b: Texts) -> NDArray[np.int64]:
    """Return the component of each pair, [n], 0..c-1: pairs link texts, and linked texts form a component.

    a, b: as of `TwoWayBootstrap`. Components are numbered by their smallest text.
    """
    texts, ids = np.unique(np.concatenate([a, b]), return_inverse=True)
    first, second = ids[: len(a)], ids[len(a) :]
    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(texts.size, texts.size))
    component: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)[first]
    return component


def _numbered(a: Texts, b: Texts, pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, ...]]:
    """Return the texts of either side numbered from 0, and how many are drawn together: those of a, then those of b.

    All together if a text is on both sides.
    """
    first, second = np.asarray(a), np.asarray(b)
    for side in (first, second):
        if side.shape != (pairs,) or not np.issubdtype(side.dtype, np.integer):
            raise ValueError(f"need two integers per label that name its texts, got {side.dtype} {side.shape}")
    if np.intersect1d(first, second).size:
        texts, ids = np.unique(np.concatenate([first, second]), return_inverse=True)
        return ids[:pairs].astype(np.int64), ids[pairs:].astype(np.int64), (int(texts.size),)
    of_a, ids_a = np.unique(first, return_inverse=True)
    of_b, ids_b = np.unique(second, return_inverse=True)
    sizes = int(of_a.size), int(of_b.size)
    return ids_a.astype(np.int64), ids_b.astype(np.int64) + sizes[0], sizes


def _percent(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")
