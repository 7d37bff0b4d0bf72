"""What the head does beside the search: keeps its results on the Volume, tells the cost, ends stopped trials' calls.

A stream that Ray has parked is never closed (an actor waits for its next trial with the old one open), so calls are
ended here, in the driver, by their ids in the ledger.
"""

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import modal
from ray import tune as ray_tune

from cluster.ledger import FILE_NAME, CallEntry, Ledger, cancel, cost
from cluster.ledger import Cost as LedgerCost
from tune.events import Cost, Emit
from tune.search.trainable import TrialPlaces

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

    def cost(self) -> LedgerCost:
        """What the search's calls have taken so far."""
        self._look()
        return cost(entry for _, entries in list(self._ledgers.values()) for entry in entries)

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
        now = self.cost()
        told = Cost(now.running, round(now.seconds))
        if told != self._told and now.calls:
            self._told = told
            self._emit(told)


class HeedCancel(ray_tune.Callback):
    """A cancel of the head's own call ends the search as Ctrl-C does: in good order, with everything kept.

    Modal's runtime tells a cancel by SIGUSR1. Ray takes that signal for itself when it begins, and then ends without
    telling that it was asked to, so the search would pass for finished.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._taken = False

    def __getstate__(self) -> dict[str, Any]:
        """See EndCalls."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Takes the signal back from Ray, which has it from its first step on."""
        if not self._taken:
            self._taken = True
            signal.signal(signal.SIGUSR1, self._ask)

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGUSR1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN:
            signal.signal(signal.SIGUSR1, self._before)

    @staticmethod
    def _ask(number: int, frame: Any) -> None:
        # Said again, it would break into the good order.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGINT)


class EndCalls(ray_tune.Callback):
    """Cancels a trial's calls when Ray's driver is done with the trial; whether or not its stream is ever closed."""

    def __init__(self, places: TrialPlaces) -> None:
        self._places = places
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="cancel")

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks into a state that is never read back here; threads cannot be pickled."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """By its plan, stopped, or failed."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its actor died too often."""
        self._end(trial)

    def _end(self, trial: Any) -> None:
        directory = self._places.directory(trial.config)
        for entry in Ledger(directory).entries().values():
            if entry.over is None and not entry.ending:
                self._pool.submit(cancel, directory, entry.call)

    def close(self) -> None:
        """Waits until all cancels are sent."""
        self._pool.shutdown(wait=True)
