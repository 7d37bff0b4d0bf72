"""ASHA with rungs that outlive the driver: kept in one file, keyed by the trials' directory names.

So a resumed search neither loses a rung's entries nor counts a trial twice, and a stopped configuration that is drawn
again is stopped again at once.
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
    """ASHA on best_auc over budget: grace 1/16 and reduction 4, so rungs at 1/16, 1/4 and 1.

    file: rungs and stopped trials, updated in place. key: returns a trial's directory name, given its Ray config.
    """

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
        """Return CONTINUE or STOP; the decision is on disk before Ray acts on it."""
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
        """Record the last report at the last rung."""
        if "best_auc" in result:
            self._record(self._key(trial.config), result)
            self._write_if_changed()
        self._trial_info.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that never ran."""
        self._trial_info.pop(trial.trial_id, None)

    def _record(self, key: str, result: dict[str, Any]) -> str:
        # The bracket identifies a trial by its id; use its directory name, which is the same in every run.
        trial: Any = SimpleNamespace(trial_id=key)
        return str(self._brackets[0].on_result(trial, result["budget"], result["best_auc"]))

    def _write_if_changed(self) -> None:
        rungs = {str(milestone): dict(recorded) for milestone, recorded in self._brackets[0]._rungs}
        if rungs != self._file.rungs:
            self._file.rungs = rungs
            self._file.write()
