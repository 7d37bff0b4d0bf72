"""How many optimizer steps a trial must have taken before ASHA may stop it.

Per setting, POOL random points of the space are trained once, without stopping. From the recorded reports, many
searches are played: PLAYED of the trials in a random order, 2 or 8 at a time, stopped by the rule of `KeptASHA` with
the least number of steps at 0, 10, ... 200. A trial advances by one report at a time and takes as long as it did.

- regret: the highest best_auc that the played trials have when trained out, minus the highest that the search saw.
- work: share of the full training of the played trials that was spent. seconds: the same in seconds of training.
- gain_of_more_trials: mean of the highest best_auc of POOL trials minus that of PLAYED; what time saved can buy.
- regret_at_work: regret of a search that ends once it has spent that share of the full training, however many of its
  trials it has tried by then. A rule that stops late tries fewer trials; one that stops early loses good ones.

The rule for choosing MIN_STEPS: the smallest regret at equal work, as the mean over all settings, shares of work and
numbers of trials at a time; among values within a standard error of the smallest (paired over settings), the least.
"""

import heapq
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.common import Options, Result, Target, prepared, threads
from tune.config.search import search_config
from tune.config.trial import TrialConfig, trial_config
from tune.embed.prepare import PreparedBase
from tune.embed.view import View
from tune.search.points import random_points
from tune.search.rung_rule import GRACE, MIN_STEPS, REDUCTION, Rung, continues
from tune.train.kinds import kind_of
from tune.train.stream import Report

TITLE = "the least number of steps before ASHA may stop a trial"
LEAST_STEPS = (0, 3, 5, 10, 20, 50, 100, 200)
AT_A_TIME = (2, 8)
ORDERS, POOL, PLAYED, WORK = 300, 60, 40, (0.1, 0.2, 0.3)
TRAIN_PAIRS = 2000

_LATE = {"batch_size": "16,32,64,128,256", "warmup": "0:0.5", "epochs": "4"}
SETTINGS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "wordllama, 300 pairs": ("wordllama", POOL, {"train_size": "300"}),
    "wordllama, 2,000 pairs": ("wordllama", POOL, {"train_size": "2000"}),
    "minilm, 300 pairs": ("minilm", POOL, {"train_size": "300"}),
    "minilm, 2,000 pairs": ("minilm", POOL, {"train_size": "2000"}),
    "wordllama, learned late": ("wordllama", POOL, {"train_size": "2000", **_LATE}),
    "minilm, learned late": ("minilm", POOL, {"train_size": "2000", **_LATE}),
    "minilm, 100 pairs": ("minilm", POOL, {"train_size": "100"}),
    "minilm, low rates": ("minilm", POOL, {"train_size": "2000", "learning_rate": "1e-5:1e-3", "warmup": "0:0.5"}),
    "wordllama, whole and layers": (
        "wordllama", 36, {"train_size": "2000", "freeze": "true,false", "epochs": "2", "learning_rate": "1e-3:3e-2"},
    ),
}  # fmt: skip
"""Setting -> base model, number of trials, axes other than the defaults."""


@dataclass(frozen=True)
class Outcome:
    """A played search. seen: the highest best_auc in it. work, seconds: as above. stopped: share of its trials."""

    seen: float
    work: float
    seconds: float
    stopped: float


def run(options: Options) -> Result:
    """Train the trials of every setting and play the searches."""
    result = Result()
    chosen = list(SETTINGS)[:: options.pick(1, 3)]
    with threads(1), tempfile.TemporaryDirectory() as folder:
        bases = {name: _base(options, name) for name in dict.fromkeys(SETTINGS[name][0] for name in chosen)}
        for name in chosen:
            base_model, pool, axes = SETTINGS[name]
            trials = _trained(bases[base_model], options, Path(folder) / "trials", options.pick(pool, 8), axes)
            result.figures[name] = _figures(trials, options)
    _conclude(result)
    return result


def _base(options: Options, base_model: str) -> PreparedBase:
    return prepared(options, base_model, TRAIN_PAIRS, 600 if options.quick else None)


def _trained(base: PreparedBase, options: Options, folder: Path, pool: int, axes: dict[str, Any]) -> list[list[Report]]:
    """Return the reports of every trial, trained out; a trial that cannot be trained has none and is left out."""
    view = View.open(base.view(options.cache))
    spaces = search_config({"search": "random"}, space={"base_model": base.name, **axes}).spaces
    configs = [trial_config(point, {"seed": 0}) for point in random_points(spaces, pool, seed=18)]
    return [_reports(config, folder / config.digest(base.digest), view) for config in configs]


def _reports(config: TrialConfig, directory: Path, view: View) -> list[Report]:
    return list(kind_of(config).open(config, directory, view))


