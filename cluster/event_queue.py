"""A search's events over a partition of the Queue: sent by the head in batches, shown on the user's machine.

Nobody may be watching: what cannot be sent is dropped, and never holds the search up.
"""

import logging
import queue as standard_queue
import threading
from typing import Any

import modal

from tune.events import Event, from_plain, to_plain

logger = logging.getLogger(__name__)

_EVERY_SECONDS = 0.25
_BATCH = 200


class EventSender:
    """`emit` for code that must not wait: a thread sends what has gathered, a batch as one item."""

    def __init__(self, queue: modal.Queue, partition: str) -> None:
        self._queue = queue
        self._partition = partition
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Takes an event to be sent."""
        with self._lock:
            self._waiting.append(to_plain(event))

    def close(self) -> None:
        """Sends what is left."""
        self._closed.set()
        self._thread.join(10)

    def _run(self) -> None:
        over = False
        while not over:
            over = self._closed.wait(_EVERY_SECONDS)
            with self._lock:
                events, self._waiting = self._waiting, []
            for start in range(0, len(events), _BATCH):
                try:
                    self._queue.put(events[start : start + _BATCH], block=False, partition=self._partition)
                except Exception as error:
                    logger.info("events were dropped: %r", error)


def read_events(queue: modal.Queue, partition: str, seconds: float) -> list[Event]:
    """The events that have come, waiting up to `seconds` for the first."""
    try:
        batches = queue.get_many(100, timeout=seconds, partition=partition)
    except standard_queue.Empty:
        return []
    return [from_plain(values) for batch in batches for values in batch]


__all__ = ["EventSender", "read_events"]
