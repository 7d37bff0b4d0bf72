"""What a search reports while it runs: plain data, the same to a terminal and over a queue from another machine."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, get_args


@dataclass(frozen=True)
class Message:
    """A line for people."""

    text: str


@dataclass(frozen=True)
class SearchNamed:
    """The results folder exists. name: of the search, as --resume takes it. folder: where it is written."""

    name: str
    folder: str


@dataclass(frozen=True)
class Embedding:
    """Texts of a base model embedded so far, of those the cache lacked."""

    base_model: str
    done: int
    total: int
    per_second: float


@dataclass(frozen=True)
class Mapped:
    """Stored vectors that have gone through a layer so far."""

    done: int
    total: int
    per_second: float


@dataclass(frozen=True)
class Compared:
    """Texts of train searched so far for near copies of those held out."""

    done: int
    total: int
    per_second: float


@dataclass(frozen=True)
class Working:
    """How far a phase is. what: it is doing, such as "reading". unit: what it counts, such as "rows"."""

    what: str
    unit: str
    done: int
    total: int
    per_second: float


@dataclass(frozen=True)
class TrialEvent:
    """A trial started (no best_auc yet), reported or ended.

    status: running, done, stopped, failed, unfinished (a limit of the search ended it), lost (its worker died; it is
    restarted).
    """

    trial: str
    status: str
    axes: dict[str, Any]
    budget: float = 0.0
    best_auc: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class SearchStarted:
    """The trials begin. total: at most. finished: of these, by an earlier run. jobs: at the same time."""

    total: int
    finished: int = 0
    jobs: int = 1


@dataclass(frozen=True)
class Cost:
    """What trials on Modal have used so far, in all runs: containers at work now, container seconds, and USD for these.

    seconds: from the start of each container to its end, idle time included. usd: None if the GPU's price is unknown.
    """

    containers: int
    seconds: float
    usd: float | None = None


@dataclass(frozen=True)
class Bought:
    """Vectors of a closed model have been bought. usd: what they cost by their estimated tokens.

    base_model: "" for all that earlier runs of the search bought.
    """

    base_model: str
    usd: float


Event = Message | SearchNamed | Embedding | Mapped | Compared | Working | TrialEvent | SearchStarted | Cost | Bought
Emit = Callable[[Event], None]

Progress = Callable[[int, int], None]
"""Called with (done so far, total)."""

_QUIET_SECONDS = 2.0
"""A phase that is over by then is not worth a line."""

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def to_plain(event: Event) -> dict[str, Any]:
    """Return the event as JSON-ready values."""
    return {"kind": type(event).__name__, **asdict(event)}


def from_plain(values: dict[str, Any]) -> Event:
    """Return the event that `to_plain` described."""
    fields = dict(values)
    return _KINDS[fields.pop("kind")](**fields)


def paced(emit: Emit, event: Callable[[int, int, float], Event]) -> Progress:
    """Return a callback that emits events about once a second, beginning after _QUIET_SECONDS.

    event: makes one of done, total and the rate per second since this call.
    """
    began = last = time.perf_counter()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - began > _QUIET_SECONDS and (now - last > 1 or done >= total):
            last = now
            emit(event(done, total, done / (now - began)))

    return report


def working(emit: Emit, what: str, unit: str) -> Progress:
    """Return `paced` progress of a phase; see `Working`."""
    return paced(emit, lambda done, total, per_second: Working(what, unit, done, total, per_second))


def ignore(event: Event) -> None:
    """Drop the event."""
