"""Ray callbacks in the driver: emit events, write TensorBoard's logs, and mark stopped trials."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune as ray_tune
from ray.tune.progress_reporter import TrialProgressCallback

from tune.events import Emit, TrialEvent
from tune.results.layout import ResultsFolder
from tune.results.rungs import RungFile
from tune.search.hparams import Hparams
from tune.search.interrupt import Interrupt
from tune.search.tensorboard import TrialLog
from tune.search.trainable import TrialDirectories
from tune.train.directory import TrialDirectory

logger = logging.getLogger(__name__)


@dataclass
class Tally:
    """Trials that have ended in this run. ended: {directory name: latest status}."""

    ended: dict[str, str] = field(default_factory=dict)


class TrialEvents(ray_tune.Callback):
    """Emit a `TrialEvent` for everything that happens to a trial; count ended trials in `tally`."""

    def __init__(self, directories: TrialDirectories, tally: Tally, interrupt: Interrupt, emit: Emit) -> None:
        self._directories = directories
        self._tally = tally
        self._interrupt = interrupt
        self._emit = emit

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray pickles callbacks into a state that we never read, and a terminal cannot be pickled."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Emit running now: the first report may take long."""
        self._emit_status(trial, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Emit a report. A failure is the trial's end, and is emitted there."""
        if "best_auc" in result:
            self._emit_status(trial, "running", budget=result["budget"], best_auc=result["best_auc"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Emit the end of a trial: done, stopped by ASHA, failed, or unfinished if a limit ended it.

        One that had to pause has not ended.
        """
        result = trial.last_result or {}
        if "paused" in result:
            return
        if "failed" in result:
            self._end(trial, "failed", reason=result["failed"])
        else:
            budget = result.get("budget", 0.0)
            status = "done" if budget >= 1 else "stopped"
            if status == "stopped" and self._interrupt.ending:
                self._emit_status(trial, "unfinished", budget=budget, best_auc=result.get("best_auc"))
                return
            self._end(trial, status, budget=budget, best_auc=result.get("best_auc"))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Emit lost: the worker died, and Ray restarts the trial."""
        self._emit_status(trial, "lost")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Emit failed and record why: the worker died too often, or our own code raised.

        A search that is to end gives no trial up.
        """
        with self._interrupt.pausing():
            if not self._interrupt.ending:
                reason, config = _last_line(trial), self._directories.config(trial.config)
                TrialDirectory(self._directories.directory(trial.config)).lose(config, reason)
                self._end(trial, "failed", reason=reason)

    def _end(self, trial: Any, status: str, **facts: Any) -> None:
        self._tally.ended[self._directories.digest(trial.config)] = status
        self._interrupt.watch.end(facts.get("reason", ""))
        self._emit_status(trial, status, **facts)

    def _emit_status(self, trial: Any, status: str, **facts: Any) -> None:
        self._emit(TrialEvent(self._directories.digest(trial.config), status, dict(trial.config), **facts))


class RunLogs(ray_tune.Callback):
    """Write every report for TensorBoard, as it arrives; a report that comes again is not written twice.

    A trial that fails before its first report has a run too, so that the board shows that it failed.

    What cannot be written ends no search: a resumed one writes it again from the trial's own reports.
    """

    def __init__(self, runs: Path, directories: TrialDirectories, hparams: Hparams) -> None:
        self._runs = runs
        self._directories = directories
        self._hparams = hparams
        self._logs: dict[str, TrialLog] = {}
        self._lost = False

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Write a report."""
        if "best_auc" not in result:
            return
        with self._kept():
            self._log(trial).report(result, self._hparams)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the end of a trial."""
        self._end(trial, failed="failed" in (trial.last_result or {}))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write the end of a trial whose worker died too often."""
        self._end(trial, failed=True)

    def _end(self, trial: Any, failed: bool) -> None:
        with self._kept():
            self._log(trial).end(self._hparams, failed)

    def _log(self, trial: Any) -> TrialLog:
        digest = self._directories.digest(trial.config)
        if digest not in self._logs:
            self._logs[digest] = TrialLog(self._runs, digest, self._directories.config(trial.config))
        return self._logs[digest]

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._lost:
                self._lost = True
                logger.warning("TensorBoard's logs are incomplete: %s: %s", error.filename, error.strerror)


class StopMarks(ray_tune.Callback):
    """Mark the directories of trials that ASHA stopped, if the driver can write to them."""

    def __init__(self, folder: ResultsFolder, directories: TrialDirectories) -> None:
        self._folder = folder
        self._directories = directories
        self._rungs: RungFile | None = None

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Mark the trial, unless Ctrl-C or a limit ended it: such a trial can be resumed."""
        digest = self._directories.digest(trial.config)
        if self._rungs is None:
            # Not before: a search begins by merging an earlier log.
            self._rungs = RungFile(self._folder.asha)
        self._rungs.refresh()
        if digest in self._rungs.stopped:
            # asha.json says the same; the mark only saves a wait.
            with contextlib.suppress(OSError):
                TrialDirectory(self._directories.trials / digest).stop()


class Forget(ray_tune.Callback):
    """Drop what Ray keeps of an ended trial: its last report, and of each field the maximum, mean and last values.

    Nothing reads them, and the memory and the state that Ray writes at the end would grow with the number of trials.
    """

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Drop those of a trial that has ended."""
        trial.run_metadata.last_result = {}
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Drop those of a trial that was given up."""
        self.on_trial_complete(iteration, trials, trial)


class Silent(TrialProgressCallback):
    """In place of the callback with which Ray Tune prints: it says when a held trial is stopped, even if quiet."""

    def on_trial_result(self, *arguments: Any, **info: Any) -> None:
        """Print nothing."""

    def on_trial_error(self, *arguments: Any, **info: Any) -> None:
        """Print nothing."""

    def on_trial_complete(self, *arguments: Any, **info: Any) -> None:
        """Print nothing."""


def _last_line(trial: Any) -> str:
    error = trial.get_error()
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the worker died"
