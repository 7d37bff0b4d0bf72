"""TrialOutcome: the status and reports of each trial of a search, read from the trial directories alone."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tune.config.trial import TrialConfig
from tune.results.rungs import RungFile
from tune.train.directory import TrialDirectory
from tune.train.stream import Report

_BY_PAIR = ("contrastive", "cosine")
"""Losses that are means over pairs, so that a batch in halves gives the same step. The others compare its pairs."""
Status = Literal["done", "stopped", "failed", "halfway"]


@dataclass(frozen=True)
class TrialOutcome:
    """A trial that has begun.

    status: halfway means neither done, failed nor stopped by ASHA; a resumed search resumes the trial. error: why the
    trial failed, or was given up because its worker died too often; "" otherwise.
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
    def weights_deleted(self) -> bool:
        """Whether its weights were deleted, as it could not be a finalist."""
        return TrialDirectory(self.directory).weights_deleted

    @property
    def note(self) -> str:
        """What a reader of its numbers should know, or ""."""
        if not any(report.halved for report in self.reports):
            return ""
        loss = self.config.loss
        same = "" if loss in _BY_PAIR else f", which is not the same for {loss}: it compares fewer pairs at a time"
        return f"out of memory: trained with half the batch and twice the accumulation{same}"

    @property
    def last(self) -> Report | None:
        """The latest report."""
        return self.reports[-1] if self.reports else None


def trial_outcomes(trials: Path, rungs: Path) -> list[TrialOutcome]:
    """Return all trials of a search in the order in which they began. trials: their folder; rungs: asha.json."""
    stopped = RungFile(rungs).stopped
    begun = sorted(trials.glob("*/trial.json"), key=lambda path: (path.stat().st_mtime_ns, path))
    outcomes = (trial_outcome(path.parent, stopped) for path in begun)
    return [outcome for outcome in outcomes if outcome is not None]


def outcomes_of(trials: Path, rungs: Path, digests: Mapping[str, str]) -> list[TrialOutcome]:
    """Return the trials of these base models and their data; a directory of anything else is left alone.

    trials, rungs: as in `trial_outcomes`. digests: base model -> digest of its data.
    """
    return [
        outcome
        for outcome in trial_outcomes(trials, rungs)
        if outcome.config.base_model in digests
        and outcome.trial == outcome.config.digest(digests[outcome.config.base_model])
    ]


def trial_outcome(path: Path, stopped: Container[str]) -> TrialOutcome | None:
    """Return the trial in a directory; None if it has not begun. stopped: names of those that ASHA stopped."""
    directory = TrialDirectory(path)
    config = directory.config()
    if config is None:
        return None
    failure = directory.failure()
    error = str(failure["reason"]) if failure else directory.lost()
    status: Status = "halfway"
    if directory.done:
        status, error = "done", ""
    elif error:
        status = "failed"
    elif path.name in stopped:
        status = "stopped"
    return TrialOutcome(path.name, path, config, status, directory.reports(), error)


def settle_trials(trials: Path, rungs: Path) -> Iterator[str]:
    """Finish trials that a kill left unfinished and drop damaged ones; yield a sentence on each that is dropped.

    Only while none of them is trained: when a search begins. trials: their folder; rungs: asha.json.
    """
    stops = RungFile(rungs)
    for path in sorted(trials.glob("*/trial.json")):
        damaged = TrialDirectory(path.parent).settle()
        if damaged:
            if path.parent.name in stops.stopped:
                # Otherwise it would count as stopped, without a report.
                del stops.stopped[path.parent.name]
                stops.write()
            yield f"trial {path.parent.name} is trained again: {damaged}"