def _figures(trials: list[list[Report]], options: Options) -> dict[str, Any]:
    """Return the figures of a setting, by number of trials at a time and least number of steps."""
    final = np.array([reports[-1].best_auc for reports in trials])
    figures: dict[str, Any] = {
        "trials": len(trials),
        "steps": {"least": min(r[-1].step for r in trials), "most": max(r[-1].step for r in trials)},
        "best_auc": {"best": float(final.max()), "median": float(np.median(final)), "worst": float(final.min())},
        "gain_of_more_trials": _gain(final, options.pick(ORDERS, 20)),
        "rank_correlation": {
            str(rung): _rank_correlation([_at(reports, rung) for reports in trials], final) for rung in (1 / 16, 1 / 4)
        },
    }
    for jobs in AT_A_TIME:
        figures[f"{jobs} at a time"] = {
            str(least): _played(trials, jobs, least, options.pick(ORDERS, 20)) for least in LEAST_STEPS
        }
    return figures


def _at(reports: list[Report], budget: float) -> float:
    return next(report.best_auc for report in reports if report.budget >= budget)


def _rank_correlation(early: list[float], final: np.ndarray[Any, Any]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(early, final).statistic)


def _sample(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Return the trials of a played search among `count`, in their order."""
    return np.random.default_rng(seed).permutation(count)[: min(PLAYED, count * 2 // 3)]


def _gain(final: np.ndarray[Any, Any], orders: int) -> float:
    return float(np.mean([final.max() - final[_sample(len(final), seed)].max() for seed in range(orders)]))


def _played(trials: list[list[Report]], jobs: int, least: int, orders: int) -> dict[str, Any]:
    """Return the mean figures over many orders."""
    regrets, outcomes = [], []
    at_work: dict[str, list[float]] = {str(work): [] for work in WORK}
    for seed in range(orders):
        chosen = [trials[one] for one in _sample(len(trials), seed)]
        best = max(reports[-1].best_auc for reports in chosen)
        outcomes.append(play(chosen, jobs, least))
        regrets.append(best - outcomes[-1].seen)
        for work in WORK:
            at_work[str(work)].append(best - play(chosen, jobs, least, work).seen)
    return {
        "mean_regret": float(np.mean(regrets)),
        "regret_over_0.002": float(np.mean(np.array(regrets) > 0.002)),
        "work": float(np.mean([outcome.work for outcome in outcomes])),
        "seconds": float(np.mean([outcome.seconds for outcome in outcomes])),
        "stopped": float(np.mean([outcome.stopped for outcome in outcomes])),
        "regret_at_work": {work: float(np.mean(found)) for work, found in at_work.items()},
    }


def play(trials: Sequence[list[Report]], jobs: int, least: int, work: float = 1.0) -> Outcome:
    """Play a search over the trials in order, `jobs` at a time. work: share of their full training to end at."""
    rungs: list[Rung] = [(GRACE * REDUCTION**power, {}) for power in (2, 1, 0)]
    waiting = list(enumerate(trials))[::-1]
    # (time of the next report, trial, number of that report from 0).
    running: list[tuple[float, int, int]] = []
    seen, spent, seconds, stopped = 0.0, 0.0, 0.0, 0

    def start(now: float) -> None:
        if waiting:
            trial, reports = waiting.pop()
            heapq.heappush(running, (now + reports[0].seconds, trial, 0))

    for _ in range(jobs):
        start(0.0)
    while running and spent < work * len(trials):
        now, trial, number = heapq.heappop(running)
        report = trials[trial][number]
        before = trials[trial][number - 1] if number else None
        spent += report.budget - (before.budget if before else 0.0)
        seconds += report.seconds - (before.seconds if before else 0.0)
        seen = max(seen, report.best_auc)
        goes_on = continues(rungs, str(trial), (report.budget, report.best_auc, report.step), least)
        if goes_on and not report.last:
            later = trials[trial][number + 1]
            heapq.heappush(running, (now + later.seconds - report.seconds, trial, number + 1))
        else:
            stopped += not report.last
            start(now)
    full = sum(reports[-1].seconds for reports in trials)
    return Outcome(seen, spent / len(trials), seconds / full, stopped / len(trials))


def _conclude(result: Result) -> None:
    """Add the means over all settings, and whether the constant in the code is the one that they choose."""
    cells = [[figures[f"{jobs} at a time"] for jobs in AT_A_TIME] for figures in result.figures.values()]
    equal = np.array(
        [
            [[list(one[str(least)]["regret_at_work"].values()) for least in LEAST_STEPS] for one in setting]
            for setting in cells
        ]
    ).mean(axis=(1, 3))  # [settings, least]
    worse = equal - equal[:, [int(equal.mean(axis=0).argmin())]]
    errors = worse.std(axis=0, ddof=1) / np.sqrt(len(worse))
    chosen = LEAST_STEPS[int(np.argmax(worse.mean(axis=0) <= errors))]
    every = [one for setting in cells for one in setting]
    means: dict[str, Any] = {
        str(least): {
            name: float(np.mean([one[str(least)][name] for one in every]))
            for name in ("mean_regret", "regret_over_0.002", "work", "seconds")
        }
        | {
            "regret_at_equal_work": float(equal[:, place].mean()),
            "above_the_smallest": float(worse[:, place].mean()),
            "standard_error": float(errors[place]),
        }
        for place, least in enumerate(LEAST_STEPS)
    }
    result.figures["all settings"] = means | {"chosen": chosen}
    result.targets.append(Target("distance of MIN_STEPS from the value chosen", abs(MIN_STEPS - chosen), most=0))
