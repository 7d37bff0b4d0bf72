"""The picture on a model card: one trial beside the untouched models, each with its interval on test."""

from typing import Any

import altair as alt
import pandas as pd

from tune.report.figures.marks import padded
from tune.report.story import Line, Story
from tune.report.theme import WIDTH, Figure

_ROW = 34
"""Height of a model's row in pixels."""


def beside(story: Story, trial: str) -> Figure | None:
    """Return a trial's test AUC (at each of its dims) beside the untouched models'; None if test has not scored it.

    The trial comes first, then the untouched models as in the leaderboard, by validation: never ordered by test.
    """
    own = [line for line in story.trained if line.trial == trial and line.get("test_auc") is not None]
    untouched = [line for line in story.baselines if line.get("test_auc") is not None]
    if not own or not untouched or not story.praised:
        return None
    rows = pd.DataFrame([_row(line) for line in [*own, *untouched]])
    synthetic = ", on synthetic pairs" if story.data.get("synthetic") else ""
    pairs = f" on {story.test_pairs:,} pairs" if story.test_pairs else ""
    return Figure(
        name="card",
        title=_title(own[0], story),
        subtitle=f"test ROC AUC{pairs}{synthetic}; bars are 95% intervals",
        chart=_chart(rows),
    )


def _title(line: Line, story: Story) -> str:
    gain = story.gain(line)
    if gain is None:
        return f"This model has a test ROC AUC of {line.get('test_auc'):.3f}"
    points, low, high = (100 * value for value in (gain.delta, gain.low, gain.high))
    if not gain.clear:
        return (
            f"No clear difference from untouched {line.base_model}: {points:+.1f} points of AUC [{low:.1f}, {high:.1f}]"
        )
    did, over = ("gains", "over") if points > 0 else ("loses", "against")
    ends = sorted((abs(low), abs(high)))
    interval = f"[{ends[0]:.1f}, {ends[1]:.1f}]"
    return f"Training {did} {abs(points):.1f} points of AUC {over} untouched {line.base_model} {interval}"


def _row(line: Line) -> dict[str, Any]:
    auc = float(line.get("test_auc"))
    low, high = (line.get(name) for name in ("test_auc_low", "test_auc_high"))
    dims = f", {line.get('dims')} dims" if line.get("dims") else ""
    name = f"{line.base_model}{_kind(line)}" if line.is_baseline else f"this model{dims}"
    return {
        "name": name,
        "auc": auc,
        "low": auc if low is None else low,
        "high": auc if high is None else high,
        "text": f"{auc:.3f}",
        "own": not line.is_baseline,
    }


def _kind(line: Line) -> str:
    return "" if line.trains == "words" else f", {line.trains}"


def _chart(rows: pd.DataFrame) -> Any:
    y = alt.Y("name:N", sort=list(rows["name"]), title=None, axis=alt.Axis(labelLimit=260, grid=False))
    x = alt.X(
        "auc:Q",
        title="test ROC AUC",
        axis=alt.Axis(tickCount=6),
        scale=alt.Scale(domain=padded([*rows["low"], *rows["high"]]), nice=False, zero=False),
    )
    layers = []
    for own, style in ((True, "accent"), (False, "soft")):
        chart = alt.Chart(rows[rows["own"] == own])
        layers += [
            chart.mark_rule(strokeWidth=2, style=style).encode(y=y, x=alt.X("low:Q"), x2="high:Q"),
            chart.mark_point(filled=True, size=80, opacity=1, style=style).encode(y=y, x=x),
            chart.mark_text(dy=-11, fontSize=12, style=style).encode(y=y, x=x, text="text:N"),
        ]
    return alt.layer(*layers).properties(width=WIDTH, height=_ROW * len(rows) + 10)
