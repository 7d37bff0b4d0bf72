"""How well a model tells positives from negatives, before and after training: scores, ROC, precision, reliability."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from tune.report.theme import HEIGHT, WIDTH, Figure

_BINS = 40
_CURVE_POINTS = 200
"""Points of a ROC or precision-recall curve that are drawn: more would not be seen."""
_GROUPS = 10
_PANEL = 300


@dataclass(frozen=True)
class Scored:
    """A model's cosines of the pairs of one side, with their labels. threshold: fitted on validation, if known."""

    name: str
    scores: NDArray[np.float64]
    label: NDArray[np.int8]
    threshold: float | None = None

    @property
    def auc(self) -> float:
        """ROC AUC."""
        return float(roc_auc_score(self.label, self.scores))


def histograms(before: Scored, after: Scored, side: str) -> Figure:
    """Return the cosines of positives and negatives, before training and after, with the thresholds."""
    edges = np.linspace(
        min(before.scores.min(), after.scores.min()), max(before.scores.max(), after.scores.max()), _BINS + 1
    )
    return Figure(
        name="scores",
        title=f"Overlap of positives and negatives: {overlap(before):.0%} before, {overlap(after):.0%} after",
        subtitle=f"cosines of the {len(after.label):,} {side} pairs; dashed: the threshold fitted on validation",
        chart=alt.vconcat(_histogram(before, edges), _histogram(after, edges), spacing=16),
    )


def _histogram(model: Scored, edges: NDArray[np.float64]) -> Any:
    bars = alt.Chart(pd.DataFrame(_bars(model, edges))).mark_area(interpolate="step", opacity=0.45, line=True)
    bars = bars.encode(
        x=alt.X("cosine:Q", axis=alt.Axis(grid=False), title=f"cosine similarity, {model.name}"),
        y=alt.Y("share:Q", stack=None, axis=alt.Axis(format="%"), title="share of the pairs"),
        color=alt.Color(
            "pairs:N",
            scale=alt.Scale(domain=["belong together", "do not"]),
            title=None,
            legend=alt.Legend(orient="top"),
        ),
    )
    rules = pd.DataFrame({"at": [] if model.threshold is None else [model.threshold]}, dtype=float)
    rule = alt.Chart(rules).mark_rule(style="ink", strokeDash=[4, 3]).encode(x="at:Q")
    return alt.layer(bars, rule).properties(width=WIDTH, height=HEIGHT // 3)


def overlap(model: Scored) -> float:
    """Return the share of the two classes' cosines that fall together: 1 if they look the same, 0 if they are apart."""
    edges = np.linspace(model.scores.min(), model.scores.max(), _BINS + 1)
    counts = [np.histogram(model.scores[model.label == label], edges)[0] for label in (0, 1)]
    shares = [count / max(count.sum(), 1) for count in counts]
    return float(np.minimum(*shares).sum())


def curves(before: Scored, after: Scored, side: str) -> Figure:
    """Return ROC and precision-recall curves side by side."""
    roc, precision = [], []
    for model in (before, after):
        false, true, _ = roc_curve(model.label, model.scores)
        right, found, _ = precision_recall_curve(model.label, model.scores)
        roc += [{"model": model.name, "x": x, "y": y} for x, y in _thinned(false, true)]
        precision += [{"model": model.name, "x": x, "y": y} for x, y in _thinned(found, right)]
    names = [before.name, after.name]
    return Figure(
        name="roc",
        title=f"ROC AUC {before.auc:.3f} before, {after.auc:.3f} after",
        subtitle=f"on the {len(after.label):,} {side} pairs",
        chart=alt.hconcat(
            _curve(roc, names, "false positive rate", "true positive rate"),
            _curve(precision, names, "recall", "precision"),
            spacing=40,
        ),
    )


def reliability(after: Scored, side: str) -> Figure:
    """Return the share of positives among pairs of rising cosine: what a score means."""
    order = np.argsort(after.scores, kind="stable")
    rows = []
    for group in np.array_split(order, _GROUPS):
        share, n = float(after.label[group].mean()), len(group)
        half = 1.96 * float(np.sqrt(max(share * (1 - share), 0.25 / n) / n))
        rows.append(
            {
                "cosine": float(after.scores[group].mean()),
                "share": share,
                "low": max(share - half, 0.0),
                "high": min(share + half, 1.0),
                "pairs": n,
            }
        )
    table = pd.DataFrame(rows)
    base = alt.Chart(table).encode(x=alt.X("cosine:Q", scale=alt.Scale(zero=False), title="mean cosine similarity"))
    y = alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"), title="share that belongs together")
    bars = base.mark_rule(style="soft").encode(y=alt.Y("low:Q", scale=alt.Scale(domain=[0, 1])), y2="high:Q")
    line = base.mark_line(style="accent", strokeWidth=2.5).encode(y=y)
    points = base.mark_point(style="accent", filled=True, size=46, opacity=1)
    points = points.encode(
        y=y, tooltip=[alt.Tooltip("cosine:Q", format=".3f"), alt.Tooltip("share:Q", format=".1%"), "pairs:Q"]
    )
    top = rows[-1]
    return Figure(
        name="reliability",
        title=f"Of the tenth of pairs with the highest cosine, {top['share']:.0%} belong together",
        subtitle=f"{after.name}: tenths of the {len(after.label):,} {side} pairs by cosine, with 95% intervals",
        chart=alt.layer(bars, line, points).properties(width=WIDTH, height=HEIGHT // 2),
    )


def _bars(model: Scored, edges: NDArray[np.float64]) -> list[dict[str, Any]]:
    middles = (edges[1:] + edges[:-1]) / 2
    rows = []
    for label, name in ((1, "belong together"), (0, "do not")):
        chosen = model.scores[model.label == label]
        shares = np.histogram(chosen, edges)[0] / max(len(chosen), 1)
        rows += [
            {"model": model.name, "pairs": name, "cosine": float(x), "share": float(y)}
            for x, y in zip(middles, shares, strict=True)
        ]
    return rows


def _curve(rows: list[dict[str, Any]], names: list[str], x: str, y: str) -> Any:
    chart = alt.Chart(pd.DataFrame(rows)).mark_line(strokeWidth=2)
    return chart.encode(
        x=alt.X("x:Q", scale=alt.Scale(domain=[0, 1]), title=x),
        y=alt.Y("y:Q", scale=alt.Scale(domain=[0, 1]), title=y),
        color=alt.Color("model:N", scale=alt.Scale(domain=names), title=None, legend=alt.Legend(orient="top")),
        strokeDash=alt.StrokeDash("model:N", scale=alt.Scale(domain=names, range=[[3, 3], [1, 0]]), legend=None),
    ).properties(width=_PANEL, height=_PANEL)


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return at most _CURVE_POINTS of a curve's points, both ends among them."""
    at = np.unique(np.linspace(0, len(x) - 1, min(len(x), _CURVE_POINTS)).astype(int))
    return [(float(x[i]), float(y[i])) for i in at]
