"""TrialOutcome: the status and reports of each trial of a search, read from the trial directories alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tune.config.trial import TrialConfig
from tune.results.rungs import RungFile
from tune.train.directory import TrialDirectory
from tune.train.stream import Report

Status = Literal["done", "stopped", "failed", "halfway"]


@dataclass(frozen=True)
class TrialOutcome:
    """A trial that has begun.

    status: halfway means neither done, failed nor stopped by ASHA; a resumed search resumes the trial. error: why the
    trial failed or was given up (its worker died); "" otherwise.
    """

    trial: str
    directory: Path
    config: TrialConfig
    status: Status
    reports: list[Report]
    error: str

    @property
    def best(self) -> Report | None:
        """The first report with the highest AUC; its weights are the ones kept."""
        return max(self.reports, key=lambda report: report.auc, default=None)

    @property
    def last(self) -> Report | None:
        """The latest report."""
        return self.reports[-1] if self.reports else None


def trial_outcomes(trials: Path, rungs: Path) -> list[TrialOutcome]:
    """Return all trials of a search in the order in which they began. trials: their folder; rungs: asha.json."""
    stopped = RungFile(rungs).stopped
    begun = sorted(trials.glob("*/trial.json"), key=lambda path: (path.stat().st_mtime_ns, path))
    outcomes = (_outcome(path.parent, stopped) for path in begun)
    return [outcome for outcome in outcomes if outcome is not None]


def _outcome(path: Path, stopped: dict[str, float]) -> TrialOutcome | None:
    directory = TrialDirectory(path)
    config = directory.config()
    if config is None:
        return None
    failure = directory.failure()
    status: Status = "halfway"
    if directory.done:
        status = "done"
    elif failure is not None:
        status = "failed"
    elif path.name in stopped:
        status = "stopped"
    error = str(failure["reason"]) if failure else directory.lost()
    return TrialOutcome(path.name, path, config, status, directory.reports(), error)
