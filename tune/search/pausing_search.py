"""PausingSearcher: a search that is to end suggests nothing more, and counts no trial that was cut short as ended."""

from typing import Any

from ray.tune.search import Searcher

from tune.search.interrupt import Interrupt


class PausingSearcher(Searcher):
    """Passes everything to a searcher until the search is to end; then only the ends of trials by their plan."""

    def __init__(self, searcher: Searcher, interrupt: Interrupt) -> None:
        super().__init__(metric="best_auc", mode="max")
        self._searcher = searcher
        self._interrupt = interrupt

    def suggest(self, trial_id: str) -> Any:
        """Return what the searcher does, or FINISHED."""
        return Searcher.FINISHED if self._interrupt.ending else self._searcher.suggest(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on a report."""
        self._searcher.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Pass on the end of a trial."""
        if not self._interrupt.ending or (result or {}).get("budget", 0.0) >= 1:
            self._searcher.on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing; see the searcher."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see the searcher."""


__all__ = ["PausingSearcher"]
