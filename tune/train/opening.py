"""Opening a trial in this process: what every kind of trial does around its training, and which kind is meant.

`open_trial_directory` keeps the contract of `TrialOpener` (lock, replay, failure); `LocalOpener` chooses the training.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.train.directory import TrialDirectory
from tune.train.stream import Reports, TrialFailed


@dataclass(frozen=True)
class LocalOpener:
    """Opens trials in this process. views: base model -> directory of its view."""

    views: dict[str, Path]

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        return open_local(config, directory, View.open(self.views[config.base_model]), after)


def open_local(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """The reports of a trial of either kind; see `TrialOpener` for the contract.

    A kind is imported when it is wanted.
    """
    if config.freeze:
        from tune.train.adapter import open_adapter

        return open_adapter(config, directory, view, after)
    from tune.train.finetune import open_finetune

    return open_finetune(config, directory, view, after)


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
