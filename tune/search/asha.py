"""ASHA whose rungs outlive the driver: kept in one file, keyed by the trials' directory names.

A search that goes on neither forgets what a rung holds nor counts a trial twice; a configuration drawn again after it
was stopped is stopped again at once.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune.results.rungs import RungFile
from tune.train.stream import REPORTS_PER_TRIAL

GRACE = 1 / REPORTS_PER_TRIAL
REDUCTION = 4


class KeptASHA(ASHAScheduler):
    """ASHA on best_auc over budget: grace 1/16, reduction 4, so rungs at 1/16, 1/4 and 1."""

    def __init__(self, file: RungFile, key: Callable[[dict[str, Any]], str]) -> None:
        super().__init__(
            time_attr="budget",
            metric="best_auc",
            mode="max",
            max_t=1,
            grace_period=GRACE,  # type: ignore[arg-type]
            reduction_factor=REDUCTION,
        )
        self._file = file
        self._key = key
        for milestone, recorded in self._brackets[0]._rungs:
            recorded.update(file.rungs.setdefault(str(milestone), {}))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """CONTINUE or STOP; every decision is on disk before Ray acts on it."""
        key = self._key(trial.config)
        if "best_auc" not in result:
            return str(TrialScheduler.CONTINUE)
        if key in self._file.stopped:
            return str(TrialScheduler.STOP)
        action = self._record(key, result)
        if action == TrialScheduler.STOP and result["budget"] < 1:
            self._file.stopped[key] = result["budget"]
            self._num_stopped += 1
        self._write_if_changed()
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last report counts at the last rung."""
        if "best_auc" in result:
            self._record(self._key(trial.config), result)
            self._write_if_changed()
        self._trial_info.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forgets a trial that never ran."""
        self._trial_info.pop(trial.trial_id, None)

    def _record(self, key: str, result: dict[str, Any]) -> str:
        # The bracket knows a trial by its id alone; here a trial is its directory, whichever run it is read in.
        trial: Any = SimpleNamespace(trial_id=key)
        return str(self._brackets[0].on_result(trial, result["budget"], result["best_auc"]))

    def _write_if_changed(self) -> None:
        rungs = {str(milestone): dict(recorded) for milestone, recorded in self._brackets[0]._rungs}
        if rungs != self._file.rungs:
            self._file.rungs = rungs
            self._file.write()
