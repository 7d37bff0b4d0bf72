"""A search's events on a partition of the Queue: the head sends them in batches, the user's machine reads them.

The search may be running without anyone watching: events that cannot be sent are dropped and never delay it.
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
    """An `emit` that never blocks: a thread sends the waiting events, a batch as one item."""

    def __init__(self, queue: modal.Queue, partition: str) -> None:
        self._queue = queue
        self._partition = partition
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Add an event to the next batch."""
        with self._lock:
            self._waiting.append(to_plain(event))

    def close(self) -> None:
        """Send the remaining events."""
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
    """Return the events on the partition; wait up to `seconds` for the first."""
    try:
        batches = queue.get_many(100, timeout=seconds, partition=partition)
    except standard_queue.Empty:
        return []
    return [from_plain(values) for batch in batches for values in batch]


__all__ = ["EventSender", "read_events"]
