"""Parallel coordinates: a line per trial through all settings that varied, to its validation AUC."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from tune.report.figures.axes import LOGARITHMIC, in_order, points_of, varied
from tune.report.figures.sample import drawn, not_all
from tune.report.story import Story
from tune.report.theme import HEIGHT, NARROW, WIDTH, Figure

_AUC = "val AUC"
_FEWEST = 10
"""Trials below which nothing is said about what the best of them share."""
_COMMON = 0.8
"""Share of all trials from which on a value says nothing about the best."""
_CATEGORIES = 8
"""Whole numbers with more values than this are drawn by size, others at equal distances."""
_APART = 96
"""Pixels between two axes at least."""
_WEAK = 0.1
"""Share of the weakest trials that are drawn at the end of the axis of AUC, so that they do not squeeze the others."""


def parallel(story: Story) -> Figure | None:
    """Return a line per trial with an AUC across the settings that varied, the best on top.

    None with fewer than two trials, or with one setting, whose panel says as much.
    """
    points = sorted(points_of(story.trials), key=lambda point: float(point["auc"]))
    names = {line.get("base_model"): line.base_model for line in story.lines}
    for point in points:
        point["base_model"] = names.get(point["base_model"], point["base_model"])
    axes = varied(points)
    if len(points) < 2 or len(axes) < 2:
        return None
    winner = (story.summary.get("winner") or {}).get("trial")
    shown = {trial.trial for trial in drawn(story)}
    return Figure(
        name="parallel-coordinates",
        title=_title(points, axes),
        subtitle="a line per trial through its settings to its validation AUC; the stronger its colour, the better"
        + ("; the thick line is the winner" if winner else "")
        + not_all(story),
        chart=_chart([point for point in points if point["trial"] in shown], axes, winner),
        least=max(NARROW, _APART * (len(axes) + 1)),
    )


def shared_by_best(points: Sequence[dict[str, Any]], axes: Sequence[str]) -> tuple[int, list[str]]:
    """Return how many trials are the best tenth (at least 3), and what all of them share that not most trials have."""
    ranked = sorted(points, key=lambda point: -float(point["auc"]))
    best = ranked[: max(3, len(points) // 10)]
    found = []
    for axis in axes:
        values = {str(point[axis]) for point in best}
        everywhere = sum(str(point[axis]) in values for point in points) / len(points)
        if len(values) == 1 and everywhere < _COMMON:
            found.append(f"{axis} {best[0][axis]}")
        elif _numeric(points, axis):
            low, high = min(point[axis] for point in best), max(point[axis] for point in best)
            if sum(low <= point[axis] <= high for point in points) / len(points) < _COMMON / 2:
                found.append(f"a {axis} from {low:.2g} to {high:.2g}")
    return len(best), found


def _title(points: Sequence[dict[str, Any]], axes: Sequence[str]) -> str:
    settings = f"{len(axes)} settings"
    if len(points) < _FEWEST:
        return f"{len(points)} trials across the {settings} that varied"
    count, found = shared_by_best(points, axes)
    if not found:
        return f"The best {count} of {len(points)} trials share none of the {settings} that varied"
    shared = ", ".join(found[:-1]) + f" and {found[-1]}" if len(found) > 1 else found[0]
    return f"The best {count} of {len(points)} trials share {shared}"


def _numeric(points: Sequence[dict[str, Any]], axis: str) -> bool:
    values = [point[axis] for point in points]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return False
    return any(isinstance(value, float) for value in values) or len(set(values)) > _CATEGORIES


def _scaled(points: Sequence[dict[str, Any]], axis: str) -> tuple[list[float], list[tuple[float, str]]]:
    """Return each trial's place on an axis, 0 to 1, and the axis's ticks as (place, text)."""
    if _numeric(points, axis):
        return _by_size([float(point[axis]) for point in points], axis in LOGARITHMIC)
    values = [str(point[axis]) for point in points]
    names = in_order(values)
    gap = 1 / len(names)
    middle = {name: gap * (place + 0.5) for place, name in enumerate(names)}
    # Fanned out within a value by AUC (the points are in its order), so that no line hides the others.
    seen, of = dict.fromkeys(names, 0), {name: values.count(name) for name in names}
    places = []
    for name in values:
        offset = (seen[name] + 0.5) / of[name] - 0.5
        places.append(middle[name] + offset * min(gap * 0.5, 0.012 * (of[name] - 1)))
        seen[name] += 1
    return places, [(middle[name], name) for name in names]


def _by_size(values: Sequence[float], logarithmic: bool) -> tuple[list[float], list[tuple[float, str]]]:
    if logarithmic and min(values) > 0:
        values = [math.log10(value) for value in values]
        low, high = min(values), max(values)
        ticks = [low, high] if high - low < 1 else [low, *range(math.ceil(low + 0.3), math.ceil(high - 0.3)), high]
        texts = [f"{10**tick:.2g}" for tick in ticks]
    else:
        low, high = min(values), max(values)
        ticks = [low, (low + high) / 2, high]
        texts = [f"{tick:.3g}" for tick in ticks]
    span = (high - low) or 1.0
    return [(value - low) / span for value in values], [
        ((tick - low) / span, text) for tick, text in zip(ticks, texts, strict=True)
    ]


def _auc(points: Sequence[dict[str, Any]]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return the places of the AUCs, the weakest ones at 0; the points are in order of AUC."""
    aucs = [float(point["auc"]) for point in points]
    low, high = aucs[int(len(aucs) * _WEAK)], aucs[-1]
    span = (high - low) or 1.0
    cut = "≤ " if aucs[0] < low else ""
    ticks = [(0.0, f"{cut}{low:.3f}"), (0.5, f"{low + span / 2:.3f}"), (1.0, f"{high:.3f}")]
    return [max(0.0, (auc - low) / span) for auc in aucs], ticks


