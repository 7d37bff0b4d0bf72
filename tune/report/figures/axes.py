"""Which settings mattered: validation AUC along each axis that varied, and how much of its spread each explains."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from tune.config.space import point_of
from tune.report.figures.sample import DRAWN, drawn, not_all, spread
from tune.report.story import Story
from tune.report.theme import NARROW, WIDTH, Figure
from tune.train.outcomes import TrialOutcome

_FEWEST = 8
"""Trials below which importances are noise."""
LOGARITHMIC = ("learning_rate", "weight_decay")
_PANEL, _SPACING, _LABELS = 150, 24, 44
"""Height of a panel, and pixels between panels and for the labels of an axis."""


def slices(story: Story) -> Figure | None:
    """Return a panel per axis that varied: validation AUC of every trial against its value."""
    points = points_of(story.trials)
    axes = varied(points)
    if not axes:
        return None
    columns = 4 if len(axes) % 3 == 1 else 3  # no panel alone in the last row
    width = (WIDTH - _SPACING * (columns - 1)) // columns - _LABELS
    shown = points_of(drawn(story))
    panels = [_panel(shown, axis).properties(width=width, height=_PANEL) for axis in axes]
    rows = [alt.hconcat(*panels[i : i + columns], spacing=_SPACING) for i in range(0, len(panels), columns)]
    return Figure(
        name="axes",
        title=f"{len(points)} trials along the {len(axes)} setting{'s' if len(axes) > 1 else ''} that varied",
        subtitle=f"validation ROC AUC of each trial's best report{not_all(story)}",
        chart=alt.vconcat(*rows, spacing=_SPACING),
    )


def importances(story: Story) -> Figure | None:
    """Return how much of the spread of validation AUC each axis explains, by fANOVA; None with few trials."""
    every = points_of(story.trials)
    points = spread(every, DRAWN)
    shares = explained(points)
    if not shares:
        return None
    rows = pd.DataFrame([{"axis": axis, "share": share} for axis, share in shares.items()])
    first = max(shares, key=lambda axis: shares[axis])
    y = alt.Y("axis:N", sort=list(rows.sort_values("share", ascending=False)["axis"]), title=None)
    x = alt.X("share:Q", axis=alt.Axis(format="%", grid=False, tickCount=5), title=None)
    chart = alt.Chart(rows).encode(x=x, y=y)
    text = chart.mark_text(align="left", dx=6, style="soft").encode(text=alt.Text("share:Q", format=".0%"))
    return Figure(
        name="importances",
        title=f"{first} explains {shares[first]:.0%} of the spread between trials",
        subtitle="share of the variance of validation AUC (fANOVA); an interaction counts towards each of its settings"
        + (f"; by {len(points)} of the {len(every):,} trials" if len(points) < len(every) else ""),
        chart=alt.layer(chart.mark_bar(height=14, style="accent"), text).properties(
            width=WIDTH - 140, height=26 * len(rows)
        ),
        least=NARROW,
    )


def explained(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return each varied axis's share of the variance, 0 to 1; {} if there are too few trials or nothing varied."""
    axes = varied(points)
    if len(points) < _FEWEST or not axes or len({point["auc"] for point in points}) == 1:
        return {}
    distributions = {axis: _distribution([point[axis] for point in points]) for axis in axes}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for point in points:
        params = {axis: _value(point[axis]) for axis in axes}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=point["auc"]))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def points_of(trials: Sequence[TrialOutcome]) -> list[dict[str, Any]]:
    return [
        {"trial": trial.trial, "auc": trial.best.auc, **point_of(trial.config)}
        for trial in trials
        if trial.best is not None
    ]


def varied(points: Sequence[dict[str, Any]]) -> list[str]:
    """Return the axes with more than one value that every trial has."""
    shared = [axis for axis in (points[0] if points else {}) if all(axis in point for point in points)]
    return [axis for axis in shared if axis not in ("trial", "auc") and len({str(point[axis]) for point in points}) > 1]


def _panel(points: Sequence[dict[str, Any]], axis: str) -> Any:
    numeric = all(isinstance(point[axis], float) for point in points)
    rows = pd.DataFrame(
        [{"trial": one["trial"], "auc": one["auc"], axis: one[axis] if numeric else str(one[axis])} for one in points]
    )
    logarithmic = axis in LOGARITHMIC and numeric and rows[axis].min() > 0
    x = (
        alt.X(
            f"{axis}:Q",
            scale=alt.Scale(type="log", nice=False, padding=8)
            if logarithmic
            else alt.Scale(zero=False, nice=False, padding=8),
            axis=alt.Axis(grid=False, format="~e" if logarithmic else "", tickCount=3),
        )
        if numeric
        else alt.X(f"{axis}:N", sort=in_order(rows[axis]), axis=alt.Axis(grid=False, labelAngle=-40, labelLimit=90))
    )
    y = alt.Y("auc:Q", scale=alt.Scale(zero=False), title=None)
    chart = alt.Chart(rows).mark_point(filled=True, opacity=0.55, size=26, style="accent")
    return chart.encode(x=x, y=y, tooltip=["trial:N", axis, "auc:Q"])


def in_order(values: Iterable[str]) -> list[str]:
    """Return distinct values, numbers by size."""
    return sorted(set(values), key=lambda text: (0, float(text), "") if text.isdigit() else (1, 0.0, text))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    if all(isinstance(value, float) for value in values) and len(set(values)) > 2:
        low, high = min(values), max(values)
        return FloatDistribution(low, high, log=low > 0 and math.log10(high / low) > 1)
    return CategoricalDistribution(tuple(sorted({_value(value) for value in values}, key=str)))


def _value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
