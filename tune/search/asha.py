"""ASHA by arrival, with rungs that outlive the driver: kept on disk, keyed by the trials' directory names.

So a resumed search neither loses a rung's entries nor counts a trial twice, and a stopped configuration that is drawn
again is stopped again at once.
"""

import math
from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune.results.rungs import RungFile
from tune.search.in_turn import InTurn
from tune.search.rung_rule import GRACE, MIN_STEPS, REDUCTION, enter


class KeptASHA(InTurn, ASHAScheduler):
    """ASHA on best_auc over budget: grace 1/16 and reduction 4, so rungs at 1/16, 1/4 and 1.

    file: rungs and stopped trials, updated in place. key: returns a trial's directory name, given its Ray config.
    min_steps: optimizer steps that a trial must have taken before a rung may stop it.
    """

    def __init__(self, file: RungFile, key: Callable[[dict[str, Any]], str], min_steps: int = MIN_STEPS) -> None:
        super().__init__(
            time_attr="budget",
            metric="best_auc",
            mode="max",
            max_t=1,
            grace_period=GRACE,
            reduction_factor=REDUCTION,
        )
        self._file = file
        self._key = key
        self._min_steps = min_steps
        for milestone, recorded in self._brackets[0]._rungs:
            entries = file.rungs.setdefault(str(milestone), {})
            recorded.update({key: math.nan if auc is None else auc for key, auc in entries.items()})

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return CONTINUE or STOP; the decision is on disk before Ray acts on it."""
        key = self._key(trial.config)
        if "best_auc" not in result:
            return str(TrialScheduler.CONTINUE)
        if key in self._file.stopped:
            return str(TrialScheduler.STOP)
        action, entered = self._record(key, result)
        stopped = {}
        if action == TrialScheduler.STOP and result["budget"] < 1:
            stopped[key] = result["budget"]
            self._num_stopped += 1
        if entered or stopped:
            self._file.record(entered, stopped)
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Record the last report at the last rung."""
        if "best_auc" in result:
            _, entered = self._record(self._key(trial.config), result)
            if entered:
                self._file.record(entered, {})
        self._trial_info.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that never ran."""
        self._trial_info.pop(trial.trial_id, None)

    def _record(self, key: str, result: dict[str, Any]) -> tuple[str, dict[str, dict[str, float | None]]]:
        """Record a result by the rule of `enter`; return CONTINUE or STOP, and the trial's new entries by rung."""
        report = (result["budget"], result["best_auc"], result.get("step", 0))
        passes, entered = enter(self._brackets[0]._rungs, key, report, self._min_steps)
        return str(TrialScheduler.CONTINUE if passes else TrialScheduler.STOP), entered
