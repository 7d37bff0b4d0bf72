"""Ledger: every Modal call made for a trial, in the trial's directory on the head's disk.

The intent is recorded before a call is spawned, and its id before its first report is read, so that anyone who comes
later (another actor, the driver, a new head) can find it, read on, or cancel it. `end_calls` checks at a search's end
that none still runs.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import modal

from cluster.calls import CallState, Pauses, call_state, patiently
from cluster.claims import ENDED, Claims
from tune.files import locked

logger = logging.getLogger(__name__)

FILE_NAME = "calls.jsonl"
_PARALLEL = 16
"""Calls checked or cancelled at the same time; each is a round trip of about 50 ms."""


@dataclass(frozen=True)
class Stint:
    """A container's work on a call. started: the container, as it says; None if it does not. began: with this call."""

    container: str
    began: float
    started: float | None = None


@dataclass
class CallEntry:
    """What the ledger knows of a call. Times are seconds since 1970.

    partition: of the Queue, with its news. key: names it there; "" if the partition is its own, as in earlier versions.
    stints: of its containers, in order. cancelled: we asked for its end. finished: its last report, or its failure, was
    read. left: its function was done by then, as its container says. over: Modal said that it has ended.
    """

    call: str
    partition: str
    spawned: float
    stints: list[Stint] = field(default_factory=list)
    cancelled: float | None = None
    finished: float | None = None
    left: float | None = None
    over: float | None = None
    key: str = ""

    @property
    def began(self) -> float | None:
        """When its first container took it; None while it waits. A call that loses its container is paid for since."""
        return self.stints[0].began if self.stints else None

    @property
    def ending(self) -> float | None:
        """When it was read to its end or cancelled; None while it is still needed."""
        return self.finished or self.cancelled

    def seconds(self, now: float) -> float:
        """Return the seconds that it has taken so far; after a lost container, including the wait for the next."""
        return 0.0 if self.began is None else max(0.0, self.end(now) - self.began)

    def end(self, now: float) -> float:
        """Return when it ended; `now` if it has not."""
        return self.left or self.ending or self.over or now


