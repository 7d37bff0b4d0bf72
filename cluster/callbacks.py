"""What the head does at Ray's events: ends stopped trials' calls, hears a cancel of its own call."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from ray import tune as ray_tune

from cluster.ledger import Ledger, cancel
from tune.search.trainable import TrialDirectories


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

    def __init__(self, directories: TrialDirectories) -> None:
        self._directories = directories
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
        directory = self._directories.directory(trial.config)
        for entry in Ledger(directory).entries().values():
            if entry.over is None and not entry.ending:
                self._pool.submit(cancel, directory, entry.call)

    def close(self) -> None:
        """Waits until all cancels are sent."""
        self._pool.shutdown(wait=True)
