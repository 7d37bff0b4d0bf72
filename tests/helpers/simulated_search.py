"""A search by `OrderedTrials` without Ray and without training: workers of any speed, and a kill at any moment."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.made_up_trials import curve_report, planned, space
from tune.config.space import Point
from tune.config.trial import TrialConfig, trial_config
from tune.results.rungs import RungFile
from tune.search.optuna_search import TPESearch
from tune.search.ordered_trials import Order, OrderedTrials
from tune.train.outcomes import TrialOutcome
from tune.train.planned import PlannedCost
from tune.train.stream import REPORTS_PER_TRIAL, Report

SPACES = space(dims=[64, 128, 256], loss=["cosent", "angle"], learning_rate="1e-4:1e-1", batch_size=[16, 32, 64])


def config_of(point: Point) -> TrialConfig:
    """Return the configuration of a trial at a point."""
    return trial_config(point, {"seed": 0})


def key_of(point: Point) -> str:
    """Return the name of its directory."""
    return config_of(point).digest("data")


def cost_of(point: Point) -> PlannedCost:
    """Return its planned cost, in seconds."""
    return planned(config_of(point))


def report_of(key: str, point: Point, number: int) -> Report:
    """Return a made-up report."""
    return curve_report(key, point["learning_rate"], number)


@dataclass
class Disk:
    """What the trials have left: reports by directory name, and which trials failed."""

    reports: dict[str, list[Report]] = field(default_factory=dict)
    configs: dict[str, TrialConfig] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def outcomes(self, stopped: dict[str, float]) -> dict[str, TrialOutcome]:
        """Return what a resumed search reads."""
        return {key: self._outcome(key, stopped) for key in self.configs}

    def _outcome(self, key: str, stopped: dict[str, float]) -> TrialOutcome:
        reports = self.reports[key]
        status: Any = "halfway"
        if reports and reports[-1].last:
            status = "done"
        elif key in self.failed or key in stopped:
            status = "failed" if key in self.failed else "stopped"
        error = "made up" if key in self.failed else ""
        return TrialOutcome(key, Path(key), self.configs[key], status, list(reports), error)


@dataclass
class _Work:
    number: int
    key: str
    point: Point
    pace: float
    sent: int = 0


class Simulation:
    """Workers that run the trials of a search. pace: how many times as long as planned a trial takes.

    fails: whether a trial fails before its report of this number. last_taken: when the last trial was begun;
    worked_while_busy: seconds that workers had trained by then, all together.
    """

    def __init__(
        self, folder: Path, disk: Disk, slots: int, trials: int, pace: Callable[[str], float], asha: bool = True
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rungs = RungFile(folder / "asha.json")
        self.study = TPESearch(SPACES, 0, [], "simulated")
        self.slots, self.disk, self.pace = slots, disk, pace
        order = Order(slots, trials, key_of, cost_of, self.rungs if asha else None)
        self.trials = OrderedTrials(self.study, order, disk.outcomes(dict(self.rungs.stopped)))
        self.trials.begin()
        self.fails: Callable[[str, int], bool] = lambda key, number: False
        self.now = self.last_taken = self.worked_while_busy = 0.0
        self.delivered = 0
        self._busy: dict[int, _Work] = {}
        self._events: list[tuple[float, int]] = []
        self._worked: list[tuple[float, float]] = []

    def run(self, until: int | None = None) -> "Simulation":
        """Run to the end, or until the workers have made this many reports, as a kill would leave it."""
        self._act()
        while self._events:
            if until is not None and self.delivered >= until:
                return self
            self.now, number = heapq.heappop(self._events)
            self._deliver(self._busy[number])
            self._act()
        assert self.trials.over and not self._busy, "the search has come to a standstill"
        self.worked_while_busy = sum(max(0.0, min(end, self.last_taken) - begin) for begin, end in self._worked)
        return self

    def _act(self) -> None:
        for number, continues in self.trials.decisions():
            work = self._busy.get(number)
            if work is None:
                continue
            if continues:
                self._train(work)
            else:
                del self._busy[number]
        while len(self._busy) < self.slots and (taken := self.trials.take()) is not None:
            number, point = taken
            self.last_taken = self.now
            key = key_of(point)
            self.disk.configs[key] = config_of(point)
            self.disk.reports.setdefault(key, [])
            self._busy[number] = work = _Work(number, key, point, self.pace(key))
            self._train(work)

    def _train(self, work: _Work) -> None:
        cost = cost_of(work.point)
        again = work.sent < len(self.disk.reports[work.key])
        seconds = 0.0 if again else work.pace * cost.training / REPORTS_PER_TRIAL
        seconds += 0.0 if work.sent else work.pace * cost.opening
        self._worked.append((self.now, self.now + seconds))
        heapq.heappush(self._events, (self.now + seconds, work.number))

    def _deliver(self, work: _Work) -> None:
        if self.fails(work.key, work.sent + 1):
            self.disk.failed.add(work.key)
            del self._busy[work.number]
            self.trials.end(work.number, {"failed": "made up"})
            return
        work.sent += 1
        report = report_of(work.key, work.point, work.sent)
        kept = self.disk.reports[work.key]
        if len(kept) < work.sent:
            kept.append(report)
            self.delivered += 1
        if report.last:
            del self._busy[work.number]
            self.trials.end(work.number, report.metrics())
        elif self.trials.report(work.number, report.metrics()):
            self._train(work)
