"""How often 95% intervals hold the truth if the winner is chosen and judged on the same few pairs, by simulation.

A search is 40 trials of 4 reports. A trial's scores are a distance between the labels, plus the untouched base model's
mistakes (81% of the variance) and its own, of which its reports share 70%. Pairs are single, or two of the same class
share a component and with it 40% of the variance. The winner is the report with the highest mean AUC over five folds.
The truth is the winner's AUC in the population, and that minus the base's.

- level: all trials are as good as the base. better, worse: each trial's distance is up to 0.6 larger, or smaller.

Figures, of the AUC and of the difference: coverage; width, over that of 1.96 true standard errors to either side;
bias, in points; and in bias_plain that of the winner's AUC on the pairs that chose it, uncorrected. beats: share of
searches that report "beats". Raw: the same interval without the factor for the size of what is left out.

With `--data`: real searches (frozen wordllama, 40 random configurations, five folds) on few Quora pairs. The truth is
the exported layer's AUC on Quora's test pairs. naive: as if the winner had been fixed before, on the same pairs.
by_trial: the choice is repeated among trials alone, each at its best report, as the method is usually applied.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from tests.benchmarks.common import Options, Result, Target, pairs_config, split_of, threads
from tune.config.search import search_config
from tune.config.trial import trial_config
from tune.data.folds import fold_of
from tune.data.sides import LabelledPairs
from tune.embed.prepare import ViewOptions, prepare_base
from tune.embed.similarity import cosine
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.evaluate.finalists import choose
from tune.evaluate.out_of_fold import judge_out_of_fold
from tune.metrics.intervals import ComponentBootstrap
from tune.metrics.out_of_fold import FoldedPairs, OutOfBagBootstrap
from tune.metrics.score import roc_auc
from tune.search.points import random_points
from tune.train.folded import FoldedModel
from tune.train.frozen.trial import open_frozen_trial
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.stream import TrialFailed
from tune.train.trained import Models, base_on_val

BASE, REAL = "wordllama", ((20, 20, 60), (50, 50, 30))
"""Positives, negatives and searches on real pairs."""
OTHERS = ("naive", "by_trial")
TITLE = "coverage of nominal 95% intervals if the winner is judged on the pairs that chose it (simulated)"
TRIALS, REPORTS, FOLDS = 40, 4, 5
DISTANCE, GAIN, OF_BASE, KEPT, SHARED = 1.3, 0.6, 0.81, 0.7, 0.4
SIZES = ((20, 20), (50, 50), (20, 180))
TRUTHS = {"level": (0.0, 0.0), "better": (0.0, GAIN), "worse": (-GAIN, 0.0)}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """positives, negatives: pairs. truth: of TRUTHS. linked: how many pairs a component has."""

    positives: int
    negatives: int
    truth: str
    linked: int

    @property
    def name(self) -> str:
        """The case in words."""
        return f"{self.positives}+{self.negatives}, {self.truth}, {'linked by two' if self.linked > 1 else 'single'}"


def cases() -> list[Case]:
    """Return the grid: size x truth x whether pairs are linked."""
    return [Case(*size, truth, linked) for linked in (1, 2) for size in SIZES for truth in TRUTHS]


def run(options: Options) -> Result:
    """Simulate every case, on two processes."""
    runs, draws = options.pick(300, 10), options.pick(150, 40)
    result = Result(figures={"runs": runs, "draws": draws, "simulated": {}})
    with get_context("fork").Pool(2) as pool:
        places = [(number, runs, draws) for number in range(len(cases()))]
        for case, figures in zip(cases(), pool.imap(_simulated, places), strict=True):
            result.figures["simulated"][case.name] = figures
    found = result.figures["simulated"]
    for of in ("auc", "difference"):
        least = min(figures[of]["coverage"] for figures in found.values())
        result.targets.append(Target(f"least coverage, {of}", least, least=0.93))
    wrong = max(figures["beats"] for name, figures in found.items() if "better" not in name)
    result.targets.append(Target("most often said to beat the base without being better", wrong, most=0.05))
    biased = max(abs(figures["difference"]["bias"]) for figures in found.values())
    result.targets.append(Target("largest bias of the difference, points", biased, most=1.5))
    result.notes.append(f"Monte Carlo standard error of a coverage of 95%: {np.sqrt(0.95 * 0.05 / runs):.4f}")
    if options.data.is_file():
        result.figures["real"] = _real(options)
    return result


class _Sample:
    """One search: pairs, candidates [trials x reports, n], the base's scores, and the truth."""

    def __init__(self, case: Case, generator: np.random.Generator, seed: int) -> None:
        self._generator = generator
        self.label = np.repeat(np.array([1, 0], np.int8), [case.positives, case.negatives])
        self.component = np.arange(len(self.label)) // case.linked
        self.fold = fold_of(self.component, FOLDS, seed, self.label)
        self._shared = SHARED if case.linked > 1 else 0.0
        gains = np.repeat(generator.uniform(*TRUTHS[case.truth], TRIALS), REPORTS)
        mistakes, [of_base] = np.repeat(self._noise(TRIALS), REPORTS, axis=0), self._noise(1)
        own = np.sqrt(KEPT) * mistakes + np.sqrt(1 - KEPT) * self._noise(TRIALS * REPORTS)
        self.candidates = (DISTANCE + gains)[:, None] * self.label + np.sqrt(OF_BASE) * of_base
        self.candidates += np.sqrt(1 - OF_BASE) * own
        self.base = DISTANCE * self.label + of_base
        self.aucs = norm.cdf((DISTANCE + gains) / np.sqrt(2))
        self.base_auc = float(norm.cdf(DISTANCE / np.sqrt(2)))

    def _noise(self, count: int) -> Floats:
        """Return mistakes of variance 1 that linked pairs share in part, [count, n]."""
        single = self._generator.normal(size=(count, len(self.label)))
        linked = self._generator.normal(size=(count, int(self.component.max()) + 1))[:, self.component]
        mixed: Floats = np.sqrt(1 - self._shared) * single + np.sqrt(self._shared) * linked
        return mixed

    def winner(self) -> int:
        """Return the candidate with the highest mean AUC over the folds."""
        means = [
            np.mean([roc_auc(scores[self.fold == own], self.label[self.fold == own]) for own in range(FOLDS)])
            for scores in self.candidates
        ]
        return int(np.argmax(means))


