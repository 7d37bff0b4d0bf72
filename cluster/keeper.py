"""What the head does beside the search: keeps its results on the Volume, tells the cost, ends stopped trials' calls.

A stream that Ray has parked is never closed (an actor waits for its next trial with the old one open), so calls are
ended here, in the driver, by their ids in the ledger.
"""

import logging
import threading
import time
from pathlib import Path

import modal

from cluster.ledger import FILE_NAME, CallEntry, CallTotals, Ledger, totals
from tune.events import Cost, Emit

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0


class Keeper:
    """A thread that commits the results Volume: soon after a ledger has changed, and else now and then."""

    def __init__(self, volume: modal.Volume, emit: Emit, every: float, ledger_every: float) -> None:
        self._volume = volume
        self._emit = emit
        self._every = every
        self._ledger_every = ledger_every
        self._trials: Path | None = None
        self._ledgers: dict[Path, tuple[int, list[CallEntry]]] = {}
        self._told = Cost(0, 0.0)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def watch(self, trials: Path) -> None:
        """Says where the trial directories are."""
        self._trials = trials

    def commit(self) -> None:
        """Puts the results on the Volume as they are now."""
        with self._lock:
            self._volume.commit()

    def totals(self) -> CallTotals:
        """What the search's calls have taken so far."""
        self._look()
        return totals(entry for _, entries in list(self._ledgers.values()) for entry in entries)

    def close(self) -> None:
        """Ends the thread; the last commit is the caller's."""
        self._closed.set()
        self._thread.join(30)

    def _look(self) -> bool:
        """Reads the ledgers that have changed; whether there were any."""
        changed = False
        for path in [] if self._trials is None else self._trials.glob(f"*/{FILE_NAME}"):
            size = path.stat().st_size  # only ever appended to
            if self._ledgers.get(path, (0, []))[0] != size:
                self._ledgers[path] = (size, list(Ledger(path.parent).entries().values()))
                changed = True
        return changed

    def _run(self) -> None:
        committed, waiting = time.monotonic(), False
        while not self._closed.wait(_TICK_SECONDS):
            try:
                waiting = self._look() or waiting
                self._tell()
                age = time.monotonic() - committed
                if age >= self._every or (waiting and age >= self._ledger_every):
                    self.commit()
                    committed, waiting = time.monotonic(), False
            except Exception as error:
                logger.warning("results could not be committed, tried again: %r", error)

    def _tell(self) -> None:
        now = self.totals()
        told = Cost(now.running, round(now.seconds))
        if told != self._told and now.calls:
            self._told = told
            self._emit(told)