def _chart(points: Sequence[dict[str, Any]], axes: Sequence[str], winner: str | None) -> Any:
    names = [*axes, _AUC]
    scaled = {**{axis: _scaled(points, axis) for axis in axes}, _AUC: _auc(points)}
    rows = pd.DataFrame({axis: [round(place, 4) for place in places] for axis, (places, _) in scaled.items()})
    rows.insert(0, "trial", [point["trial"] for point in points])
    rows["auc"] = [round(float(point["auc"]), 5) for point in points]
    # By rank, not by AUC, which most trials of a good search share within a point.
    rows["strength"] = [round((place / (len(points) - 1)) ** 2, 4) for place in range(len(points))]
    ticks = pd.DataFrame([(axis, *tick) for axis in names for tick in scaled[axis][1]], columns=["axis", "y", "text"])
    x = alt.X("axis:N", sort=names, title=None, scale=alt.Scale(padding=0.55), axis=_AXIS)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, 1], nice=False), axis=None)
    thin, opacity = (2.0, 0.9) if len(points) <= 12 else (1.4, 0.7) if len(points) <= 100 else (0.8, 0.55)
    base = alt.Chart(rows).transform_fold(list[Any](names), as_=["axis", "y"])
    tooltip = ["trial:N", alt.Tooltip("auc:Q", format=".4f")]
    lines = base.mark_line(strokeWidth=thin, strokeOpacity=opacity, interpolate="monotone").encode(
        x=x, y=y, detail="trial:N", color=alt.Color("strength:Q", legend=None), tooltip=tooltip
    )
    best = base.transform_filter(alt.datum.trial == winner).encode(x=x, y=y)
    thick = best.mark_line(strokeWidth=3.2, interpolate="monotone", style="warn")
    dots = best.mark_point(filled=True, size=46, opacity=1, style="warn")
    rules = alt.Chart(pd.DataFrame({"axis": names, "y": 0.0, "end": 1.0}))
    rules = rules.mark_rule(strokeWidth=1, opacity=0.55, style="soft").encode(x=x, y=y, y2="end:Q")
    limit = round(WIDTH / len(names)) - 8
    labels = alt.Chart(ticks).encode(x=x, y=y, text="text:N")
    texts = [labels.mark_text(align="right", dx=-7, fontSize=12, limit=limit, style=style) for style in ("halo", "ink")]
    winning = [thick, dots] if winner else []
    return alt.layer(lines, rules, *winning, *texts).properties(width=WIDTH, height=HEIGHT)


_AXIS = alt.Axis(orient="top", labelAngle=0, labelFontSize=13, labelPadding=14, grid=False)
