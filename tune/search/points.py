"""Points of a grid or random search: the union over all alternative spaces, without duplicates. Loads no Ray."""

import math
import random
from collections.abc import Sequence
from typing import Any

from tune.config.search import SearchConfig
from tune.config.space import Point, Range, Space

_DRAWS_PER_POINT = 20


def planned_trials(config: SearchConfig) -> int:
    """Return how many trials a search plans: all points of a grid, otherwise `trials` (fewer if the space is small)."""
    if config.search.search == "grid":
        return len(grid_points(config.spaces))
    if config.search.search == "random":
        return len(random_points(config.spaces, config.search.trials, config.search.seed))
    return config.search.trials


def grid_points(spaces: Sequence[Space]) -> list[Point]:
    """Return all points of every space, one space after the other. No axis may be a range."""
    points = (point for space in spaces for point in space.grid())
    return list({repr(sorted(point.items())): point for point in points}.values())


def random_points(spaces: Sequence[Space], trials: int, seed: int) -> list[Point]:
    """Return `trials` distinct seeded draws, or fewer if the spaces do not have that many points.

    All spaces are equally likely, and every axis is drawn independently.
    """
    generator = random.Random(f"points {seed}")
    points: dict[str, Point] = {}
    for _ in range(trials * _DRAWS_PER_POINT):
        space = generator.choice(spaces) if len(spaces) > 1 else spaces[0]
        point = space.walk(lambda name, values: _draw(values, generator))
        points.setdefault(repr(sorted(point.items())), point)
        if len(points) == trials:
            break
    return list(points.values())


def _draw(values: Range | tuple[Any, ...], generator: random.Random) -> Any:
    if not isinstance(values, Range):
        return generator.choice(values)
    if values.log:
        return math.exp(generator.uniform(math.log(values.low), math.log(values.high)))
    return generator.uniform(values.low, values.high)
