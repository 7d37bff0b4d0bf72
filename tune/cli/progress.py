"""Progress of a search: what its events add up to. Counts, best trial, pace, time left and money, without printing."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tune.embed.closed.prices import usd
from tune.events import Bought, Cost, SearchStarted, TrialEvent
from tune.results.naming import short_name
from tune.train.kinds import kind_by_axes


class Progress:
    """Adds up events. trials: the latest event of each trial of this run, in the order in which they began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._started: SearchStarted | None = None
        self._cost: Cost | None = None
        self._bought: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self.trials: dict[str, TrialEvent] = {}
        self.best: TrialEvent | None = None

    @property
    def started(self) -> bool:
        """Whether the trials have begun."""
        return self._started is not None

    def start(self, event: SearchStarted) -> None:
        """Begin to count and to time trials."""
        self._started, self._began = event, self._clock()

    def add(self, event: TrialEvent) -> None:
        """Take a trial's latest state."""
        if (before := self.trials.get(event.trial)) is not None:
            self._counts[before.status] -= 1
        self._counts[event.status] += 1
        self.trials[event.trial] = event
        if event.best_auc is not None and (self.best is None or event.best_auc > (self.best.best_auc or 0.0)):
            self.best = event

    def pay(self, event: Cost | Bought) -> None:
        """Take what containers or vectors have cost."""
        if isinstance(event, Cost):
            self._cost = event
        else:
            self._bought[event.base_model] = self._bought.get(event.base_model, 0.0) + event.usd

    def count(self, *statuses: str) -> int:
        """Return the number of trials with one of these statuses."""
        return sum(self._counts[status] for status in statuses)

    @property
    def planned(self) -> int:
        """The number of trials of this run, at most."""
        return self._started.total - self._started.finished if self._started else 0

    @property
    def ended(self) -> int:
        """The number of trials of this run that have ended."""
        return self.count("done", "stopped", "failed", "unfinished")

    @property
    def over(self) -> bool:
        """Whether all trials have ended."""
        return self.started and self.ended == self.planned

    @property
    def seconds(self) -> float:
        """Seconds since the trials began."""
        return self._clock() - self._began

    def pace(self) -> float | None:
        """Return ended trials per minute; None before the first has ended."""
        return 60 * self.ended / self.seconds if self.ended and self.seconds > 0 else None

    def seconds_left(self) -> float | None:
        """Return how long the other trials take if they end at the same pace; None if nothing is known or left."""
        left = self.planned - self.ended
        return self.seconds / self.ended * left if self.ended and left > 0 else None

    def counts(self) -> str:
        """Return how many trials are in which state."""
        cut = f"{unfinished} unfinished, " if (unfinished := self.count("unfinished")) else ""
        return (
            f"{self.count('done')} done, {self.count('stopped')} stopped early, {self.count('failed')} failed, "
            f"{cut}{self.count('running', 'lost')} running, of {self.planned}"
        )

    def timing(self) -> str:
        """Return the time spent, the pace and the time left, as far as known."""
        pace, left = self.pace(), self.seconds_left()
        parts = [duration(self.seconds)]
        if pace is not None:
            parts.append(f"{pace:.3g} trials/min")
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def money(self) -> str:
        """Return what the search has cost so far; "" if nothing is known."""
        parts = []
        if self._cost is not None:
            price = "" if self._cost.usd is None else f" (about {usd(self._cost.usd)} USD)"
            paid = f"{self._cost.seconds:.0f} container seconds paid{price}"
            parts += [f"{self._cost.containers} containers running, {paid}"]
        if self._bought:
            parts += [f"about {usd(sum(self._bought.values()))} USD of vectors bought"]
        return ", ".join(parts)

    def line(self) -> str:
        """Return everything on one line."""
        best = f"best validation AUC {self.best.best_auc:.4f} ({self.best.trial})" if self.best else ""
        return f"trials: {', '.join(part for part in (self.counts(), best, self.timing(), self.money()) if part)}"


def configuration(axes: dict[str, Any]) -> str:
    """Return the point of a trial in a few words."""
    kind = kind_by_axes(axes.get("freeze", True), axes.get("train"), axes.get("side")).label
    pairs = [f"{axes['train_size']:,} pairs"] if axes.get("train_size") else []
    rate = f"learning rate {axes['learning_rate']:.2g}"
    return ", ".join([short_name(axes["base_model"]), kind, f"{dims_of(axes)} dims", axes["loss"], rate, *pairs])


def dims_of(axes: dict[str, Any]) -> str:
    """Return the dims of a point; all of them for Matryoshka."""
    return ",".join("own" if dims is None else str(dims) for dims in (*axes.get("matryoshka", ()), axes["dims"]))


def duration(seconds: float) -> str:
    """Return a time as people say it: seconds below two minutes, then minutes, then hours."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
