"""A searcher that hands out a list of points."""

from typing import Any

from ray.tune.search import Searcher

from tune.config.space import Point


class PointsSearch(Searcher):
    """Hands out the given points in order, and then says that it is finished."""

    def __init__(self, points: list[Point]) -> None:
        super().__init__(metric="best_auc", mode="max")
        self._points = list(points)
        self._next = 0

    def suggest(self, trial_id: str) -> Any:
        """The next point."""
        if self._next >= len(self._points):
            return Searcher.FINISHED
        self._next += 1
        return dict(self._points[self._next - 1])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Points do not depend on results."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a resumed search makes its points anew and leaves out the finished ones."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing; see `save`."""
