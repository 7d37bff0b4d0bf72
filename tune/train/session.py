"""Opening a trial in this process: the locking, replay and failure handling that all kinds of trials share."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch

from tune.config.trial import TrialConfig
from tune.train.directory import TrialDirectory
from tune.train.stream import Reports, TrialFailed


def open_trial_directory(
    config: TrialConfig, directory: Path, after: int, train: Callable[[TrialDirectory], Reports]
) -> Reports:
    """Yield the trial's reports numbered above `after`: replayed if it is done or stopped, otherwise from `train`.

    train: takes the locked directory and yields all reports from the first one on. An error that it raises because
    the trial cannot be trained is recorded in the directory and re-raised as TrialFailed.
    """
    trial = TrialDirectory(directory)
    with trial.locked() as held:
        if not held:
            yield from (report for report in trial.reports() if report.number > after)
            return
        if failure := trial.failure():
            raise TrialFailed(failure["reason"])
        trial.begin(config)
        trial.settle()
        if trial.done:
            yield from (report for report in trial.reports() if report.number > after)
            return
        if trial.weights_deleted:
            # It was stopped, and another search, which extends that one, goes on with it.
            trial.clear()
        try:
            with contextlib.closing(train(trial)) as reports:
                for report in reports:
                    if report.number > after:
                        yield report
        except (GeneratorExit, torch.OutOfMemoryError):
            # Memory in use by others now may be free when the trial is reopened.
            raise
        except (TrialFailed, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise TrialFailed(trial.fail(error)) from error
