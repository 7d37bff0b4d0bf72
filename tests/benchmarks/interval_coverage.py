"""How often 95% intervals hold the truth where test pairs share texts, and how wide they are, by simulation.

Scores are 1.5 (or more) x label + an effect of either text + noise, of variance 1 in all; a second model has 0.8 of the
distance between the labels and effects correlated by 0.7. Effects are drawn anew in every run for the same pairs, so
the truth, the mean AUC over all effects, is known: a normal integral for each pair of a positive and a negative, by how
many texts they share. Judged are the interval of the AUC and that of the paired difference between the two models.

The grid: 600 pairs in 10, 40 or 150 components, one of which is a hub text with 1%, 10% or 50% of the pairs; effects
are 10% or 40% of the variance. The others are blocks of texts in which every text of one side is paired with each of
the other. Beyond the grid: cases that are harder for any method. Targets hold for the grid.

Methods: components and two_way are those of tune/metrics; chosen is the one that `bootstrap_over` takes. For
comparison, percentile_* are plain percentiles of the same draws. Figures are [coverage, width, given]. width: mean
width over that of the interval with the true standard error. given: share of the runs in which an interval can be
given; coverage and width are over these.

With `--data` (pairs with a split): the standard error of a fixed model's AUC by components over that by pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tests.benchmarks.common import Options, Result, Stopwatch, Target, pairs_config, split_of
from tune.embed.sources import load_source
from tune.evaluate.final_test import draws_of
from tune.metrics.intervals import Bootstrap, ComponentBootstrap
from tune.metrics.two_way import TwoWayBootstrap, bootstrap_over, linked

TITLE = "coverage of nominal 95% intervals where pairs share texts (simulated, 600 pairs)"
PAIRS = 600
COMPONENTS, HUBS, EFFECTS = (10, 40, 150), (0.01, 0.1, 0.5), (0.1, 0.4)
DISTANCE, SECOND, CORRELATION = 1.5, 0.8, 0.7
LEAST = 0.93

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Made = Callable[[np.random.Generator], tuple[Ints, Ints]]


@dataclass(frozen=True)
class Case:
    """Pairs that share texts, and how scores are drawn. make: the texts of either side, [n]; equal numbers, one text.

    effect: share of the variance that is of the texts, half of it of either side.
    """

    name: str
    make: Made
    effect: float
    distance: float = DISTANCE


def blocks(components: int, hub: float) -> Made:
    """Return what makes pairs in so many components, one of them a hub text with that share of the pairs."""

    def make(generator: np.random.Generator) -> tuple[Ints, Ints]:
        of_hub = round(hub * PAIRS)
        sizes = np.diff(np.linspace(0, PAIRS - of_hub, components).round().astype(int))
        a, b, texts = [np.arange(of_hub)], [np.full(of_hub, 10**6)], of_hub
        for size in sizes:
            row, column = divmod(np.arange(size), max(int(np.sqrt(size)), 1))
            a.append(texts + row)
            b.append(10**6 + texts + column)
            texts += size
        return np.concatenate(a), np.concatenate(b)

    return make


def catalogue(articles: int, each: int) -> Made:
    """Return what pairs every ticket with `each` of the articles."""

    def make(generator: np.random.Generator) -> tuple[Ints, Ints]:
        chosen = [generator.choice(articles, each, replace=False) for _ in range(PAIRS // each)]
        return np.repeat(np.arange(PAIRS // each), each), 10**6 + np.concatenate(chosen)

    return make


def one_kind(texts: int, hub: float) -> Made:
    """Return what pairs texts of one kind at random: most are on both sides. A share of the pairs holds text 0."""

    def make(generator: np.random.Generator) -> tuple[Ints, Ints]:
        a, b = generator.integers(0, texts, PAIRS), generator.integers(1, texts, PAIRS)
        a[: round(hub * PAIRS)] = 0
        return a, np.where(a == b, (b + 1) % texts, b)

    return make


def grid() -> list[Case]:
    """Return the cases of the issue: components x hub x effect."""
    return [
        Case(f"{components} components, hub {hub:.0%}, effect {effect:.0%}", blocks(components, hub), effect)
        for components in COMPONENTS
        for hub in HUBS
        for effect in EFFECTS
    ]


def beyond() -> list[Case]:
    """Return other shapes, and what no method does well: few strong texts, AUC near 1."""
    return [
        Case("150 articles, 3 per ticket, effect 40%", catalogue(150, 3), 0.4),
        Case("30 articles, 3 per ticket, effect 40%", catalogue(30, 3), 0.4),
        Case("10 articles, 3 per ticket, effect 40%", catalogue(10, 3), 0.4),
        Case("3 articles, 1 per ticket, effect 40%", catalogue(3, 1), 0.4),
        Case("300 texts on both sides, effect 40%", one_kind(300, 0.0), 0.4),
        Case("1000 texts on both sides, hub 30%, effect 40%", one_kind(1000, 0.3), 0.4),
        Case("10 articles, 3 per ticket, effect 80%", catalogue(10, 3), 0.8),
        Case("60 texts on both sides, hub 30%, effect 80%", one_kind(60, 0.3), 0.8),
        Case("40 components, hub 10%, effect 80%", blocks(40, 0.1), 0.8),
        Case("40 components, hub 10%, effect 40%, AUC 0.99", blocks(40, 0.1), 0.4, 3.5),
    ]


def run(options: Options) -> Result:
    """Simulate every case, on two processes."""
    runs, draws = options.pick(800, 20), options.pick(300, 60)
    result = Result()
    cases = [("grid", one) for one in grid()] + [("beyond", one) for one in beyond()]
    result.figures = {"runs": runs, "draws": draws, "grid": {}, "beyond": {}}
    places = [(part, number, runs, draws) for part in ("grid", "beyond") for number in range(len(_cases(part)))]
    with get_context("fork").Pool(2) as pool:
        for (part, case), figures in zip(cases, pool.imap(_simulated, places), strict=True):
            result.figures[part][case.name] = figures
    for of in ("auc", "difference"):
        worst = min(figures[of]["chosen"][0] for figures in result.figures["grid"].values())
        result.targets.append(Target(f"least coverage of the chosen method in the grid, {of}", worst, least=LEAST))
    result.figures["seconds"] = _seconds(options)
    short = [
        f"{case}: {of} {figures[of]['chosen'][0]:.3f}"
        for case, figures in result.figures["beyond"].items()
        for of in ("auc", "difference")
        if figures[of]["chosen"][0] < LEAST
    ]
    result.notes.append(f"below {LEAST:.0%} beyond the grid: {'; '.join(short) or 'none'}")
    error = np.sqrt(0.95 * 0.05 / runs)
    result.notes.append(f"Monte Carlo standard error of a coverage of 95%: {error:.4f}")
    if options.data.is_file():
        result.figures["real_pairs"] = _real(options)
    return result


def _cases(part: str) -> list[Case]:
    return grid() if part == "grid" else beyond()


def _simulated(place: tuple[str, int, int, int]) -> dict[str, Any]:
    """Return a case's figures; place: part, number, runs, draws."""
    part, number, runs, draws = place
    case = _cases(part)[number]
    held: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    estimates: dict[str, list[float]] = {"auc": [], "difference": []}
    for seed in range(runs):
        sample = _Sample(case, np.random.default_rng([number, seed, part == "grid"]), draws)
        for of, method, (low, high) in sample.intervals():
            held.setdefault((of, method), []).append((low <= sample.truth[of] <= high, high - low))
        for of, estimate in sample.estimates().items():
            estimates[of].append(estimate - sample.truth[of])
    figures: dict[str, Any] = sample.facts()
    for of in estimates:
        true_width = 2 * 1.96 * float(np.std(estimates[of]))
        figures[of] = {"truth": sample.truth[of]} | {
            method: [
                round(float(np.mean([inside for inside, _ in found])), 4),
                round(float(np.mean([width for _, width in found])) / true_width, 3),
                round(len(found) / runs, 4),
            ]
            for (kind, method), found in held.items()
            if kind == of
        }
    return figures


