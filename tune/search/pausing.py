"""PausingScheduler: a search pauses when the driver cannot write a decision, and decides nothing once it is to end.

Ray Tune takes an exception of a scheduler for one of the trial, and gives the trial up. Once a search is to end, for
this, for Ctrl-C or at a limit, decisions would count trials that were cut short as ended.
"""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tune.search.in_turn import InTurn
from tune.search.interrupt import Interrupt


class PausingScheduler(TrialScheduler):
    """Passes everything to a scheduler until the search is to end; then ends the trials that do not train."""

    def __init__(self, scheduler: InTurn, interrupt: Interrupt) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._scheduler: Any = scheduler
        self._interrupt = interrupt

    @property
    def metric(self) -> Any:
        """The scheduler's."""
        return self._scheduler.metric

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """See the scheduler."""
        return bool(self._scheduler.set_search_properties(metric, mode, **spec))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Pass on a new trial, or one whose worker died."""
        # Ray names a trial's folder as it starts, and cannot end a search with a trial that has none.
        trial.init_local_path()
        self._scheduler.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Pass on that a worker died."""
        self._pass("on_trial_error", tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return what is decided; NOOP if the decision could not be written, or the search is to end."""
        return self._pass("on_trial_result", tune_controller, trial, result) or str(TrialScheduler.NOOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass on the end of a trial."""
        self._pass("on_trial_complete", tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Pass on that a trial will not run."""
        self._pass("on_trial_remove", tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the trial to start, if any. At a limit none is, and those that wait end."""
        if self._interrupt.ending:
            for trial in self._scheduler.waiting():
                # One without a worker has done nothing that anybody should hear of.
                end = (
                    tune_controller.stop_trial
                    if trial.status == Trial.RUNNING
                    else tune_controller._schedule_trial_stop
                )
                end(trial)
        return self._pass("choose_trial_to_run", tune_controller)

    def debug_string(self) -> str:
        """Describe the scheduler."""
        return str(self._scheduler.debug_string())

    def _pass(self, method: str, *arguments: Any) -> Any:
        if self._interrupt.ending:
            return None
        with self._interrupt.pausing():
            return getattr(self._scheduler, method)(*arguments)
        return None
