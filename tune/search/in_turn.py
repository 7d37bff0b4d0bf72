"""Which trial starts next: the first that waits, as in Ray's own schedulers, found without looking at ended ones."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class InTurn(FIFOScheduler):
    """FIFOScheduler, and a base of others, that remembers which trials have not ended.

    Ray's goes through all trials of the search at every step, which takes longer than the step itself with thousands.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._unended: dict[str, Any] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take a new trial, or one whose worker died, as the last."""
        super().on_trial_add(tune_controller, trial)
        self._unended.pop(trial.trial_id, None)
        self._unended[trial.trial_id] = trial

    def waiting(self) -> list[Any]:
        """Return the trials that have not ended and do not train: they wait for a worker, or to be decided on."""
        return [trial for trial in self._unended.values() if not trial.is_finished() and not self._trains(trial)]

    def training(self) -> int:
        """Return how many trials train, and so will report or end."""
        return sum(self._trains(trial) for trial in self._unended.values())

    def _trains(self, trial: Any) -> bool:
        return bool(trial.status == Trial.RUNNING)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the first pending trial, else the first paused one, else None."""
        self._unended = {name: trial for name, trial in self._unended.items() if not trial.is_finished()}
        for status in (Trial.PENDING, Trial.PAUSED):
            for trial in self._unended.values():
                if trial.status == status:
                    return trial
        return None
