"""Ledger: every Modal call made for a trial, in the trial's directory on the head's disk.

A call is recorded before its first report is read, so that anyone who comes later (another actor, the driver, a new
head) can find it, read on, or cancel it by its id. `end_calls` checks at a search's end that none still runs.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import modal

from tune.files import lock_file

logger = logging.getLogger(__name__)

FILE_NAME = "calls.jsonl"
_PARALLEL = 16
"""Calls checked or cancelled at the same time; each is a round trip of about 50 ms."""


@dataclass
class CallEntry:
    """What the ledger knows of a call. Times are seconds since 1970.

    partition: of the Queue, with its news. key: names it there; "" if the partition is its own, as in earlier versions.
    began: its first container took it. containers: all that have worked on it. cancelled: we asked for its end.
    finished: its last report, or its failure, was read. over: Modal said that it has ended.
    """

    call: str
    partition: str
    spawned: float
    containers: list[str] = field(default_factory=list)
    began: float | None = None
    cancelled: float | None = None
    finished: float | None = None
    over: float | None = None
    key: str = ""

    @property
    def ending(self) -> float | None:
        """When it was read to its end or cancelled; None while it is still needed."""
        return self.finished or self.cancelled

    def seconds(self, now: float) -> float:
        """Return its container seconds so far; after a lost container, including the wait for the next."""
        if self.began is None:
            return 0.0
        return max(0.0, (self.ending or self.over or now) - self.began)


class Ledger:
    """A trial's ledger file: one line per fact, append-only, so that several processes may write."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def spawned(self, call: str, partition: str, key: str = "") -> CallEntry:
        """Record a new call."""
        self._append(call=call, partition=partition, key=key, spawned=time.time())
        return self.entries()[call]

    def note(self, call: str, **facts: Any) -> None:
        """Record further facts of a call: container, began, cancelled, finished, over."""
        self._append(call=call, **facts)

    def entries(self) -> dict[str, CallEntry]:
        """Return all calls by id, oldest first."""
        entries: dict[str, CallEntry] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_text().splitlines():
                try:
                    facts = json.loads(line)
                except ValueError:
                    continue  # torn by a kill
                if "partition" in facts:
                    entries[facts["call"]] = CallEntry(**facts)
                elif facts["call"] in entries:
                    _add_facts(entries[facts["call"]], facts)
        return entries

    def latest(self) -> CallEntry | None:
        """Return the call that was spawned last."""
        return next(reversed(self.entries().values()), None)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the decision whether a trial gets a new call, so that two readers do not both spawn one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(".calls.lock"), "w") as handle:
            lock_file(handle)
            yield

    def _append(self, **facts: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(facts) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def _add_facts(entry: CallEntry, facts: dict[str, Any]) -> None:
    if "container" in facts and facts["container"] not in entry.containers:
        entry.containers.append(facts["container"])
    # The first value counts: a call that lost its container is paid for since its first container.
    for name in ("began", "cancelled", "finished", "over"):
        if name in facts and getattr(entry, name) is None:
            setattr(entry, name, facts[name])


def is_over(call: str) -> bool:
    """Return whether a call has ended, in any way. A call that Modal no longer knows is over."""
    try:
        modal.FunctionCall.from_id(call).get(timeout=0)
    except TimeoutError:
        # The builtin one means "no result yet"; a call that exceeded its own timeout raises another.
        return False
    except Exception as error:
        logger.debug("call %s is over: %r", call, error)
    return True


def has_returned(call: str) -> bool:
    """Return whether a call has ended with a result that Modal still has."""
    try:
        modal.FunctionCall.from_id(call).get(timeout=0)
    except Exception:
        return False
    return True


def cancel(directory: Path, call: str) -> None:
    """Cancel a call and record that it was cancelled; never raises."""
    try:
        modal.FunctionCall.from_id(call).cancel()
    except Exception as error:
        logger.warning("could not cancel call %s: %s", call, error)
    Ledger(directory).note(call, cancelled=time.time())


def open_calls(trials: Path) -> list[tuple[Path, CallEntry]]:
    """Return the calls of all trials that are not known to be over, each with its trial's directory."""
    return [
        (path.parent, entry)
        for path in sorted(trials.glob(f"*/{FILE_NAME}"))
        for entry in Ledger(path.parent).entries().values()
        if entry.over is None
    ]


def end_calls(trials: Path, seconds: float) -> int:
    """Cancel every call of a search that still runs; wait up to `seconds` for them to end.

    Returns how many are left running. Modal is asked about every call, including those that have sent their last
    report.
    """
    deadline = time.monotonic() + seconds
    left = open_calls(trials)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        needed = [(directory, entry) for directory, entry in left if not entry.ending]
        list(pool.map(lambda call: cancel(call[0], call[1].call), needed))
        while True:
            over = list(pool.map(lambda call: is_over(call[1].call), left))
            for (directory, entry), ended in zip(left, over, strict=True):
                if ended:
                    Ledger(directory).note(entry.call, over=time.time())
            left = [call for call, ended in zip(left, over, strict=True) if not ended]
            if not left or time.monotonic() >= deadline:
                return len(left)
            time.sleep(0.2)


@dataclass(frozen=True)
class CallTotals:
    """What a search's calls have used: busy container seconds, distinct containers, calls, calls running now."""

    seconds: float
    containers: int
    calls: int
    running: int


def totals(entries: Iterable[CallEntry]) -> CallTotals:
    """Return what these calls have used so far, without container starts and the idle time of warm containers."""
    now, calls = time.time(), list(entries)
    return CallTotals(
        seconds=sum(entry.seconds(now) for entry in calls),
        containers=len({container for entry in calls for container in entry.containers}),
        calls=len(calls),
        running=sum(entry.began is not None and entry.over is None and not entry.ending for entry in calls),
    )


__all__ = [
    "CallEntry",
    "CallTotals",
    "Ledger",
    "cancel",
    "end_calls",
    "has_returned",
    "is_over",
    "open_calls",
    "totals",
]