def _simulated(place: tuple[int, int, int]) -> dict[str, Any]:
    """Return a case's figures; place: number, runs, draws."""
    number, runs, draws = place
    rows = list(_searches(cases()[number], number, runs, draws))
    figures: dict[str, Any] = {"beats": _mean(row["beats"] for row in rows)}
    for of in ("auc", "difference"):
        error = np.array([row[of][0] for row in rows])
        figures[of] = {
            "coverage": _mean(row[of][1] for row in rows),
            "width": _mean(row[of][2] for row in rows) / (2 * 1.96 * float(error.std())),
            "bias": 100 * float(error.mean()),
            "bias_plain": 100 * _mean(row[of][3] for row in rows),
            "given": _mean(row[of][2] > 0 for row in rows),
        }
    figures["raw"] = {name: _mean(row[f"raw_{name}"] for row in rows) for name in ("coverage", "beats")}
    return figures


def _searches(case: Case, number: int, runs: int, draws: int) -> Iterator[dict[str, Any]]:
    """Yield what each search says; of AUC and difference: error, whether it is covered, width, error uncorrected."""
    for seed in range(runs):
        sample = _Sample(case, np.random.default_rng([number, seed]), seed)
        won = sample.winner()
        usual = ComponentBootstrap(sample.label, sample.component, draws, seed)
        pairs = FoldedPairs(sample.label, sample.component, sample.fold)
        made = OutOfBagBootstrap(pairs, usual, draws, seed)
        found, fixed = made.chosen(sample.candidates, sample.candidates[won]), made.fixed(sample.base)
        difference, interval = made.difference_of(found, fixed), made.interval_of(found) or (0.0, 0.0)
        truth, apart = float(sample.aucs[won]), float(sample.aucs[won]) - sample.base_auc
        low, high = difference.low or 0.0, difference.high or 0.0
        plain = (found - fixed).plain.value
        spread = float((found.draws - fixed.draws).std()) * float(student.ppf(0.975, made._freedom))
        yield {
            "auc": (
                found.value - truth,
                interval[0] <= truth <= interval[1],
                np.ptp(interval),
                found.plain.value - truth,
            ),
            "difference": (difference.delta - apart, low <= apart <= high, high - low, plain - apart),
            "beats": low > 0,
            "raw_coverage": abs(difference.delta - apart) <= spread,
            "raw_beats": difference.delta > spread,
        }


def _one(value: float, truth: float, interval: tuple[float, float], plain: float) -> tuple[float, bool, float, float]:
    """Return the error, whether the interval holds the truth, its width, and the error uncorrected."""
    return value - truth, interval[0] <= truth <= interval[1], interval[1] - interval[0], plain - truth


