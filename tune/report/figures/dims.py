"""Quality against what vectors cost to store: the dims and precisions scored, and the front that nothing beats."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from tune.report.figures.marks import padded
from tune.report.figures.stored import PRECISIONS, Advice, Stored, advice, fair, front_of, near_front, stored
from tune.report.story import Story
from tune.report.theme import HEIGHT, WIDTH, Figure

_SHAPES = {"float32": "circle", "float16": "square", "int8": "diamond", "binary": "triangle-up"}
_KINDS = ["trained", "untouched"]
_STRENGTH = {"front": 1.0, "near": 0.6, "far": 0.22}
_SIDES: dict[str, tuple[Literal["left", "right"], int, int]] = {
    "above left": ("right", -8, -10),
    "above right": ("left", 8, -10),
    "below right": ("left", 8, 11),
    "far below right": ("left", 10, 30),
}
"""Where a label may stand: its alignment, and its distance from the point in pixels. The last is for what is chosen."""
_BELOW = 1.5
"""Heights of the front that are shown below it."""
_LETTER, _LINE = 6.6, 14
"""Width of a label's letters and height of its line in pixels, to leave out labels that would overlap."""
_MARGIN = 1.3
"""Room at both ends of the axis, as a factor."""
_Box = tuple[float, float, float, float]
"""Left, right, lower and upper end."""
_NARROW = 480
"""Width of the plot on a phone, where labels must not overlap either."""


def dims(story: Story) -> Figure | None:
    """Return test AUC against bytes per vector, with the front chosen on validation; None with fewer than two sizes."""
    points = stored(story) if fair(story) else []
    front, found = front_of(points), advice(points)
    if found is None or len({one.bytes for one in points if one.trained}) < 2:
        return None
    quantised = len({one.precision for one in points}) > 1
    over = "dims and precisions" if quantised else "dims"
    shown = [one for one in points if one.auc >= _floor(front)]
    below = f"; {len(points) - len(shown)} weaker ones are below the scale" if len(shown) < len(points) else ""
    return Figure(
        name="dims",
        title=found.sentence(),
        subtitle=f"test AUC, compared with {found.full.dims} dims in float32{_lost(found.chosen)}; bars are 95%"
        " intervals of each AUC, not of differences. The line joins the"
        f" {over} that are best for their size by validation; the ring marks what the title names{below}",
        chart=_chart(_rows(shown, front, found)),
    )


def _lost(chosen: Stored) -> str:
    if chosen.points_lost is None:
        return ""
    lost, low, high = chosen.points_lost
    return f" (lost: {lost:z.1f} points [{low:z.1f}, {high:z.1f}], paired)"


def _floor(front: Sequence[Stored]) -> float:
    """Return the test AUC below which points would squeeze the front into a corner."""
    low = min(min(one.auc, one.auc if one.low is None else one.low) for one in front)
    high = max(max(one.auc, one.auc if one.high is None else one.high) for one in front)
    return low - _BELOW * (high - low)


def _rows(points: Sequence[Stored], front: Sequence[Stored], found: Advice) -> pd.DataFrame:
    several = len({one.base_model for one in front}) > 1
    rows = pd.DataFrame([asdict(one) for one in points])
    rows["low"], rows["high"] = rows["low"].fillna(rows["auc"]), rows["high"].fillna(rows["auc"])
    rows["kind"] = ["trained" if one.trained else "untouched" for one in points]
    rows["name"] = [one.name for one in points]
    rows["place"] = ["front" if one in front else _beside(one, front) for one in points]
    short = len({one.precision for one in points}) == 1
    names = [str(one.dims) if short else one.label for one in points]
    rows["text"] = [f"{one.base_model} {name}" if several else name for one, name in zip(points, names, strict=True)]
    rows["side"] = _apart(rows, points, front, found.chosen)
    rows["chosen"] = [one == found.chosen for one in points]
    rows["strength"] = rows["place"].map(_STRENGTH)
    # The strongest are drawn last, on top.
    return rows.sort_values("strength", kind="stable")


def _beside(one: Stored, front: Sequence[Stored]) -> str:
    # Untouched models are what the trained ones are compared with, however far below.
    return "near" if not one.trained or near_front(one, front) else "far"


