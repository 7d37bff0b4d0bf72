"""ROC and precision-recall curves of the winner, its own untouched base model and the other untouched models."""

import heapq
import math
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from tune.metrics.intervals import ComponentBootstrap, Difference, Resampled
from tune.metrics.precision import PrecisionAtRecall
from tune.report.figures.separation import TONES
from tune.report.scored import Model, Side
from tune.report.story import Story
from tune.report.theme import NARROW, Figure

POINTS, _FINEST = 300, 5e-4
"""Of a drawn curve, at most, and the distance that cannot be seen, as a share of the panel."""
OTHERS = 4
"""Untouched models drawn beside the winner's own: more could not be told apart."""
RECALL, FIRST = 0.9, 0.02
"""The recall at which precisions are compared, and that from which on they are drawn: before it, a few pairs decide."""
_DRAWS, _FEWER_DRAWS, _MANY = 300, 100, 20_000
"""Draws for an interval, and how many if there are many pairs, which take a hundredth of a second each."""
_FEWEST_COMPONENTS = 50
_PANEL = 400
_LINE = 0.055
"""Height of a line of the list of names, as a share of the panel."""
_DASHES = ([1, 0], [5, 3], [2, 2], [8, 3, 2, 3], [10, 4], [1, 3])


@dataclass(frozen=True)
class _Drawn:
    """A model as it is drawn: tone (after, before or other), its number, which decides the dash, and its list entry."""

    model: Model
    tone: str
    number: int
    name: str


def roc(story: Story, side: Side) -> Figure:
    """Return the ROC curves, on test with the AUCs of the leaderboard; out of fold, the table has corrected ones."""
    drawn, rows = _models(side), []
    for one in drawn:
        false, true, _ = roc_curve(one.model.positive, one.model.scores)
        rows += _rows(one, false, true)
    values = [None if side.name == "folds" else one.model.line.get("test_auc") for one in drawn]
    title, difference = _roc_title(story, side)
    texts = [
        one.name if value is None else f"{one.name}  {value:.3f}" for one, value in zip(drawn, values, strict=True)
    ]
    diagonal = alt.Chart(pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]}))
    layers = [diagonal.mark_line(style="soft", strokeWidth=1, opacity=0.5).encode(x="x:Q", y="y:Q")]
    layers += _curves(rows, drawn, "false positive rate", "true positive rate")
    layers += _list(drawn, texts, top=_LINE * (len(drawn) + 0.2), right=True)
    return Figure(
        name="roc",
        title=title,
        subtitle=_about(side, len(drawn), f"ROC AUC beside the names{difference}" if any(values) else ""),
        chart=_panel(layers),
        half=True,
        least=NARROW,
    )


def precision_recall(story: Story, side: Side) -> Figure:
    """Return the precision-recall curves with the base rate."""
    drawn, rows, marks = _models(side), [], []
    for one in drawn:
        precision, recall, _ = precision_recall_curve(one.model.positive, one.model.scores)
        kept = recall >= FIRST
        rows += _rows(one, recall[kept], precision[kept])
        marks.append(PrecisionAtRecall(one.model.scores, one.model.positive, RECALL).value)
    texts = [f"{one.name}  {value:.2f}" for one, value in zip(drawn, marks, strict=True)]
    share = float(side.positive.mean())
    base = alt.Chart(pd.DataFrame({"y": [share], "text": [f"base rate {share:.0%}"]}))
    layers = [
        base.mark_rule(strokeWidth=1, strokeDash=[2, 3], style="soft").encode(y="y:Q"),
        base.mark_text(align="right", baseline="top", dx=-4, dy=4, fontSize=12, style="soft").encode(
            x=alt.datum(RECALL), y="y:Q", text="text:N"
        ),
        alt.Chart(pd.DataFrame({"x": [RECALL]})).mark_rule(strokeWidth=1, opacity=0.4, style="ink").encode(x="x:Q"),
    ]
    layers += _curves(rows, drawn, "recall", "precision")
    top, right = _free_place(rows, share, texts)
    layers += _list(drawn, texts, top, right=right)
    title, difference = _precision_title(story, side, marks)
    return Figure(
        name="precision-recall",
        title=title,
        subtitle=_about(
            side, len(drawn), f"from {FIRST:.0%} recall on; precision at {RECALL:.0%} beside the names{difference}"
        ),
        chart=_panel(layers),
        half=True,
        least=NARROW,
    )


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], points: int = POINTS) -> NDArray[np.int64]:
    """Return the indices of at most so many points of a curve, both ends among them, that draw the same picture.

    Douglas and Peucker (1973), the farthest point first, until none is farther than _FINEST from the drawn line.
    """
    kept = [0, len(x) - 1]
    left = [_farthest(x, y, 0, len(x) - 1)]
    while left and len(kept) < points and -left[0][0] > _FINEST:
        _, i, start, end = heapq.heappop(left)
        kept.append(i)
        for piece in ((start, i), (i, end)):
            heapq.heappush(left, _farthest(x, y, *piece))
    return np.unique(kept)