class _Sample:
    """One run of a case: pairs, labels, the scores of two models, and the truth."""

    def __init__(self, case: Case, generator: np.random.Generator, draws: int) -> None:
        self.a, self.b = case.make(generator)
        n = self.a.size
        self.labels = (generator.random(n) < 0.4).astype(np.int64)
        texts, ids = np.unique(np.concatenate([self.a, self.b]), return_inverse=True)
        effects = np.sqrt(case.effect / 2) * _two(generator, texts.size)
        noise = np.sqrt(1 - case.effect) * _two(generator, n)
        distances = case.distance * np.array([[1.0], [SECOND]])
        self.scores = distances * self.labels + effects[:, ids[:n]] + effects[:, ids[n:]] + noise
        aucs = [_true_auc(self, case.effect, float(distance)) for distance in distances[:, 0]]
        self.truth = {"auc": aucs[0], "difference": aucs[0] - aucs[1]}
        component, seed = linked(self.a, self.b), int(generator.integers(2**31))
        self.drawn = bootstrap_over(self.labels, self.a, self.b, 1)
        self.bootstraps: dict[str, Bootstrap] = {
            "components": ComponentBootstrap(self.labels, component, draws, seed),
            "two_way": TwoWayBootstrap(self.labels, self.a, self.b, draws, seed),
        }
        self.models = {
            method: [bootstrap.resample(scores) for scores in self.scores]
            for method, bootstrap in self.bootstraps.items()
            if not bootstrap.reason
        }

    def estimates(self) -> dict[str, float]:
        """Return AUC and difference as they are found."""
        first, second = next(iter(self.models.values()))
        return {"auc": first.value, "difference": first.value - second.value}

    def intervals(self) -> list[tuple[str, str, tuple[float, float]]]:
        """Return what is judged, the method and the interval, of all intervals that can be given."""
        found = []
        for method, (first, second) in self.models.items():
            bootstrap = self.bootstraps[method]
            auc, difference = bootstrap.interval_of(first), bootstrap.difference_of(first, second)
            names = [method] + ["chosen"] * (method == self.chosen)
            if auc is not None:
                found += [("auc", name, auc) for name in names]
            if difference.low is not None and difference.high is not None:
                found += [("difference", name, (difference.low, difference.high)) for name in names]
            for of, values in (("auc", first.draws), ("difference", first.draws - second.draws)):
                low, high = np.quantile(values, [0.025, 0.975])
                found.append((of, f"percentile_{method}", (float(low), float(high))))
        return found

    @property
    def chosen(self) -> str:
        """The method that `bootstrap_over` takes."""
        return self.drawn.bootstrap.method.replace("-", "_")

    def facts(self) -> dict[str, Any]:
        """Return the number of components, the largest one's share and the chosen method."""
        return {
            "components": self.drawn.components,
            "largest_share": self.drawn.largest,
            "method": self.drawn.bootstrap.method,
        }


