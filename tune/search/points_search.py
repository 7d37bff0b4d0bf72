"""PointsSearch: a Ray searcher over a fixed list of points."""

from typing import Any

from ray.tune.search import Searcher

from tune.config.space import Point


class PointsSearch(Searcher):
    """Suggest the given points in order, then report that the search is finished."""

    def __init__(self, points: list[Point]) -> None:
        super().__init__(metric="best_auc", mode="max")
        self._points = list(points)
        self._next = 0

    def suggest(self, trial_id: str) -> Any:
        """Return the next point, or FINISHED."""
        if self._next >= len(self._points):
            return Searcher.FINISHED
        self._next += 1
        return dict(self._points[self._next - 1])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the points do not depend on results."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a resumed search rebuilds its points and skips the finished ones."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see `save`."""