def _farthest(x: NDArray[np.float64], y: NDArray[np.float64], start: int, end: int) -> tuple[float, int, int, int]:
    """Return the negative distance of the point farthest from the line between two others, its index, and theirs."""
    if end - start < 2:
        return 0.0, start, start, end
    across, up = x[start + 1 : end] - x[start], y[start + 1 : end] - y[start]
    dx, dy = x[end] - x[start], y[end] - y[start]
    length = math.hypot(dx, dy)
    distance = np.abs(dx * up - dy * across) / length if length else np.hypot(across, up)
    i = int(distance.argmax())
    return -float(distance[i]), start + 1 + i, start, end


def _models(side: Side) -> list[_Drawn]:
    main = [("after", side.after)] if side.after else []
    chosen = [*main, ("before", side.before), *(("other", one) for one in side.others[:OTHERS])]
    return [_Drawn(model, tone, number, model.name) for number, (tone, model) in enumerate(chosen)]


def _rows(one: _Drawn, x: NDArray[np.float64], y: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [
        {"x": round(float(x[i]), 4), "y": round(float(y[i]), 4), "m": one.number, "tone": one.tone}
        for i in thinned(x, y).tolist()
    ]


def _curves(rows: list[dict[str, Any]], drawn: list[_Drawn], x_title: str, y_title: str) -> list[Any]:
    table = pd.DataFrame(rows).assign(place=range(len(rows)))
    x = alt.X(
        "x:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5, grid=False), title=x_title
    )
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5), title=y_title)
    base = alt.Chart(table).encode(x=x, y=y, order="place:Q", detail="m:N", strokeDash=_dash(drawn))
    return [
        base.transform_filter("datum.tone === 'other'").mark_line(strokeWidth=1, style="soft"),
        base.transform_filter("datum.tone === 'before'").mark_line(strokeWidth=2).encode(color=_colour()),
        base.transform_filter("datum.tone === 'after'").mark_line(strokeWidth=2.6).encode(color=_colour()),
    ]


def _list(drawn: list[_Drawn], texts: list[str], top: float, *, right: bool = False) -> list[Any]:
    """Return the names with a piece of each line, from the height `top` down, at the side where no curve runs."""
    x, end = (0.92, 0.98) if right else (0.02, 0.08)
    beside: dict[str, Any] = {"align": "right", "dx": -6} if right else {"align": "left", "dx": 6}
    heights = [top - _LINE * (place + 0.5) for place in range(len(drawn))]
    rows = pd.DataFrame({"text": texts, "y": heights, "x": x, "end": end, "m": [one.number for one in drawn]}).assign(
        tone=[one.tone for one in drawn]
    )
    found = []
    for tone, width in (("other", 1.0), ("before", 2.0), ("after", 2.6)):
        style = "soft" if tone == "other" else "ink"
        base = alt.Chart(rows[rows["tone"] == tone]).encode(y="y:Q")
        if not (rows["tone"] == tone).any():
            continue
        piece = base.mark_rule(strokeWidth=width, style=style).encode(x="x:Q", x2="end:Q", strokeDash=_dash(drawn))
        text = base.mark_text(fontSize=12, style=style, **beside).encode(x="x:Q" if right else "end:Q", text="text:N")
        found += [piece, text] if tone == "other" else [piece.encode(color=_colour()), text.encode(color=_colour())]
    return found