class Ledger:
    """A trial's ledger file: one line per fact, append-only, so that several processes may write."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def next_key(self, search: str) -> str:
        """Return the key of the trial's next call; the same until that call is recorded. search: id of the search."""
        ended = {facts["ended"] for facts in self._facts() if "ended" in facts}
        number = len(ended | {entry.key for entry in self.entries().values()})
        return hashlib.sha256(f"{search}/{self.path.parent.name}/{number}".encode()).hexdigest()[:32]

    def intends(self, key: str, partition: str) -> None:
        """Record that a call with this key is about to be spawned."""
        self._append(intent=key, partition=partition, time=time.time())

    def spawned(self, call: str, partition: str, key: str = "") -> CallEntry:
        """Record a new call."""
        self._append(call=call, partition=partition, key=key, spawned=time.time())
        return self.entries()[call]

    def ended(self, key: str) -> None:
        """Record that a call with this key, should it ever begin, will leave."""
        self._append(ended=key)

    def note(self, call: str, **facts: Any) -> None:
        """Record further facts of a call: container with began and started; cancelled, finished, left, over."""
        self._append(call=call, **facts)

    def entries(self) -> dict[str, CallEntry]:
        """Return all calls by id, oldest first."""
        entries: dict[str, CallEntry] = {}
        for facts in self._facts():
            if "intent" in facts:
                continue
            if "partition" in facts:
                entries[facts["call"]] = CallEntry(**facts)
            elif facts.get("call") in entries:
                _add_facts(entries[facts["call"]], facts)
        return entries

    def doubtful_keys(self) -> dict[str, str]:
        """Return the keys that a call unknown to the ledger may have, with their partitions.

        A call was spawned with each, or was about to be, and none that is known here has begun.
        """
        begun = {entry.key for entry in self.entries().values() if entry.began is not None}
        keys = {facts.get("intent", ""): str(facts["partition"]) for facts in self._facts() if "partition" in facts}
        return {key: partition for key, partition in keys.items() if key and key not in begun}

    def latest(self) -> CallEntry | None:
        """Return the call that was spawned last."""
        return next(reversed(self.entries().values()), None)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the decision whether a trial gets a new call, so that two readers do not both spawn one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_name(".calls.lock")):
            yield

    def _facts(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_text().splitlines():
                with contextlib.suppress(ValueError):  # torn by a kill
                    facts = json.loads(line)
                    if isinstance(facts, dict):
                        yield facts

    def _append(self, **facts: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(facts) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def _add_facts(entry: CallEntry, facts: dict[str, Any]) -> None:
    if "container" in facts and facts["container"] not in [stint.container for stint in entry.stints[-1:]]:
        entry.stints.append(Stint(facts["container"], facts["began"], facts.get("started")))
    # The first value counts.
    for name in ("cancelled", "finished", "left", "over"):
        if name in facts and getattr(entry, name) is None:
            setattr(entry, name, facts[name])


def cancel(directory: Path, call: str, seconds: float = 0.0, stop: threading.Event | None = None) -> bool:
    """Cancel a call and record it; return whether Modal took it. Tries for up to `seconds`, or until `stop`."""
    try:
        patiently(modal.FunctionCall.from_id(call).cancel, seconds, stop=stop)
    except modal.exception.NotFoundError:
        pass  # nothing is left to cancel
    except Exception as error:
        logger.warning("could not cancel call %s, will try again at the end of the search: %s", call, error)
        return False
    Ledger(directory).note(call, cancelled=time.time())
    return True


def open_calls(trials: Path) -> list[tuple[Path, CallEntry]]:
    """Return the calls of all trials that are not known to be over, each with its trial's directory."""
    return [
        (path.parent, entry)
        for path in sorted(trials.glob(f"*/{FILE_NAME}"))
        for entry in Ledger(path.parent).entries().values()
        if entry.over is None
    ]


@dataclass(frozen=True)
class CallsLeft:
    """Calls of a search that are not known to have ended. running: by id. unknown: nobody could be asked about them."""

    running: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.running or self.unknown)


def end_calls(trials: Path, seconds: float, patience: float = 0.0, claims: Claims | None = None) -> CallsLeft:
    """Cancel every call of a search that still runs; wait up to `seconds` for them to end; return those left.

    Modal is asked about every call, including those that have sent their last report. Cancels that fail are repeated,
    and a Modal that does not answer is asked again, for up to `patience` seconds. claims: to find, and keep from
    training, calls that were spawned without an answer.
    """
    began, pauses = time.monotonic(), Pauses(longest=15.0)
    settle_by = began + seconds
    doubtful = [] if claims is None else _doubtful_calls(trials, claims)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        while True:
            ended = list(pool.map(_DoubtfulCall.end, doubtful))
            doubtful = [call for call, done in zip(doubtful, ended, strict=True) if not done]
            left = open_calls(trials)
            states = list(pool.map(lambda call: _end_call(*call), left))
            running = [entry.call for (_, entry), state in zip(left, states, strict=True) if state == "running"]
            unknown = [entry.call for (_, entry), state in zip(left, states, strict=True) if state == "unknown"]
            unknown += [call.name for call in doubtful]
            now = time.monotonic()
            if unknown:
                settle_by = now + seconds
            if now >= (began + patience if unknown else settle_by) or not (running or unknown):
                return CallsLeft(tuple(running), tuple(unknown))
            time.sleep(pauses.next() if unknown else 0.2)


@dataclass(frozen=True)
class _DoubtfulCall:
    """A call that was spawned, or was about to be, without anyone learning its id."""

    directory: Path
    key: str
    partition: str
    claims: Claims

    @property
    def name(self) -> str:
        return f"the last call of trial {self.directory.name}"

    def end(self) -> bool:
        """Keep it from training, or record it if it has begun; return whether Modal could be asked."""
        try:
            holder = self.claims.claim(self.key, ENDED)
        except Exception as error:
            logger.warning("could not ask about %s: %s", self.name, error)
            return False
        ledger = Ledger(self.directory)
        if holder == ENDED:
            ledger.ended(self.key)
        elif holder not in ledger.entries():
            ledger.spawned(holder, self.partition, self.key)
        return True


def _doubtful_calls(trials: Path, claims: Claims) -> list[_DoubtfulCall]:
    return [
        _DoubtfulCall(path.parent, key, partition, claims)
        for path in sorted(trials.glob(f"*/{FILE_NAME}"))
        for key, partition in Ledger(path.parent).doubtful_keys().items()
    ]


def _end_call(directory: Path, entry: CallEntry) -> CallState:
    """Cancel a call unless that is done or it has sent its last report; return its state."""
    reached = bool(entry.ending) or cancel(directory, entry.call)
    state = call_state(entry.call)
    if state == "over":
        Ledger(directory).note(entry.call, over=time.time())
    # It still runs, and nobody has asked it to end.
    return "unknown" if state == "running" and not reached else state


@dataclass(frozen=True)
class CallTotals:
    """What a search's calls have used: container seconds, distinct containers, calls, calls running now."""

    seconds: float
    containers: int
    calls: int
    running: int


def totals(entries: Iterable[CallEntry], now: float, idle: float) -> CallTotals:
    """Return what these calls have used until `now`. idle: as in `container_seconds`."""
    calls = list(entries)
    seconds = container_seconds(calls, now, idle)
    return CallTotals(
        seconds=sum(seconds.values()),
        containers=len(seconds),
        calls=len(calls),
        running=sum(entry.began is not None and entry.over is None and not entry.ending for entry in calls),
    )


def container_seconds(entries: Iterable[CallEntry], now: float, idle: float) -> dict[str, float]:
    """Return the seconds that each container was up until `now`, at most: from its start to `idle` after its last call.

    idle: seconds that a container waits for its next call. A container whose start is unknown counts from its first
    call. When a container was lost is unknown: it counts as if it had ended its call as the next one took that.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    starts: dict[str, float] = {}
    for entry in entries:
        ends = [*(stint.began for stint in entry.stints[1:]), entry.end(now)]
        for stint, end in zip(entry.stints, ends, strict=False):
            spans.setdefault(stint.container, []).append((stint.began, end + idle))
            start = stint.began if stint.started is None else stint.started
            starts[stint.container] = min(start, starts.get(stint.container, start))
    return {name: _covered([(starts[name], min(calls)[0]), *calls], now) for name, calls in spans.items()}


def _covered(spans: Iterable[tuple[float, float]], now: float) -> float:
    """Return how many seconds until `now` are in at least one of the spans, each from a time to a time."""
    total, covered = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, min(end, now) - max(begin, covered))
        covered = max(covered, min(end, now))
    return total


__all__ = [
    "CallEntry",
    "CallTotals",
    "CallsLeft",
    "Ledger",
    "Stint",
    "cancel",
    "container_seconds",
    "end_calls",
    "open_calls",
    "totals",
]