def _apart(rows: pd.DataFrame, points: Sequence[Stored], front: Sequence[Stored], chosen: Stored) -> list[str]:
    """Return where each point has its label: a key of _SIDES, or "" for none, so that nothing is written over."""
    sizes, heights = rows["bytes"].map(math.log10), padded([*rows["low"], *rows["high"]])
    across = _NARROW / max(sizes.max() - sizes.min(), 1e-9)
    x = (sizes * across).tolist()
    y = (rows["auc"] * (HEIGHT / (heights[1] - heights[0]))).tolist()
    place = {one: (x[i], y[i]) for i, one in enumerate(points)}
    taken = [(a - 5, a + 5, b - 5, b + 5) for a, b in zip(x, y, strict=True)]
    taken.append((-math.inf, min(x) - math.log10(_MARGIN) * across, -math.inf, math.inf))  # the axis
    for start, end in pairwise(place[one] for one in front):
        taken += [(a - 1, a + 1, b - 1, b + 1) for a, b in np.linspace(start, end, 24).tolist()]
    sides = dict.fromkeys(points, "")
    for one in dict.fromkeys([chosen, *reversed(front)]):
        long, (a, b) = _LETTER * len(str(rows["text"].iloc[points.index(one)])), place[one]
        for side, (align, dx, dy) in _SIDES.items():
            left = a + dx - (long if align == "right" else 0)
            box = (left, left + long, b - dy - _LINE / 2, b - dy + _LINE / 2)
            last = side == list(_SIDES)[-1]
            if (last and one == chosen) or (not last and not any(_overlap(box, other) for other in taken)):
                sides[one] = side
                taken.append(box)
                break
    return [sides[one] for one in points]


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] <= other[1] and one[1] >= other[0] and one[2] <= other[3] and one[3] >= other[2]


def _chart(rows: pd.DataFrame) -> Any:
    sizes = sorted(set(rows["bytes"]))
    x = alt.X(
        "bytes:Q",
        scale=alt.Scale(type="log", domain=[sizes[0] / _MARGIN, sizes[-1] * _MARGIN], nice=False),
        axis=alt.Axis(values=_ticks(sizes), format=",", grid=False),
        title="bytes per vector",
    )
    drawn = rows[rows["place"] != "far"]
    domain = padded([*rows["auc"], *drawn["low"], *drawn["high"]])
    y = alt.Y("auc:Q", scale=alt.Scale(domain=domain, nice=False, zero=False, clamp=True), title="test ROC AUC")
    kinds = alt.Legend(orient="top", symbolOpacity=1, values=[one for one in _KINDS if (rows["kind"] == one).any()])
    colour = alt.Color("kind:N", scale=alt.Scale(domain=_KINDS), title=None, legend=kinds)
    precisions = [one for one in PRECISIONS if (rows["precision"] == one).any()]
    legend = alt.Legend(orient="top", symbolOpacity=1) if len(precisions) > 1 else None
    shapes = alt.Scale(domain=precisions, range=[_SHAPES[one] for one in precisions])
    opacity = alt.Opacity("strength:Q", scale=None, legend=None)
    numbers = [alt.Tooltip(f"{name}:Q", format=".4f") for name in ("auc", "low", "high", "val")]
    tooltip = ["name:N", "trial:N", "dims:Q", "precision:N", alt.Tooltip("bytes:Q", format=","), *numbers]
    front = alt.Chart(rows[rows["place"] == "front"].sort_values("bytes")).encode(x=x)
    bars = front.mark_rule(strokeWidth=1.2, opacity=0.5, style="accent").encode(y=alt.Y("low:Q"), y2="high:Q")
    line = front.mark_line(strokeWidth=2, style="accent").encode(y=y)
    ring = alt.Chart(rows[rows["chosen"]]).mark_point(size=260, strokeWidth=1.6, style="ink").encode(x=x, y=y)
    points = alt.Chart(rows).mark_point(filled=True, size=64)
    shape = alt.Shape("precision:N", scale=shapes, title=None, legend=legend)
    points = points.encode(x=x, y=y, color=colour, opacity=opacity, shape=shape, tooltip=tooltip)
    labels = [
        alt.Chart(rows[rows["side"] == side])
        .mark_text(align=align, dx=dx, dy=dy, fontSize=12, style="ink")
        .encode(x=x, y=y, text="text:N")
        for side, (align, dx, dy) in _SIDES.items()
        if (rows["side"] == side).any()
    ]
    return alt.layer(bars, line, points, ring, *labels).properties(width=WIDTH, height=HEIGHT)


def _ticks(sizes: Sequence[float]) -> list[float]:
    """Return the sizes to write on a logarithmic axis: all if they are few, else those a factor of two apart."""
    ticks: list[float] = []
    for size in sizes:
        if not ticks or size >= ticks[-1] * 1.8:
            ticks.append(size)
    return ticks
