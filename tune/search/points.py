"""The points of a grid and of a random search, and a searcher that hands out a list of points."""

import math
import random
from typing import Any

from ray.tune.search import Searcher

from tune.config.space import Range, Space

_DRAWS_PER_POINT = 20


def grid_points(space: Space) -> list[dict[str, Any]]:
    """The full product of the axes, in their order."""
    return space.grid()


def random_points(space: Space, trials: int, seed: int) -> list[dict[str, Any]]:
    """`trials` seeded draws, each axis on its own, no point twice; fewer where the space has no more points."""
    generator = random.Random(f"points {seed}")
    points: dict[str, dict[str, Any]] = {}
    for _ in range(trials * _DRAWS_PER_POINT):
        point = {name: _draw(values, generator) for name, values in space.axes()}
        points.setdefault(repr(point), point)
        if len(points) == trials:
            break
    return list(points.values())


def _draw(values: Range | tuple[Any, ...], generator: random.Random) -> Any:
    if not isinstance(values, Range):
        return generator.choice(values)
    if values.log:
        return math.exp(generator.uniform(math.log(values.low), math.log(values.high)))
    return generator.uniform(values.low, values.high)


class PointsSearch(Searcher):
    """Hands out the given points in order, and then says that it is finished."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
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