def _two(generator: np.random.Generator, size: int) -> Floats:
    """Return standard normal effects of two models, [2, size]."""
    first, other = generator.normal(size=(2, size))
    return np.stack([first, CORRELATION * first + np.sqrt(1 - CORRELATION**2) * other])


def _true_auc(sample: _Sample, effect: float, distance: float) -> float:
    """Return the mean AUC over all effects and noise, given the pairs."""
    positive, negative = np.flatnonzero(sample.labels == 1), np.flatnonzero(sample.labels == 0)
    sides = (sample.a, sample.b)
    shared = sum((x[positive][:, None] == y[negative]).astype(int) for x in sides for y in sides)
    # A text in both pairs is taken off again from the difference of their scores.
    variance = 2 - effect * np.minimum(shared, 2)
    return float(norm.cdf(distance / np.sqrt(variance)).mean())


def _seconds(options: Options) -> dict[str, float]:
    """Return how long eight models take on 5,489 pairs with 2,000 draws, in seconds of this process."""
    generator, n, found = np.random.default_rng(0), options.pick(5489, 600), {}
    labels = (generator.random(n) < 0.4).astype(np.int64)
    scores = labels + generator.normal(size=(8, n))
    made: dict[str, Callable[[], Bootstrap]] = {
        "components": lambda: ComponentBootstrap(labels, np.arange(n) * 4552 // n),
        "two_way": lambda: TwoWayBootstrap(labels, np.arange(n) // 2, 10**6 + generator.integers(0, 150, n)),
    }
    for method, make in made.items():
        with Stopwatch() as watch:
            bootstrap = make()
            for one in scores:
                bootstrap.interval(one)
        found[method] = watch.seconds
    return found


def _real(options: Options) -> dict[str, Any]:
    """Return standard errors of wordllama's AUC on real test pairs, untouched, by what is drawn."""
    config = pairs_config(options, space={"base_model": "wordllama"})
    pairs = split_of(config)[1]["test"]
    vectors = load_source("wordllama").embed([*pairs.text_a, *pairs.text_b])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (unit[: len(pairs)] * unit[len(pairs) :]).sum(1).astype(np.float64)
    drawn = draws_of(pairs, 0)
    bootstraps = {"chosen": drawn.bootstrap, "by_pairs": ComponentBootstrap(pairs.label, np.arange(len(pairs)))}
    errors = {name: float(bootstrap.aucs(scores).std()) for name, bootstrap in bootstraps.items()}
    return {
        "data": options.data.name,
        "model": "wordllama",
        "pairs": len(pairs),
        "method": drawn.bootstrap.method,
        "components": drawn.components,
        "largest_share": drawn.largest,
        "standard_error": errors,
        "ratio": errors["chosen"] / errors["by_pairs"],
    }
