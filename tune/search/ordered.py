"""Ray's side of `OrderedTrials`: a searcher that hands out its trials, and a scheduler that holds them at rungs.

A trial that has reached a rung keeps its worker and does not train on until it is decided on. Relies on four things in
Ray Tune 2.60: a scheduler that answers NOOP leaves a trial as it is; `choose_trial_to_run` is called at every step of
the loop; the controller's `_schedule_trial_train` and `stop_trial` do what CONTINUE and STOP would; and its
`_actor_cache` keeps as many workers without a trial as `increase_max` says.
"""

from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tune.search.in_turn import InTurn
from tune.search.ordered_trials import OrderedTrials


class OrderedSearcher(Searcher):
    """Suggest the trials of `trials` as they come up. numbers: filled in, Ray's id of a trial -> its number."""

    def __init__(self, trials: OrderedTrials, numbers: dict[str, int]) -> None:
        super().__init__(metric="best_auc", mode="max")
        self._trials = trials
        self._numbers = numbers

    def suggest(self, trial_id: str) -> Any:
        """Return the next point; None if a trial must get on first; FINISHED after the last one."""
        taken = self._trials.take()
        if taken is None:
            return Searcher.FINISHED if self._trials.over else None
        self._numbers[trial_id], point = taken
        return dict(point)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the end of a trial that was given up; the scheduler takes all others."""
        if error:
            self._trials.end(self._numbers[trial_id], None)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a resumed search decides everything again."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see `save`."""


class OrderedScheduler(InTurn):
    """Pass reports to `trials`, and act on what it decides. numbers: see `OrderedSearcher`."""

    def __init__(self, trials: OrderedTrials, numbers: dict[str, int]) -> None:
        super().__init__()
        self._decider = trials
        self._keeps = False
        self._numbers = numbers
        self._live: dict[int, Any] = {}
        self._held: set[int] = set()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take a new trial, or one whose worker died."""
        super().on_trial_add(tune_controller, trial)
        if not self._keeps:
            # Several may wait for a trial at once; Ray would end all but one, and start new processes soon after.
            tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=self._decider.slots)
            self._keeps = True
        self._live[self._numbers[trial.trial_id]] = trial

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return CONTINUE, or NOOP for a trial that waits to be decided on."""
        number = self._numbers[trial.trial_id]
        if "best_auc" not in result or self._decider.report(number, result):
            return str(TrialScheduler.CONTINUE)
        self._held.add(number)
        return str(TrialScheduler.NOOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Act on new decisions; return the trial to start, if any."""
        for number, continues in self._decider.decisions():
            trial = self._live.get(number)
            if trial is None:
                continue
            if not continues:
                tune_controller.stop_trial(trial)
            elif number in self._held:
                # Not held: its worker died meanwhile, and it repeats its reports.
                tune_controller._schedule_trial_train(trial)
            self._held.discard(number)
        return super().choose_trial_to_run(tune_controller)

    def _trains(self, trial: Any) -> bool:
        return super()._trains(trial) and self._numbers[trial.trial_id] not in self._held

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass on the end of a trial, unless it was decided on before."""
        self._drop(trial)
        self._decider.end(self._numbers[trial.trial_id], result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Forget that a trial is held: its worker is gone. The searcher hears of one that is given up."""
        self._drop(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that was stopped without a worker."""
        self._drop(trial)

    def _drop(self, trial: Any) -> None:
        number = self._numbers[trial.trial_id]
        self._live.pop(number, None)
        self._held.discard(number)
