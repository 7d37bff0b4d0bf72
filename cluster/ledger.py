"""Ledger: every Modal call that a trial has been given, in the trial's directory on the head's disk.

A call is written down before its first report is read, so whoever comes later (another actor, the driver, a new head)
can find it, read on, or cancel it by its id. `end_calls` is the proof at a search's end that none still runs.
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
_AT_A_TIME = 16
"""Calls asked for or cancelled at the same time; each is a round trip of some 50 ms."""


@dataclass
class CallEntry:
    """A call as the ledger knows it. Times are seconds since 1970.

    began: when its first container took it. containers: those that have worked on it. cancelled: we asked for its
    end. finished: its last report, or its failure, was read. over: Modal said that it has ended.
    """

    call: str
    partition: str
    spawned: float
    containers: list[str] = field(default_factory=list)
    began: float | None = None
    cancelled: float | None = None
    finished: float | None = None
    over: float | None = None

    @property
    def ending(self) -> float | None:
        """Since when nobody waits for it any more."""
        return self.finished or self.cancelled

    def seconds(self, now: float) -> float:
        """Seconds of containers that it has taken so far; where one was lost, with the wait for the next."""
        if self.began is None:
            return 0.0
        return max(0.0, (self.ending or self.over or now) - self.began)


class Ledger:
    """The file: one line per fact, only ever appended to, so that several processes may write."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def spawned(self, call: str, partition: str) -> CallEntry:
        """A new call."""
        self._append(call=call, partition=partition, spawned=time.time())
        return self.entries()[call]

    def note(self, call: str, **facts: Any) -> None:
        """Further facts of a call: container, began, cancelled, finished, over."""
        self._append(call=call, **facts)

    def entries(self) -> dict[str, CallEntry]:
        """All calls by id, the oldest first."""
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
                    _learn(entries[facts["call"]], facts)
        return entries

    def latest(self) -> CallEntry | None:
        """The call that was spawned last."""
        return next(reversed(self.entries().values()), None)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Held while it is decided whether a trial gets a new call, so that two readers do not both make one."""
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


def _learn(entry: CallEntry, facts: dict[str, Any]) -> None:
    if "container" in facts and facts["container"] not in entry.containers:
        entry.containers.append(facts["container"])
    # What is known first counts: a call whose container was lost is paid from its first container on.
    for name in ("began", "cancelled", "finished", "over"):
        if name in facts and getattr(entry, name) is None:
            setattr(entry, name, facts[name])


def is_over(call: str) -> bool:
    """Whether a call has ended, however it did. A call that Modal no longer knows is over."""
    try:
        modal.FunctionCall.from_id(call).get(timeout=0)
    except TimeoutError:
        # The builtin one is "no result yet"; a call that ran into its own timeout raises another.
        return False
    except Exception as error:
        logger.debug("call %s is over: %r", call, error)
    return True


def cancel(directory: Path, call: str) -> None:
    """Asks for a call's end and writes down that it was asked; never raises."""
    try:
        modal.FunctionCall.from_id(call).cancel()
    except Exception as error:
        logger.warning("call %s could not be cancelled: %s", call, error)
    Ledger(directory).note(call, cancelled=time.time())


def open_calls(trials: Path) -> list[tuple[Path, CallEntry]]:
    """Calls of all trials that are not known to be over, with the trial's directory."""
    return [
        (path.parent, entry)
        for path in sorted(trials.glob(f"*/{FILE_NAME}"))
        for entry in Ledger(path.parent).entries().values()
        if entry.over is None
    ]


def end_calls(trials: Path, seconds: float) -> int:
    """Cancels every call of a search that still runs, and waits up to `seconds` for their end.

    Returns how many are left running. Modal is asked about each call, also about those that have sent their last
    report.
    """
    deadline = time.monotonic() + seconds
    left = open_calls(trials)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(lambda one: cancel(one[0], one[1].call), [one for one in left if not one[1].ending]))
        while True:
            over = list(pool.map(lambda one: is_over(one[1].call), left))
            for (directory, entry), ended in zip(left, over, strict=True):
                if ended:
                    Ledger(directory).note(entry.call, over=time.time())
            left = [one for one, ended in zip(left, over, strict=True) if not ended]
            if not left or time.monotonic() >= deadline:
                return len(left)
            time.sleep(0.2)


@dataclass(frozen=True)
class CallTotals:
    """What a search's calls have taken: seconds of containers at work, distinct containers, calls, calls at work."""

    seconds: float
    containers: int
    calls: int
    running: int


def totals(entries: Iterable[CallEntry]) -> CallTotals:
    """The cost of some calls up to now. Idle time of warm containers and their start are not in it."""
    now, taken = time.time(), list(entries)
    return CallTotals(
        seconds=sum(entry.seconds(now) for entry in taken),
        containers=len({container for entry in taken for container in entry.containers}),
        calls=len(taken),
        running=sum(entry.began is not None and entry.over is None and not entry.ending for entry in taken),
    )


__all__ = ["CallEntry", "CallTotals", "Ledger", "cancel", "end_calls", "is_over", "open_calls", "totals"]
