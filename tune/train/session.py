"""Opening a trial in this process: what every kind of trial does around its training (lock, replay, failure)."""

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
    """The reports above `after` of the trial in `directory`: replayed where it is done, else from `train`.

    train: given the locked directory, yields all reports from the first on. What it raises because the trial cannot
    be trained is kept in the directory and becomes TrialFailed.
    """
    trial = TrialDirectory(directory)
    with trial.locked() as held:
        if not held:
            yield from (report for report in trial.reports() if report.number > after)
            return
        if failure := trial.failure():
            raise TrialFailed(failure["reason"])
        trial.begin(config)
        if trial.done:
            yield from (report for report in trial.reports() if report.number > after)
            return
        try:
            with contextlib.closing(train(trial)) as reports:
                for report in reports:
                    if report.number > after:
                        yield report
        except (GeneratorExit, torch.OutOfMemoryError):
            # Memory that others hold now may be free when the trial is opened again.
            raise
        except (TrialFailed, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise TrialFailed(trial.fail(error)) from error
