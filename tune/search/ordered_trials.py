"""Which trials are run and which are stopped, decided in the order of a logical clock.

Suggestions and stops depend on the results so far. Here "so far" follows from the plans of the trials, not from how
fast they happened to be: a search makes the same decisions on any machine, and again from the start when it resumes,
from what its trials have left on disk.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune.search import Searcher

from tune.config.space import Point
from tune.results.rungs import RungFile
from tune.search.logical_clock import ClockEvent, Failed, LogicalClock, Reached
from tune.search.optuna_search import TPESearch
from tune.search.rung_rule import GRACE, MIN_STEPS, REDUCTION, Rung, enter
from tune.train.outcomes import TrialOutcome
from tune.train.planned import PlannedCost


@dataclass(frozen=True)
class Order:
    """What a search decides by. slots: trials that run at the same time. trials: how many there will be.

    key: a point's directory name. cost: what a trial at a point is expected to cost. rungs: of ASHA; None to stop no
    trial.
    """

    slots: int
    trials: int
    key: Callable[[Point], str]
    cost: Callable[[Point], PlannedCost]
    rungs: RungFile | None


@dataclass
class _Trial:
    number: int
    point: Point
    key: str
    best_aucs: dict[float, float] = field(default_factory=dict)
    """Budget -> best AUC of its reports."""
    started: bool = False
    """Whether it was handed out to be run."""


class OrderedTrials:
    """The trials of a search by TPE, with or without ASHA.

    past: {directory name: what an earlier run has left}. The decisions on those are made again, at once, and nothing is
    written before `begin`.
    """

    def __init__(self, study: TPESearch, order: Order, past: Mapping[str, TrialOutcome]) -> None:
        self._study = study
        self._order = order
        self._past = past
        self._rungs: list[Rung] = []
        if order.rungs is not None:
            self._rungs = [(1.0, {}), (GRACE * REDUCTION, {}), (GRACE, {})]
            order.rungs.clear()
        self._clock = LogicalClock(sorted(milestone for milestone, _ in self._rungs) or (1.0,))
        self._trials: dict[int, _Trial] = {}
        self._ended: dict[int, bool] = {}
        self._keys: set[str] = set()
        self._asked = 0
        self._exhausted = False
        self._ready: deque[int] = deque()
        self._decided: list[tuple[int, bool]] = []
        self._begun = False
        self._advance()

    def begin(self) -> None:
        """Write what was decided again; from now on, decisions are on disk before they are returned."""
        self._begun = True
        if self._order.rungs is not None:
            self._order.rungs.write()

    @property
    def slots(self) -> int:
        """How many trials run at the same time."""
        return self._order.slots

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return len(self._ended)

    @property
    def keys(self) -> set[str]:
        """The directory names of all trials so far."""
        return set(self._keys)

    @property
    def running(self) -> int:
        """How many trials run, or wait to be run."""
        return self._clock.running

    def take(self) -> tuple[int, Point] | None:
        """Return the next trial to run, its number and point; None if none is to be run now."""
        if not self._ready:
            return None
        number = self._ready.popleft()
        return number, self._trials[number].point

    @property
    def over(self) -> bool:
        """Whether `take` will return no further trial."""
        return self._exhausted and not self._ready and all(trial.started for trial in self._trials.values())

    def report(self, number: int, result: Mapping[str, Any]) -> bool:
        """Take a report of a trial that is not its last; return whether it continues at once.

        If not, it waits until `decisions` names it. Reports that come again, after a worker died, change nothing.
        """
        if number in self._ended:
            return not self._ended[number]
        self._take_report(self._trials[number], result["budget"], result["best_auc"], result.get("step", 0))
        # Asked before the clock advances: an event that comes up now is among the decisions.
        waits = self._clock.waits(number, result["budget"])
        self._advance()
        return not waits

    def end(self, number: int, result: Mapping[str, Any] | None) -> None:
        """Take the end of a trial. result: its last report; None, or one without best_auc, if it has failed."""
        if number in self._ended:
            return
        trial = self._trials[number]
        if result is not None and "failed" not in result and "best_auc" in result and result["budget"] >= 1:
            self._take_report(trial, result["budget"], result["best_auc"], result.get("step", 0))
        else:
            self._clock.add(number, Failed())
        self._advance()

    def decisions(self) -> list[tuple[int, bool]]:
        """Return (number, whether it continues) of trials that waited and were decided on since the last call."""
        decided, self._decided = self._decided, []
        return decided

    def _advance(self) -> None:
        """Make all decisions that no result still to come can change."""
        while True:
            while self._clock.running < self._order.slots and self._suggest():
                pass
            event = self._clock.next()
            if event is None:
                break
            self._decide(*event)
        for number in self._clock.silent():
            if not self._trials[number].started:
                self._trials[number].started = True
                self._ready.append(number)

    def _suggest(self) -> bool:
        """Start the next trial on the clock; return whether there was one."""
        while not self._exhausted:
            number = self._asked
            point: Any = self._study.suggest(str(number)) if len(self._keys) < self._order.trials else Searcher.FINISHED
            if point == Searcher.FINISHED:
                self._exhausted = True
                break
            self._asked += 1
            key = self._order.key(point)
            if key in self._keys:
                # Two points of overlapping spaces can be one configuration.
                self._study.on_trial_complete(str(number), error=True)
                continue
            self._keys.add(key)
            self._trials[number] = _Trial(number, point, key)
            self._clock.start(number, self._order.cost(point))
            self._repeat(self._trials[number])
            return True
        return False

    def _repeat(self, trial: _Trial) -> None:
        """Take what an earlier run has left of a trial."""
        outcome = self._past.get(trial.key)
        if outcome is None:
            return
        for report in outcome.reports:
            self._take_report(trial, report.budget, report.best_auc, report.step)
        if outcome.error and (outcome.last is None or not outcome.last.last):
            self._clock.add(trial.number, Failed())

    def _take_report(self, trial: _Trial, budget: float, best_auc: float, step: int) -> None:
        trial.best_aucs[budget] = best_auc
        if self._clock.matters(trial.number, budget):
            self._clock.add(trial.number, Reached(budget, best_auc, step))

    def _decide(self, number: int, event: ClockEvent) -> None:
        trial = self._trials[number]
        if isinstance(event, Failed):
            self._end(trial, event, stopped=False)
            return
        stops = self._stops(trial.key, event)
        if stops or event.budget >= 1:
            self._end(trial, event, stopped=event.budget < 1)
        if event.budget < 1 and trial.started:
            self._decided.append((number, not stops))

    def _stops(self, key: str, event: Reached) -> bool:
        """Enter a report in its rung; return whether it stops its trial."""
        file = self._order.rungs
        if file is None:
            return False
        passes, entered = enter(self._rungs, key, (event.budget, event.best_auc, event.step), MIN_STEPS)
        stops = not passes and event.budget < 1
        stopped = {key: event.budget} if stops else {}
        if self._begun:
            file.record(entered, stopped)
        else:
            file.take(entered, stopped)
        return stops

    def _end(self, trial: _Trial, event: ClockEvent, stopped: bool) -> None:
        """Tell the study how a trial ended, with all of its reports up to then."""
        until = event.budget if isinstance(event, Reached) else math.inf
        # The last report of a trial that has not failed comes with its end.
        reports = [(budget, auc) for budget, auc in sorted(trial.best_aucs.items()) if budget < until]
        name = str(trial.number)
        for budget, auc in reports:
            self._study.on_trial_result(name, {"budget": budget, "best_auc": auc})
        if isinstance(event, Failed):
            self._study.on_trial_complete(name, {"failed": "", "done": True})
        else:
            self._study.on_trial_complete(name, {"budget": event.budget, "best_auc": event.best_auc})
        self._clock.end(trial.number)
        self._ended[trial.number] = stopped
        del self._trials[trial.number]


__all__ = ["Order", "OrderedTrials"]
