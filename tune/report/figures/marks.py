"""Marks that several figures share: bands, lines with points, labels where lines end, named flat lines."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [10, 4], [1, 3], [6, 2, 1, 2])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")


def padded(values: Sequence[float], share: float = 0.06) -> list[float]:
    """Return the values' range with some room at both ends."""
    low, high = min(values), max(values)
    room = (high - low) * share or 0.01
    return [low - room, high + room]


def band(base: alt.Chart) -> Any:
    """Return the band of an interval: fields low and high."""
    return base.mark_area(opacity=0.1).encode(y=alt.Y("low:Q"), y2="high:Q")


def points_and_line(base: alt.Chart, y: alt.Y, names: Sequence[str]) -> list[Any]:
    """Return lines that differ by dash and points that differ by shape, for those who see no colour."""
    dash = alt.StrokeDash("series:N", scale=alt.Scale(domain=list(names), range=list(_DASHES)), legend=None)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=list(names), range=list(_SHAPES)), legend=None)
    numbers = [alt.Tooltip(f"{name}:Q", format=".4f") for name in ("auc", "low", "high")]
    tooltip = ["series:N", "trial:N", "dims:Q", alt.Tooltip("pairs:Q", format=","), *numbers]
    return [
        base.mark_line(strokeWidth=2.5).encode(y=y, strokeDash=dash),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=y, shape=shape, tooltip=tooltip),
    ]


def end_labels(rows: pd.DataFrame, right: float, apart: float, x: alt.X, names: Sequence[str]) -> Any:
    """Return the series' names where their lines end, moved apart so that they do not overlap."""
    last = rows.sort_values("pairs").groupby("series").tail(1)
    ends = _spread(last.assign(at=last["auc"], pairs=right), apart)
    colour = alt.Color("series:N", scale=alt.Scale(domain=list(names)), legend=None)
    chart = alt.Chart(ends).mark_text(align="left", dx=10, fontSize=13, fontWeight=600)
    return chart.encode(x=x, y=alt.Y("at:Q"), text="text:N", color=colour)


def room_for(names: Sequence[str]) -> int:
    """Return the pixels that `end_labels` need beside the plot."""
    return 16 + round(7.3 * (max(map(len, names)) + len("  0.000")))


def flat_lines(values: Mapping[str, float], left: float, apart: float, x: alt.X) -> list[Any]:
    """Return a thin grey line per name, with the name on it."""
    if not values:
        return []
    rows = pd.DataFrame({"series": list(values), "auc": list(values.values()), "pairs": left})
    chart = alt.Chart(_spread(rows.assign(at=rows["auc"]), apart))
    return [
        chart.mark_rule(strokeWidth=1, strokeDash=[2, 3], style="soft").encode(y=alt.Y("auc:Q")),
        chart.mark_text(align="left", baseline="bottom", dy=-4, fontSize=12, style="soft").encode(
            x=x, y=alt.Y("at:Q"), text="text:N"
        ),
    ]


def _spread(rows: pd.DataFrame, apart: float) -> pd.DataFrame:
    """Return the rows with label heights `at` moved apart, and the label's `text`."""
    rows = rows.sort_values("at").reset_index(drop=True)
    heights = list(rows["at"])
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + apart)
    text = [f"{name}  {auc:.3f}" for name, auc in zip(rows["series"], rows["auc"], strict=True)]
    return rows.assign(at=heights, text=text)
