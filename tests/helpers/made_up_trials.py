"""Openers of trials that train nothing: streams whose AUCs are known, and one whose process dies."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tune.config.trial import TrialConfig
from tune.train.directory import TrialDirectory
from tune.train.stream import Report, Reports, TrialFailed


def made_up_auc(config: TrialConfig, number: int) -> float:
    """Rises with dims and with time."""
    return 0.5 + config.dims / 1000 + number / 1000


@dataclass(frozen=True)
class MadeUp:
    """16 reports with made-up AUCs. dims 7 fails, dims 13 kills its process at its third report, always."""

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
