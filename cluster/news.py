"""News of trials: one partition of the Queue per search, read by one thread for all readers of a process.

A message names its call and holds all reports so far, so only the latest of each call is kept: a reader that is slow
or late misses nothing. News that nobody here listens to is dropped; the call's return value holds the same.
"""

import contextlib
import hashlib
import logging
import queue as standard_queue
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import modal

from cluster.calls import Pauses

logger = logging.getLogger(__name__)

TrialNews = dict[str, Any]
"""reports: all so far, as plain values. failed: reason, or None. container, began: where it trains, since when.
started: that container (not in earlier versions). left: when its work was done, in the last news only.
key: of the call, among those on its partition ("" in searches begun with a version that had a partition per call).
call: its id. elsewhere: instead of reports, the call that trains, as another one with the same key does."""

_BATCH = 100
_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE = 15.0
"""While Modal cannot be reached: news is the first to tell that it can be again."""
_CHECKS_PER_SECOND = 50
"""How many silent calls are asked whether they still run, all readers together."""


def partition_of(search: str) -> str:
    """Return the partition for the news of all of a search's calls. A partition's name has at most 64 bytes."""
    return hashlib.sha256(search.encode()).hexdigest()[:32]


@dataclass
class _Box:
    """The latest message of one call, and how many readers it has."""

    latest: TrialNews | None = None
    readers: int = 0
    change: threading.Condition = field(default_factory=threading.Condition)


class News:
    """The news of one call, as one reader sees it."""

    def __init__(self, reader: "_PartitionReader", box: _Box, seconds: float) -> None:
        self._reader = reader
        self._box = box
        self._seconds = seconds
        self._seen: TrialNews | None = None

    def next(self, patience: float = 0.0) -> TrialNews | None:
        """Wait for newer news and return it; None if the call was silent for so long that it should be looked at.

        patience: at least this many seconds.
        """
        # Trials that begin together are not asked together.
        silent = max(patience, self._seconds, random.uniform(0.5, 1.5) * self._reader.readers / _CHECKS_PER_SECOND)
        with self._box.change:
            self._box.change.wait_for(lambda: self._box.latest is not self._seen, silent)
            if self._box.latest is self._seen:
                return None
            self._seen = self._box.latest
            return self._seen


class _PartitionReader:
    """Reads one partition while anyone listens, and puts every message into the box of its call."""

    def __init__(self, queue: str, partition: str, seconds: float) -> None:
        self._queue = queue
        self._partition = partition
        self._seconds = seconds
        self._boxes: dict[str, _Box] = {}
        self._lock = threading.Lock()
        self._running = False

    @property
    def readers(self) -> int:
        """How many calls are listened to."""
        return len(self._boxes)

    @contextlib.contextmanager
    def listening(self, key: str, seconds: float) -> Iterator[News]:
        """Listen to one call within the context."""
        with self._lock:
            box = self._boxes.setdefault(key, _Box())
            box.readers += 1
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, daemon=True, name="news").start()
        try:
            yield News(self, box, seconds)
        finally:
            with self._lock:
                box.readers -= 1
                if not box.readers:
                    del self._boxes[key]

    def _run(self) -> None:
        queue, pauses = modal.Queue.from_id(self._queue), Pauses(_LONGEST_PAUSE)
        while True:
            with self._lock:
                if not self._boxes:
                    self._running = False
                    return
            try:
                messages = queue.get_many(_BATCH, timeout=self._seconds, partition=self._partition)
            except standard_queue.Empty:
                pauses.reset()
                continue
            except Exception as error:
                # Readers meanwhile ask about their calls.
                logger.warning("could not read the news of trials, will try again: %s", error)
                time.sleep(pauses.next())
                continue
            pauses.reset()
            for message in messages:
                self._deliver(message)
            if len(messages) < _BATCH:
                # Otherwise every message would be a round trip.
                time.sleep(_PAUSE_SECONDS)

    def _deliver(self, message: TrialNews) -> None:
        with self._lock:
            box = self._boxes.get(message.get("key", ""))
        if box is None:
            return
        with box.change:
            # A lost container's last message may come after its successor's first.
            if box.latest is None or _age(message) > _age(box.latest):
                box.latest = message
                box.change.notify_all()


def _age(message: TrialNews) -> tuple[float, int, bool]:
    return message["began"], len(message["reports"]), message["failed"] is not None


_readers: dict[tuple[str, str], _PartitionReader] = {}
_readers_lock = threading.Lock()


def listening(queue: str, partition: str, key: str, seconds: float) -> contextlib.AbstractContextManager[News]:
    """Listen to a call within the context. queue: object id. seconds: how long a poll, or a silence, lasts."""
    with _readers_lock:
        reader = _readers.setdefault((queue, partition), _PartitionReader(queue, partition, seconds))
    return reader.listening(key, seconds)


__all__ = ["News", "TrialNews", "listening", "partition_of"]
