"""Interrupt: what ends a search early. Signals and outside causes end it at once, limits after the next reports."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ray import tune as ray_tune

from tune.errors import SearchPaused, Terminated, pausing
from tune.search.limits import LimitWatch


class Interrupt(ray_tune.Stopper):
    """A stopper that ends the search cleanly on Ctrl-C or SIGTERM, at once if they come twice, and when it must pause.

    At a limit, it ends each trial at its next report, and the search when no trial is left that could report.

    requested: the signal that arrived, 0 if none. Ray's own handler stops a search too, but does not report that it
    did. paused: the cause outside the trials that stops the search, or "". training: returns how many trials train.
    """

    def __init__(self, watch: LimitWatch, training: Callable[[], int]) -> None:
        self.requested = 0
        self.paused = ""
        self.watch = watch
        self._training = training

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether the trial is to end with this report."""
        # Every report passes here before anything is decided on it.
        self.paused = self.paused or str(result.get("paused", ""))
        self.watch.report(result)
        return self.watch.over

    @property
    def ending(self) -> bool:
        """Whether nothing is to be started or decided any more."""
        return bool(self.requested or self.paused or self.watch.over)

    def stop_all(self) -> bool:
        """Return whether the search is to end now."""
        self.watch.check()
        if self.requested or self.paused:
            return True
        return self.watch.over and not (self.watch.patient and self._training())

    @contextlib.contextmanager
    def pausing(self) -> Iterator[None]:
        """Pause the search if the block fails for a cause outside the trials."""
        try:
            with pausing():
                yield
        except SearchPaused as error:
            self.paused = self.paused or str(error)

    def check(self) -> None:
        """Raise what the search ended early for, if anything: SearchPaused, KeyboardInterrupt or Terminated."""
        if self.requested == signal.SIGTERM:
            raise Terminated
        if self.requested:
            raise KeyboardInterrupt
        if self.paused:
            raise SearchPaused(self.paused)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals while the block runs; does nothing outside the main thread, which alone can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def request(number: int, frame: Any) -> None:
            self.requested = number
            restore()

        for number in before:
            signal.signal(number, request)
        try:
            yield
        finally:
            restore()