def _real(options: Options) -> dict[str, Any]:
    """Return what real searches on few pairs say, by size."""
    config = pairs_config(options, space={"base_model": BASE})
    sides = split_of(config)[1]
    found: dict[str, Any] = {"data": options.data.name, "base_model": BASE}
    with threads(1):
        for positives, negatives, searches in REAL:
            rows = [
                _real_search(options, _few(sides, positives, negatives, seed), seed)
                for seed in range(options.pick(searches, 2))
            ]
            found[f"{positives}+{negatives}"] = {
                "searches": len(rows),
                "gain": 100 * _mean(row["truth"] for row in rows),
                "coverage": _mean(row["low"] <= row["truth"] <= row["high"] for row in rows),
                "beats": _mean(row["low"] > 0 for row in rows),
                "coverage_auc": _mean(row["auc_low"] <= row["auc_truth"] <= row["auc_high"] for row in rows),
                **{f"bias_{of}": 100 * _mean(row[of] - row["truth"] for row in rows) for of in ("judged", *OTHERS)},
                "error_of_bias": 100 * float(np.std([row["judged"] - row["truth"] for row in rows])) / len(rows) ** 0.5,
            }
    return found


def _few(sides: dict[str, LabelledPairs], positives: int, negatives: int, seed: int) -> dict[str, LabelledPairs]:
    """Return so many pairs of train, in components of their own, without val; and the test side."""
    train, generator = sides["train"], np.random.default_rng([seed, positives])
    rows = [
        generator.choice(np.flatnonzero(train.label == of), count, replace=False)
        for of, count in ((1, positives), (0, negatives))
    ]
    few = train.take(generator.permutation(np.concatenate(rows)))
    return {"train": few, "val": few.take(np.empty(0, np.int64)), "test": sides["test"]}


def _real_search(options: Options, sides: dict[str, LabelledPairs], seed: int) -> dict[str, float]:
    """Return the judged difference and its interval, the others, and the truth, of a search on these pairs."""
    base = prepare_base(load_source(BASE), sides, options.cache, ("", ""), ViewOptions(folds=FOLDS, seed=seed))
    view, models = View.open(base.view(options.cache)), Models({BASE: base}, options.cache, None)
    spaces = search_config({"search": "random"}, space={"base_model": BASE}).spaces
    with tempfile.TemporaryDirectory() as folder:
        for point in random_points(spaces, options.pick(TRIALS, 4), seed):
            config = trial_config(point, {"seed": seed, "folds": FOLDS})
            with contextlib.suppress(TrialFailed):
                list(open_frozen_trial(config, Path(folder) / "trials" / config.digest(base.digest), view))
        outcomes = trial_outcomes(Path(folder) / "trials", Path(folder) / "asha.json")
        [winner, *_] = choose(outcomes, models, 1, False, lambda line: None).finalists
        assert isinstance(winner, FoldedModel)
        untouched = {name: base_on_val(base, models.cache)[1] for name, base in models.bases.items()}
        judged = judge_out_of_fold(winner, outcomes, models, sides["train"], untouched, seed)
        test = sides["test"]
        truth = roc_auc(next(iter(winner.test(test).values())), test.label)
        of_base = roc_auc(cosine(*base.rows(options.cache, test)), test.label)
        by_trial = _by_trial(winner, outcomes, models, sides["train"], seed)
        label, of_base_here = view.train.label, cosine(view.vectors, view.train)
        naive = roc_auc(winner.best_out_of_fold(), label) - roc_auc(of_base_here, label)
    [entry] = judged["comparisons"]
    return {
        "truth": truth - of_base, "judged": entry["delta"], "low": entry["low"], "high": entry["high"],
        "naive": naive, "by_trial": by_trial,
        "auc_truth": truth, "auc_low": judged["low"], "auc_high": judged["high"],
    }  # fmt: skip


def _by_trial(
    winner: FoldedModel, outcomes: list[TrialOutcome], models: Models, pairs: LabelledPairs, seed: int
) -> float:
    """Return the difference if the choice is repeated among trials at their best reports alone."""
    assert pairs.component is not None
    view = View.open(winner.base.view(models.cache))
    folded = FoldedPairs(pairs.label, pairs.component, view.folds(FOLDS, seed))
    competing = [models.of(one) for one in outcomes if one.best is not None and one.status != "failed"]
    best = np.stack([model.best_out_of_fold() for model in competing if isinstance(model, FoldedModel)])
    made = OutOfBagBootstrap(folded, ComponentBootstrap(pairs.label, pairs.component), 500, seed)
    base = made.fixed(cosine(view.vectors, view.train))
    return (made.chosen(best, winner.best_out_of_fold()) - base).value


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
