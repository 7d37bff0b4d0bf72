"""Points of a grid or random search: the union over all alternative spaces, without duplicates. Loads no Ray."""

import math
import random
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from tune.config.search import SearchConfig
from tune.config.space import Point, Range, Space

_DRAWS_PER_POINT = 20
_DRAWS = 100
_LISTED = 10_000
"""Most points of a space to list at once."""
_LATER = ("side", "bias")
"""Axes that the first searches did not have. While such an axis has one value, nothing is drawn for it, so that a seed
draws the same points as before: a search of an earlier version resumes with its own."""


def point_key(point: Point) -> str:
    """Return a text that is the same for equal points only."""
    return repr(sorted(point.items()))


def planned_trials(config: SearchConfig) -> int:
    """Return how many trials a search plans: all points of a grid, otherwise `trials` (fewer if the space is small)."""
    if config.search.search == "grid":
        return len(grid_points(config.spaces))
    return distinct_points(config.spaces, config.search.trials)


def small_space(config: SearchConfig) -> str:
    """Return a line for people if the search will have tried the whole space before `--trials` is reached, else ""."""
    trials, planned = config.search.trials, planned_trials(config)
    if config.search.search == "grid" or planned >= trials:
        return ""
    if planned == 1:
        return f"the space has only 1 configuration; it will be tried once, not {trials} times (--trials)"
    return f"the space has only {planned} configurations; all of them will be tried, not {trials} (--trials)"


def grid_points(spaces: Sequence[Space]) -> list[Point]:
    """Return all points of every space, one space after the other. No axis may be a range."""
    points = (point for space in spaces for point in space.grid())
    return list({point_key(point): point for point in points}.values())


def random_points(spaces: Sequence[Space], trials: int, seed: int) -> list[Point]:
    """Return `trials` distinct seeded draws, or all points if the spaces do not have more.

    All spaces are equally likely, and every axis is drawn independently.
    """
    generator = random.Random(f"points {seed}")
    points: dict[str, Point] = {}
    planned = distinct_points(spaces, trials)
    for _ in range(planned * _DRAWS_PER_POINT):
        point = _draw_point(spaces, generator)
        points.setdefault(point_key(point), point)
        if len(points) == planned:
            break
    # Points that random draws miss: a small space is tried completely.
    while len(points) < planned and (unseen := unseen_point(spaces, points, generator)) is not None:
        points[point_key(unseen)] = unseen
    return list(points.values())


def distinct_points(spaces: Sequence[Space], limit: int, seen: Collection[str] = ()) -> int:
    """Return how many distinct points the spaces have, but at most `limit`; `limit` if an axis is a range.

    seen: keys of points that do not count. However large the spaces are, only `limit` other points are listed.
    """
    keys: set[str] = set()
    for point in _walks(spaces):
        if len(keys) >= limit:
            break
        if point is None:
            return limit
        if point_key(point) not in seen:
            keys.add(point_key(point))
    return len(keys)


def unseen_point(spaces: Sequence[Space], seen: Collection[str], generator: random.Random) -> Point | None:
    """Return a random point with a key that is not in `seen`; None if every point was seen."""
    for _ in range(_DRAWS):
        point = _draw_point(spaces, generator)
        if point_key(point) not in seen:
            return point
    # So few are left that they can be listed.
    left = (point for point in _walks(spaces) if point is not None and point_key(point) not in seen)
    unseen = list(islice(left, _LISTED))
    return generator.choice(unseen) if unseen else None


def _draw_point(spaces: Sequence[Space], generator: random.Random) -> Point:
    space = generator.choice(spaces) if len(spaces) > 1 else spaces[0]
    return space.walk(lambda name, values: _draw(name, values, generator))


def _draw(name: str, values: Range | tuple[Any, ...], generator: random.Random) -> Any:
    if not isinstance(values, Range):
        # `choice` takes numbers from the generator even for a single value.
        return values[0] if name in _LATER and len(values) == 1 else generator.choice(values)
    if values.log:
        return math.exp(generator.uniform(math.log(values.low), math.log(values.high)))
    return generator.uniform(values.low, values.high)


class _Ranged(Exception):
    """The walk has come to a range."""


def _walks(spaces: Sequence[Space]) -> Iterator[Point | None]:
    """Yield every point of every space lazily, in the order of `Space.grid`; None for all points along a range."""
    for space in spaces:
        # path: at each axis that applies, the place of the choice. places: how many choices there are.
        path: list[int] = []
        while True:
            places: list[int] = []

            def choose(name: str, values: Any, path: list[int] = path, places: list[int] = places) -> Any:
                places.append(1 if isinstance(values, Range) else len(values))
                if len(path) < len(places):
                    path.append(0)
                if isinstance(values, Range):
                    raise _Ranged
                return values[path[len(places) - 1]]

            try:
                yield space.walk(choose)
            except _Ranged:
                yield None
            while path and path[-1] == places[len(path) - 1] - 1:
                path.pop()
            if not path:
                break
            path[-1] += 1
