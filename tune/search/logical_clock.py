"""A clock that runs by the plan of trials instead of by time: which of their events comes next, on any machine.

A search that decides in this order decides the same however fast its trials really are. Free of Ray.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tune.train.planned import PlannedCost


@dataclass(frozen=True)
class Reached:
    """A trial has reached a rung, or its end (budget 1). budget, best_auc and step: of its report."""

    budget: float
    best_auc: float
    step: int


@dataclass(frozen=True)
class Failed:
    """A trial cannot be trained, or was given up."""


ClockEvent = Reached | Failed


@dataclass
class _Running:
    started: float
    cost: PlannedCost
    reached: float = 0.0
    """The budget of the latest event, also of one that has not come up yet."""
    events: deque[ClockEvent] = field(default_factory=deque)

    def at(self, budget: float) -> float:
        return self.started + self.cost.opening + self.cost.training * budget


class LogicalClock:
    """The running trials of a search, by number, and the events that they have sent.

    rungs: the budgets at which a trial's report matters, ascending, ending with 1. A trial's plan says when it will
    reach them, so an event comes up once no other trial can have an earlier one.
    """

    def __init__(self, rungs: Sequence[float]) -> None:
        self._rungs = tuple(rungs)
        self._running: dict[int, _Running] = {}
        self._now = 0.0

    @property
    def running(self) -> int:
        """How many trials are running."""
        return len(self._running)

    def start(self, trial: int, cost: PlannedCost) -> None:
        """Start a trial now. trial: its number; of events at the same time, that of the lowest number comes first."""
        self._running[trial] = _Running(self._now, cost)

    def matters(self, trial: int, budget: float) -> bool:
        """Return whether a report at this budget is the first of its trial at a rung or beyond it."""
        reached = self._running[trial].reached
        return any(reached < rung <= budget for rung in self._rungs)

    def add(self, trial: int, event: ClockEvent) -> None:
        """Take a trial's next event: a report that matters, or its failure."""
        running = self._running[trial]
        running.events.append(event)
        if isinstance(event, Reached):
            running.reached = event.budget

    def waits(self, trial: int, budget: float) -> bool:
        """Return whether an event of this trial, at this budget or below it, has not come up yet."""
        running = self._running.get(trial)
        return running is not None and any(
            isinstance(event, Reached) and event.budget <= budget for event in running.events
        )

    def silent(self) -> list[int]:
        """Return the running trials that the clock waits for: those whose events have all come up."""
        return [trial for trial, running in self._running.items() if not running.events]

    def end(self, trial: int) -> None:
        """End a trial; what it may have sent since no longer counts."""
        del self._running[trial]

    def next(self) -> tuple[int, ClockEvent] | None:
        """Return the next event and its trial, and advance to it; None while another trial may have an earlier one."""
        if not self._running:
            return None
        time, trial = min((self._earliest(running), trial) for trial, running in self._running.items())
        running = self._running[trial]
        if not running.events:
            return None
        self._now = time
        return trial, running.events.popleft()

    def _earliest(self, running: _Running) -> float:
        """When its next event is, or if that is unknown, when it is at the earliest."""
        if running.events and isinstance(running.events[0], Reached):
            return running.at(running.events[0].budget)
        # A failure counts as late as it could have come: how far the trial got in between is not told.
        return running.at(next(rung for rung in self._rungs if rung > running.reached or rung == 1.0))
