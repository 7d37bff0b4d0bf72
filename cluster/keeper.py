"""Keeper: commits a search's results to the Volume while it runs, unless a newer head does, and reports the costs."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import modal

from cluster import settings
from cluster.calls import Pauses, patiently
from cluster.claims import Fence, Superseded
from cluster.ledger import FILE_NAME, CallEntry, CallTotals, Ledger, totals
from tune.events import Cost, Emit

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
SUPERSEDED = 3
"""Exit code of a container whose head was replaced by a newer one."""


class Keeper:
    """A thread that commits the results Volume: every `every` seconds, or `ledger_every` if a ledger has changed."""

    def __init__(self, volume: modal.Volume, fence: Fence, emit: Emit, every: float, ledger_every: float) -> None:
        self._volume = volume
        self._fence = fence
        self._emit = emit
        self._every = every
        self._ledger_every = ledger_every
        self._trials: Path | None = None
        self._price: Callable[[float], float | None] = lambda seconds: None
        self._ledgers: dict[Path, tuple[int, list[CallEntry]]] = {}
        self._last_cost = Cost(0, 0.0)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def watch(self, trials: Path, price: Callable[[float], float | None]) -> None:
        """Set the folder of the trial directories, with the ledgers to watch.

        price: returns what container seconds cost in USD, None if that is unknown.
        """
        self._trials, self._price = trials, price

    def commit(self, patience: float = 0.0) -> None:
        """Commit the current results to the Volume; try for up to `patience` seconds while Modal cannot be reached.

        If a newer head runs the search, this process ends here.
        """
        with self._lock:
            try:
                patiently(self._fence.check, patience)
            except Superseded as error:
                # The end of a search would write, and cancel the calls that the newer head follows.
                print(error, file=sys.stderr, flush=True)
                os._exit(SUPERSEDED)
            patiently(self._volume.commit, patience)

    def totals(self, ahead: float = 0.0) -> CallTotals:
        """Return what the search's calls have used so far, in all its runs.

        ahead: with the seconds that containers will still be up for, if no call comes and the last have ended.
        """
        self._read_ledgers()
        entries = [entry for _, entries in list(self._ledgers.values()) for entry in entries]
        return totals(entries, time.time() + ahead, settings.TRIAL_SCALEDOWN)

    def usd(self, ahead: float = 0.0) -> float | None:
        """Return what the containers of trials have cost so far, idle time included; None if the price is unknown."""
        return self._price(self.totals(ahead).seconds)

    def usd_by_trial(self) -> dict[str, float]:
        """Return what each trial's own calls have cost, without containers' starts and idle time; {} if unknown."""
        self._read_ledgers()
        now = time.time()
        costs = {
            path.parent.name: self._price(sum(entry.seconds(now) for entry in entries))
            for path, (_, entries) in sorted(self._ledgers.items())
        }
        return {trial: usd for trial, usd in costs.items() if usd is not None}

    def close(self) -> None:
        """End the thread; the caller makes the last commit."""
        self._closed.set()
        self._thread.join(30)

    def _read_ledgers(self) -> bool:
        """Read the ledgers that have changed; return whether any had."""
        changed = False
        for path in [] if self._trials is None else self._trials.glob(f"*/{FILE_NAME}"):
            size = path.stat().st_size  # the file is append-only
            if self._ledgers.get(path, (0, []))[0] != size:
                self._ledgers[path] = (size, list(Ledger(path.parent).entries().values()))
                changed = True
        return changed

    def _run(self) -> None:
        committed, waiting = time.monotonic(), False
        pauses, resume_at = Pauses(), 0.0
        while not self._closed.wait(_TICK_SECONDS):
            try:
                waiting = self._read_ledgers() or waiting
                self._report_cost()
                age = time.monotonic() - committed
                if time.monotonic() < resume_at:
                    continue
                if age >= self._every or (waiting and age >= self._ledger_every):
                    self.commit()
                    committed, waiting = time.monotonic(), False
                    pauses.reset()
            except Exception as error:
                resume_at = time.monotonic() + pauses.next()
                logger.warning("could not commit the results, will retry: %r", error)

    def _report_cost(self) -> None:
        now = self.totals()
        cost = Cost(now.running, round(now.seconds), self._price(round(now.seconds)))
        if cost != self._last_cost and now.calls:
            self._last_cost = cost
            self._emit(cost)


__all__ = ["SUPERSEDED", "Keeper"]
