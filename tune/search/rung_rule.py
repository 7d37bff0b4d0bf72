"""ASHA's rule, free of Ray: where a report counts, and whether its trial continues.

`KeptASHA` applies it to reports as they arrive, `OrderedTrials` in the order of a logical clock.
"""

import math
from collections.abc import Sequence

import numpy as np

from tune.train.stream import REPORTS_PER_TRIAL

GRACE = 1 / REPORTS_PER_TRIAL
REDUCTION = 4

MIN_STEPS = 0
"""Optimizer steps that a trial must have taken before a rung may stop it: none, besides the share of its plan.

Chosen by results/benchmarks/asha_grace.json. At the rung at 1/16, trials are ranked poorly (rank correlation with their
final AUC 0.63 to 0.92), but the best of them are rarely among the three quarters that are stopped. 10 steps would save
0.0003 of AUC on average and take 1.8 times the work; at equal work, searches without them lose 0.0005 less.
"""

Rung = tuple[float, dict[str, float]]
"""A milestone (budget), and the best AUC there of every trial that has reached it; nan: it passed without one."""


def continues(rungs: Sequence[Rung], key: str, report: tuple[float, float, int], min_steps: int) -> bool:
    """Record a report and return whether its trial continues.

    rungs: highest first, changed in place. key: of the trial. report: budget, best AUC and optimizer steps (0:
    unknown).

    A report counts once, in the highest rung that its budget reaches; the rungs below count as passed. Ray's own
    bracket would enter a later report of the same trial in the next rung below, and trials that are there with an
    early AUC would be stopped by a late one. A trial with fewer than `min_steps` steps passes a rung below 1 without
    being entered: what it has learned so far says too little.
    """
    budget, best_auc, step = report
    reached = [recorded for milestone, recorded in rungs if budget >= milestone]
    if not reached or key in reached[0]:
        return True
    early = 0 < step < min_steps and budget < 1
    others = [auc for auc in reached[0].values() if not math.isnan(auc)]
    reached[0][key] = math.nan if early else best_auc
    for recorded in reached[1:]:
        recorded.setdefault(key, math.nan)
    return early or not others or best_auc >= float(np.percentile(others, (1 - 1 / REDUCTION) * 100))


def enter(
    rungs: Sequence[Rung], key: str, report: tuple[float, float, int], min_steps: int
) -> tuple[bool, dict[str, dict[str, float | None]]]:
    """Apply `continues`; return its answer, and the trial's new entries by rung, as a RungFile takes them."""
    ahead = [(milestone, recorded) for milestone, recorded in rungs if key not in recorded]
    passes = continues(rungs, key, report, min_steps)
    entered = {
        str(milestone): {key: None if math.isnan(recorded[key]) else recorded[key]}
        for milestone, recorded in ahead
        if key in recorded
    }
    return passes, entered
