"""Marks that several figures share: bands, lines with points, labels where lines end, named flat lines."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from tune.report.theme import HEIGHT, WIDTH

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [10, 4], [1, 3], [6, 2, 1, 2])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_APART = 0.05
"""Between two labels, as a share of the axis."""


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


def end_labels(
    rows: pd.DataFrame, flat: Mapping[str, float], domain: Sequence[float], x: alt.X, colour: alt.Color
) -> list[Any]:
    """Return the names of series and flat lines at the right of the plot, moved apart so that they do not overlap.

    A flat line below the domain is named at its lower end, with an arrow.
    """
    last = rows.sort_values("pairs").groupby("series").tail(1)
    ends: list[dict[str, Any]] = [{"series": name, "auc": auc} for name, auc in flat.items()]
    ends += [{name: row[name] for name in ("series", "auc", "model")} for _, row in last.iterrows()]
    ends.sort(key=lambda end: end["auc"])
    inside = [max(end["auc"], domain[0]) for end in ends]
    found = pd.DataFrame(ends).assign(
        at=_spread(inside, (domain[1] - domain[0]) * _APART, domain[1]),
        pairs=float(rows["pairs"].max()),
        text=[f"{'' if end['auc'] > domain[0] else '↓ '}{end['series']}  {end['auc']:.3f}" for end in ends],
    )
    of_flat = found["series"].isin(flat.keys())
    named = alt.Chart(found[~of_flat]).mark_text(align="left", dx=10, fontSize=13, fontWeight=600)
    labels = [named.encode(x=x, y=alt.Y("at:Q"), text="text:N", color=colour)]
    if flat:
        named = alt.Chart(found[of_flat].drop(columns="model"))
        named = named.mark_text(align="left", dx=10, fontSize=12, style="soft")
        labels.append(named.encode(x=x, y=alt.Y("at:Q"), text="text:N"))
    return labels


def best_so_far_line(rows: pd.DataFrame, spent: str, title: str, places: int) -> Any:
    """Return the best validation AUC as a rising step line: fields `spent` (so titled), auc and trial, by `spent`."""
    chart = alt.Chart(rows).encode(
        x=alt.X(f"{spent}:Q", axis=alt.Axis(grid=False, tickCount=10), title=title),
        y=alt.Y("auc:Q", scale=alt.Scale(zero=False), title="best validation AUC"),
        tooltip=["trial:N", alt.Tooltip(f"{spent}:Q", format=f".{places}f"), alt.Tooltip("auc:Q", format=".4f")],
    )
    line = chart.mark_line(interpolate="step-after", strokeWidth=2.5, style="accent")
    points = chart.mark_point(size=40, opacity=0.9, style="soft")
    return alt.layer(line, points).properties(width=WIDTH, height=HEIGHT // 2)


def flat_lines(values: Mapping[str, float]) -> list[Any]:
    """Return a thin grey line per value."""
    if not values:
        return []
    chart = alt.Chart(pd.DataFrame({"series": list(values), "auc": list(values.values())}))
    return [chart.mark_rule(strokeWidth=1, strokeDash=[2, 3], style="soft").encode(y=alt.Y("auc:Q"))]


def _spread(heights: Sequence[float], apart: float, top: float) -> list[float]:
    """Return ascending heights moved apart: up, but then down where that leaves the top."""
    moved = list(heights)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + apart)
    if moved and moved[-1] > top:
        moved[-1] = top
        for i in range(len(moved) - 1, 0, -1):
            moved[i - 1] = min(moved[i - 1], moved[i] - apart)
    return moved
