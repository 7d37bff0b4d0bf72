"""Callbacks in Ray's driver: cancel the calls of ended trials, and stop the search when the head is cancelled.

Ray never closes a stream that it has parked (an actor waits for its next trial with the old stream open), so calls are
ended here, by their ids in the ledger. Import this module lazily: it imports Ray.
"""

import math
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from ray import tune as ray_tune

from cluster.ledger import Ledger, cancel
from tune.search.trainable import TrialDirectories


class StopOnCancel(ray_tune.Callback):
    """Stops the search when the head's own call is cancelled, as Ctrl-C does: in order, keeping all results.

    Modal's runtime signals a cancel by SIGUSR1. Ray takes over that signal when it begins, and then ends without
    saying that it was asked to, so the search would count as finished.
    """

    def __init__(self) -> None:
        self._previous: Any = None
        self._installed = False

    def __getstate__(self) -> dict[str, Any]:
        """See EndCalls."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Take the signal back from Ray, which holds it from its first step on."""
        if not self._installed:
            self._installed = True
            signal.signal(signal.SIGUSR1, self._interrupt)

    def __enter__(self) -> Self:
        self._previous = signal.getsignal(signal.SIGUSR1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if signal.getsignal(signal.SIGUSR1) is not signal.SIG_IGN:
            signal.signal(signal.SIGUSR1, self._previous)

    @staticmethod
    def _interrupt(number: int, frame: Any) -> None:
        # A second signal would disturb the orderly end.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGINT)


class EndCalls(ray_tune.Callback):
    """Cancels a trial's calls when Ray's driver is done with the trial, whether or not its stream is ever closed.

    While Modal cannot be reached, cancels are repeated: each second of a stopped trial is paid for.
    """

    def __init__(self, directories: TrialDirectories) -> None:
        self._directories = directories
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="cancel")
        self._closed = threading.Event()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray pickles callbacks into a state that is never read back, and threads cannot be pickled."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Cancel the calls of a trial that ended by its plan, was stopped, or failed."""
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Cancel the calls of a trial with an actor that died too often."""
        self._end(trial)

    def _end(self, trial: Any) -> None:
        directory = self._directories.directory(trial.config)
        for entry in Ledger(directory).entries().values():
            if entry.over is None and not entry.ending:
                self._pool.submit(cancel, directory, entry.call, math.inf, self._closed)

    def close(self) -> None:
        """Wait until all cancels are sent; those that Modal has not taken yet are tried once more."""
        self._closed.set()
        self._pool.shutdown(wait=True)


__all__ = ["EndCalls", "StopOnCancel"]
