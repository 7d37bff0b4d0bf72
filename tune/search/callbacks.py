"""What the driver does at a trial's events: tells of them, marks stopped trials, hears Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ray import tune as ray_tune

from tune.events import Emit, TrialEvent
from tune.results.layout import ResultsFolder
from tune.results.rungs import RungFile
from tune.search.trainable import TrialDirectories
from tune.train.directory import TrialDirectory


@dataclass
class Tally:
    """Which trials have ended, by trial directory; the last word counts."""

    ended: dict[str, str] = field(default_factory=dict)


class TrialEvents(ray_tune.Callback):
    """Turns what Ray's driver sees into events."""

    def __init__(self, directories: TrialDirectories, tally: Tally, emit: Emit) -> None:
        self._directories = directories
        self._tally = tally
        self._emit = emit

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks into a state that is never read back here; a terminal cannot be pickled."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its first report may be long in coming."""
        self._tell(trial, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A report, or a failed trial's end."""
        if "failed" in result:
            self._tell(trial, "failed", reason=result["failed"])
        else:
            self._tell(trial, "running", budget=result["budget"], best_auc=result["best_auc"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's end: by its plan, by ASHA, or failed."""
        result = trial.last_result or {}
        if "failed" in result:
            self._end(trial, "failed", reason=result["failed"])
        else:
            budget = result.get("budget", 0.0)
            status = "done" if budget >= 1 else "stopped"
            self._end(trial, status, budget=budget, best_auc=result.get("best_auc"))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its worker died; it is started again."""
        self._tell(trial, "lost")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its worker died too often, or our own code broke."""
        reason = _last_line(trial)
        TrialDirectory(self._directories.directory(trial.config)).lose(self._directories.config(trial.config), reason)
        self._end(trial, "failed", reason=reason)

    def _end(self, trial: Any, status: str, **facts: Any) -> None:
        self._tally.ended[self._directories.digest(trial.config)] = status
        self._tell(trial, status, **facts)

    def _tell(self, trial: Any, status: str, **facts: Any) -> None:
        self._emit(TrialEvent(self._directories.digest(trial.config), status, dict(trial.config), **facts))


class StopMarks(ray_tune.Callback):
    """Marks the directories of trials that ASHA has stopped, where the driver can write them."""

    def __init__(self, folder: ResultsFolder, directories: TrialDirectories) -> None:
        self._folder = folder
        self._directories = directories

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Trials that end for Ctrl-C or --max-hours are none of ASHA's, and can go on."""
        digest = self._directories.digest(trial.config)
        if digest in RungFile(self._folder.asha).stopped:
            TrialDirectory(self._directories.trials / digest).stop()


class Interrupt(ray_tune.Stopper):
    """Ctrl-C as a wish to end the search in good order; a second one ends it at once.

    Ray's own handler does the like but does not tell afterwards that it did.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """True after Ctrl-C."""
        return self.asked

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes Ctrl-C while the block runs; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        original = signal.getsignal(signal.SIGINT)

        def ask(number: int, frame: Any) -> None:
            self.asked = True
            signal.signal(signal.SIGINT, original)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, original)


def _last_line(trial: Any) -> str:
    error = trial.get_error()
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the worker died"
