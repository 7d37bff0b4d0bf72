"""An opener that trains nothing, with known AUCs, and the inputs and outputs of searchers without a search."""

import math
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.config.search import search_config
from tune.config.space import Space
from tune.config.trial import TrialConfig
from tune.train.directory import TrialDirectory
from tune.train.planned import PlannedCost, planned_cost
from tune.train.stream import REPORTS_PER_TRIAL, Report, Reports, TrialFailed


def space(**axes: Any) -> tuple[Space, ...]:
    """Return the spaces of a search with these axes, over wordllama."""
    return search_config(space={"base_model": "wordllama", **axes}).spaces


def ray_result(budget: float, auc: float, step: int = 0) -> dict[str, Any]:
    """Return a report as Ray passes it to schedulers and searchers; step 0: by a version that did not report it."""
    return {"budget": budget, "best_auc": auc, "training_iteration": 1, **({"step": step} if step else {})}


def made_up_auc(config: TrialConfig, number: int) -> float:
    """Return the AUC of a report, which rises with dims and with time."""
    return 0.5 + config.dims / 1000 + number / 1000


@dataclass(frozen=True)
class MadeUp:
    """Opens trials with 16 made-up reports. dims 7 always fails; dims 13 always kills its process at report 3."""

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        trial = TrialDirectory(directory)
        with trial.locked():
            trial.begin(config)
            trial.best.write_bytes(b"weights")
            if config.dims == 7:
                error = TrialFailed("seven is not taken")
                trial.fail(error)
                raise error
            trial.keep_reports([])
            for number in range(1, 17):
                if config.dims == 13 and number == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                auc = made_up_auc(config, number)
                report = Report(number, number / 16, auc, auc, 0.5, 0.1, 1.0, 1.0, number / 10)
                trial.append(report)
                if number > after:
                    yield report


def curve_report(key: str, learning_rate: float, number: int, reports: int = REPORTS_PER_TRIAL) -> Report:
    """Return a report along a learning curve, better or worse by learning rate and luck. key: seeds the luck."""
    final = 0.9 - 0.03 * (math.log10(learning_rate) + 2.7) ** 2 + random.Random(key).gauss(0, 0.005)
    budget = number / reports
    auc = final - 0.15 * (1 - budget) ** 2
    return Report(number, budget, auc, auc, 0.5, 0.1, 1 - budget, 1000.0, number / 100, step=number)


def planned(config: TrialConfig) -> PlannedCost:
    """Return a cost by which searches of made-up trials decide in order."""
    return planned_cost(config, base_dims=256, train_pairs=10_000)


@dataclass(frozen=True)
class Curves:
    """Opens trials that train nothing and report along learning curves, better or worse by their learning rate.

    reports: of a whole trial, evenly over its plan. pause: seconds that a report takes at most, by chance.
    """

    reports: int = REPORTS_PER_TRIAL
    pause: float = 0.0

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        trial = TrialDirectory(directory)
        with trial.locked():
            trial.begin(config)
            trial.best.write_bytes(b"weights")
            trial.keep_reports([])
            for number in range(1, self.reports + 1):
                time.sleep(self.pause * random.SystemRandom().random() ** 4)
                report = curve_report(directory.name, config.learning_rate, number, self.reports)
                trial.append(report)
                if number > after:
                    yield report
