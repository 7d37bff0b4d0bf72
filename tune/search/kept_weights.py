"""Ray callbacks in the driver that mind the disk: weights that nobody needs any more, and what is still free."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune as ray_tune

from tune.events import Emit, Message
from tune.search.trainable import TrialDirectories
from tune.train.directory import TrialDirectory
from tune.train.kinds import kind_of
from tune.train.outcomes import TrialOutcome, trial_outcome


class KeptWeights(ray_tune.Callback):
    """Deletes the weights of whole models and LoRAs that have ended and cannot be finalists.

    releasable: returns those of the ended trials that cannot be; frozen ones count, but their weights are small and
    stay. ended: trials that had ended before. Follows `StopMarks`, since a trial has ended once its directory says so.
    """

    def __init__(
        self,
        directories: TrialDirectories,
        releasable: Callable[[Sequence[TrialOutcome]], list[TrialOutcome]],
        ended: Sequence[TrialOutcome],
    ) -> None:
        self._directories = directories
        self._releasable = releasable
        self._kept = list(ended)
        self._release()

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray pickles callbacks into a state that we never read."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """See which weights are not needed any more, this trial's or those of one that it surpasses."""
        path = self._directories.directory(trial.config)
        directory = TrialDirectory(path)
        if not (directory.done or directory.stopped):
            return
        ended = trial_outcome(path, {path.name})
        if ended is not None:
            self._kept = [one for one in self._kept if one.trial != ended.trial] + [ended]
            self._release()

    def _release(self) -> None:
        gone = self._releasable(self._kept)
        names = {outcome.trial for outcome in gone}
        # They can be dropped: who is behind one of them is behind those that are ahead of it.
        self._kept = [outcome for outcome in self._kept if outcome.trial not in names]
        for outcome in gone:
            directory = TrialDirectory(outcome.directory)
            ended = directory.done or directory.stopped
            if ended and not directory.weights_deleted and kind_of(outcome.config).trains_base:
                # On a full disk they stay; a resumed search deletes them.
                with contextlib.suppress(OSError):
                    directory.delete_weights()


class DiskWatch(ray_tune.Callback):
    """Says when the disk gets low. low: returns a warning, or "" if there is nothing new to say; asked at each tick."""

    def __init__(self, low: Callable[[], str], emit: Emit) -> None:
        self._low = low
        self._emit = emit

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing; see `KeptWeights`."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Emit the warning."""
        if warning := self._low():
            self._emit(Message(warning))