def _free_place(rows: list[dict[str, Any]], share: float, texts: list[str]) -> tuple[float, bool]:
    """Return the top of a list of names beside the curves, and whether it is at the right: where the fewest points are.

    Models that are good leave room below, at the left; where positives are rare, above at the right.
    """
    high, wide = _LINE * len(texts), [0.1 + len(text) * 6.4 / _PANEL for text in texts]
    # At the bottom, with the line of the base rate between two names.
    between = share + max(math.ceil((high - share) / _LINE), 0) * _LINE
    places = [(share - _LINE / 2, False), (share + high + _LINE / 2, False), (1.0, True), (between, False)]
    x = np.array([*(row["x"] for row in rows), *np.linspace(0, 1, 50)])
    y = np.array([*(row["y"] for row in rows), *np.full(50, share)])

    def crossed(place: tuple[float, bool]) -> int:
        top, right = place
        if top < high or top > 1:
            return len(x)
        heights = [top - _LINE * line for line in range(len(texts))]
        return sum(
            int(
                (
                    (x > 1 - reach if right else x < reach) & (y < height - _LINE / 5) & (y > height - _LINE * 4 / 5)
                ).sum()
            )
            for height, reach in zip(heights, wide, strict=True)
        )

    return min(places, key=crossed)


def _dash(drawn: list[_Drawn]) -> alt.StrokeDash:
    domain = [one.number for one in drawn]
    return alt.StrokeDash("m:N", scale=alt.Scale(domain=domain, range=list(_DASHES[: len(domain)])), legend=None)


def _colour() -> alt.Color:
    return alt.Color("tone:N", scale=alt.Scale(domain=TONES), legend=None)


def _panel(layers: list[Any]) -> Any:
    return alt.layer(*layers).properties(width=_PANEL, height=_PANEL)


def _about(side: Side, shown: int, values: str) -> str:
    left = len(side.others) + 1 + (side.after is not None) - shown
    more = f"the {OTHERS} other untouched models that are best by validation" if left else ""
    return "; ".join(part for part in (f"{len(side):,} {side.label} pairs", values, more, side.optimistic) if part)


def _roc_title(story: Story, side: Side) -> tuple[str, str]:
    """Return the title, and what the subtitle says about the difference."""
    if side.after is None or side.name == "folds" or not story.praised:
        return "ROC curves" + (" out of fold" if side.name == "folds" else ""), ""
    before, after = (model.line.get("test_auc") for model in (side.before, side.after))
    if before is None or after is None:
        return "ROC curves before and after training", ""
    gain = story.gain(side.after.line)
    if gain is None:
        return f"ROC AUC: {before:.4f} before, {after:.4f} after", ""
    between = f"; difference {gain.delta:+.4f} [{gain.low:.4f}, {gain.high:.4f}]"
    return f"ROC AUC{_change(before, after, gain.side, 4)}", between


def _precision_title(story: Story, side: Side, values: list[float]) -> tuple[str, str]:
    """Return the title, and what the subtitle says about the difference."""
    name = f"Precision at {RECALL:.0%} recall"
    if side.after is None or not story.praised:
        return f"{name} is {values[0]:.2f}" if side.after is None else name, ""
    found = _difference(side, side.after)
    if found is None or found.low is None or found.high is None:
        return f"{name}: {values[1]:.2f} before, {values[0]:.2f} after", ""
    between = f"; difference {found.delta:+.2f} [{found.low:.2f}, {found.high:.2f}]"
    side_of_0 = 1 if found.low > 0 else -1 if found.high < 0 else 0
    return f"{name}{_change(values[1], values[0], side_of_0, 2)}", between


def _difference(side: Side, after: Model) -> Difference | None:
    """Return precision after minus before, over components of linked pairs; None if these are unknown or too few.

    Out of fold the choice among trials would have to be repeated too.
    """
    if side.component is None or side.name == "folds":
        return None
    sizes = np.unique(side.component, return_counts=True)[1]
    if len(sizes) < _FEWEST_COMPONENTS or sizes.max() > 0.05 * len(side):
        return None
    draws = _DRAWS if len(side) < _MANY else _FEWER_DRAWS
    bootstrap = ComponentBootstrap(side.positive.astype(np.int8), side.component, draws)
    both = [PrecisionAtRecall(model.scores, model.positive, RECALL) for model in (after, side.before)]
    # At once: to make a draw takes longer than to use it.
    found = np.array([[one.weighted(weights) for one in both] for weights in bootstrap.weights()])
    new, old = (Resampled(one.value, found[:, i], one.influence()) for i, one in enumerate(both))
    return bootstrap.difference_of(new, old)


def _change(before: float, after: float, side: int, places: int) -> str:
    """Return how a number changes. side: on which side of 0 the difference is for sure, 0 for neither."""
    if not side:
        return f": {before:.{places}f} before, {after:.{places}f} after, no clear change"
    return f" {'rises' if side > 0 else 'falls'} from {before:.{places}f} to {after:.{places}f}"
