"""How well scores tell positives from negatives before and after training: their histograms, and what a score means."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from tune.report.scored import Model, Side
from tune.report.story import Story
from tune.report.theme import HEIGHT, NARROW, WIDTH, Figure

FEWEST_BINS, MOST_BINS = 12, 50
_PER_GROUP, _FEWEST_GROUPS, _MOST_GROUPS = 40, 4, 20
"""Pairs in a point of the reliability line, at least, and how many points there are."""
_TOP = 0.1
_FEW_COMPONENTS = 10
"""Components below which their differences say little about how alike linked pairs are."""
_Z = 1.959964
"""Of a 95% interval."""
TONES = ["after", "before", "negatives", "positives"]
"""What has a colour of its own in these figures, in the order of the palette."""


def histograms(story: Story, side: Side) -> Figure:
    """Return the scores of positives and negatives before training and after, with the thresholds."""
    models = {"Before": side.before, **({"After": side.after} if side.after else {})}
    low, high = (pick(pick(model.scores) for model in models.values()) for pick in (min, max))
    edges = np.linspace(low, high, int(np.clip(np.sqrt(len(side)), FEWEST_BINS, MOST_BINS)) + 1)
    shares = {when: _shares(model, edges) for when, model in models.items()}
    top = max(row["share"] for rows in shares.values() for row in rows)
    panels = [_panel(when, model, pd.DataFrame(shares[when]), top * 1.08) for when, model in models.items()]
    positives = int(side.positive.sum())
    # A shared threshold was not fitted on test; out of fold it was, on these very pairs.
    fitted = "on these pairs" if side.name == "folds" else "on validation"
    return Figure(
        name="scores",
        title=_errors_title(story, side),
        subtitle=f"{len(side):,} {side.label} pairs, {positives:,} of them positive; each class adds up to 100%;"
        f" dashed: the threshold with the best accuracy, fitted {fitted}",
        chart=alt.vconcat(*panels, spacing=14) if len(panels) > 1 else panels[0],
        least=NARROW,
    )


def reliability(story: Story, side: Side) -> Figure:
    """Return the share of positives among pairs of rising score, before training and after."""
    models = {"before": side.before, **({"after": side.after} if side.after else {})}
    rows = pd.DataFrame([{"when": when, **one} for when, model in models.items() for one in groups(side, model)])
    top = {when: float(model.positive[_top(model)].mean()) for when, model in models.items()}
    title = f"Of the 10% of pairs with the highest scores, {top['before']:.0%} are positive"
    if "after" in top:
        title = f"Of the 10% of pairs with the highest scores, {top['after']:.0%} are positive after training"
        title += f", {top['before']:.0%} before"
    return Figure(
        name="reliability",
        title=title if story.praised else "Share of positives by score",
        subtitle=f"share of positives among {side.label} pairs of about the same score, in groups of about equal size,"
        f" with 95% intervals{'' if side.component is None else ' that allow for shared texts'}; of the top 10%:"
        f" {_top_intervals(side, models)}{f'; {side.optimistic}' if side.optimistic else ''}",
        chart=_lines(rows, float(side.positive.mean())),
        room=60,
        least=NARROW,
    )


def groups(side: Side, model: Model) -> list[dict[str, float]]:
    """Return groups of equal size by score: mean score, share of positives with its interval, pairs.

    Pairs of equal score are in one group. Wilson's interval (1927) for as many independent pairs as the linked ones
    are worth: their number over the design effect (Kish 1965), see `_independent`.
    """
    count = int(np.clip(len(side) // _PER_GROUP, _FEWEST_GROUPS, _MOST_GROUPS))
    place = ((rankdata(model.scores) - 0.5) / len(side) * count).astype(int)
    found = []
    for group in np.unique(place):
        at = place == group
        share, n = float(model.positive[at].mean()), int(at.sum())
        middle, half = _interval(side, model, at)
        found.append(
            {
                "score": round(float(model.scores[at].mean()), 4),
                "share": round(share, 4),
                "low": round(max(middle - half, 0.0), 4),
                "high": round(min(middle + half, 1.0), 4),
                "pairs": n,
            }
        )
    return found


def _errors_title(story: Story, side: Side) -> str:
    wrong = int(side.before.wrong.sum())
    if side.before.threshold is None or not story.praised:
        return "Scores of positives and negatives"
    if side.after is None or side.after.threshold is None:
        return f"At the threshold, {wrong:,} of {len(side):,} pairs are wrong"
    repaired, broken = (int(one.sum()) for one in side.changed)
    new = f"{broken:,} new one{'' if broken == 1 else 's'}" if broken else "no new ones"
    if not wrong:
        return f"At the threshold, there is no error to repair, and training makes {new}"
    return f"At the threshold, training repairs {repaired:,} of {wrong:,} errors and makes {new}"


def _shares(model: Model, edges: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return the outline of each class's histogram: shares of the class, zero beyond both ends."""
    step = edges[1] - edges[0]
    middles = np.concatenate([[edges[0] - step / 2], (edges[1:] + edges[:-1]) / 2, [edges[-1] + step / 2]])
    rows = []
    for pairs, chosen in (("positives", model.positive), ("negatives", ~model.positive)):
        counts = np.histogram(model.scores[chosen], edges)[0]
        shares = np.concatenate([[0.0], counts / chosen.sum(), [0.0]])
        rows += [
            {"pairs": pairs, "score": round(float(x), 5), "share": round(float(y), 5)}
            for x, y in zip(middles, shares, strict=True)
        ]
    return rows


def _panel(when: str, model: Model, rows: pd.DataFrame, top: float) -> Any:
    low, high = float(rows["score"].min()), float(rows["score"].max())
    axis = alt.Axis(grid=False, tickCount=8)
    x = alt.X("score:Q", scale=alt.Scale(domain=[low, high], nice=False), axis=axis)
    x = x.title("cosine similarity" if when == "After" else None)
    y = alt.Y(
        "share:Q",
        stack=None,
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(format=".0%", tickCount=3, minExtent=44),
        title="share of the class",
    )
    # The same in all panels: the chart then has one.
    legend = alt.Legend(orient="top", values=["negatives", "positives"], symbolOpacity=1)
    colour = alt.Color("pairs:N", scale=alt.Scale(domain=TONES), title=None, legend=legend)
    tooltip = ["pairs:N", alt.Tooltip("score:Q", format=".3f"), alt.Tooltip("share:Q", format=".1%")]
    area = alt.Chart(rows).mark_area(interpolate="step", opacity=0.3, line={"strokeWidth": 1.6})
    layers = [area.encode(x=x, y=y, color=colour, tooltip=tooltip)]
    if model.threshold is not None and low < model.threshold < high:
        layers += _threshold(model.threshold, right=model.threshold > (low + high) / 2)
    wrong = int(model.wrong.sum())
    counted = f"{wrong:,} of {len(model.wrong):,} wrong ({wrong / len(model.wrong):.1%})"
    counted += f": {model.one_sided}" if model.one_sided else ""
    lines = [f"{when} training: {model.name}", *([] if model.threshold is None else [counted])]
    title = alt.Title(lines, fontSize=13, fontWeight=400, anchor="start", offset=6)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT // 3, title=title)


def _threshold(at: float, *, right: bool) -> list[Any]:
    chart = alt.Chart(pd.DataFrame({"score": [at], "text": [f"threshold {at:.3f}"]}))
    at_left: dict[str, Any] = {"align": "right", "dx": -6} if right else {"align": "left", "dx": 6}
    text = chart.mark_text(baseline="top", fontSize=12, style="ink", **at_left)
    return [
        chart.mark_rule(style="ink", strokeDash=[4, 3]).encode(x="score:Q"),
        text.encode(x="score:Q", y=alt.value(2), text="text:N"),
    ]


def _lines(rows: pd.DataFrame, share: float) -> Any:
    x = alt.X("score:Q", scale=alt.Scale(zero=False, nice=False, padding=12), axis=alt.Axis(grid=False, tickCount=8))
    x = x.title("mean cosine of the group")
    y = alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5))
    y = y.title("share of positives")
    colour = alt.Color("when:N", scale=alt.Scale(domain=TONES), legend=None)
    dash = alt.StrokeDash("when:N", scale=alt.Scale(domain=["after", "before"], range=[[1, 0], [5, 3]]), legend=None)
    shape = alt.Shape("when:N", scale=alt.Scale(domain=["after", "before"], range=["circle", "square"]), legend=None)
    tooltip = ["when:N", alt.Tooltip("score:Q", format=".3f"), alt.Tooltip("share:Q", format=".1%"), "pairs:Q"]
    base = alt.Chart(rows).encode(x=x, color=colour)
    ends = rows.groupby("when", sort=False).tail(1)
    heights = _apart(ends["share"].tolist())
    names = alt.Chart(ends.assign(at=heights)).mark_text(align="left", dx=10, fontSize=13, fontWeight=600)
    flat = alt.Chart(pd.DataFrame({"share": [share], "text": [f"all pairs {share:.0%}"]}))
    left = rows["score"] < rows["score"].min() + 0.4 * (rows["score"].max() - rows["score"].min())
    crowded = bool((left & rows["share"].between(share - 0.05, share + 0.12)).any())
    beside: dict[str, Any] = (
        {"align": "right", "baseline": "top", "dx": -4, "dy": 4}
        if crowded
        else {"align": "left", "baseline": "bottom", "dx": 4, "dy": -3}
    )
    return alt.layer(
        flat.mark_rule(strokeWidth=1, strokeDash=[2, 3], style="soft").encode(y="share:Q"),
        flat.mark_text(fontSize=12, style="soft", **beside).encode(
            x=alt.value("width" if crowded else 0), y="share:Q", text="text:N"
        ),
        base.mark_rule(strokeWidth=1.4, opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=2.5).encode(y=y, strokeDash=dash),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=y, shape=shape, tooltip=tooltip),
        names.encode(x=x, y=alt.Y("at:Q"), text="when:N", color=colour),
    ).properties(width=WIDTH, height=HEIGHT)


def _apart(heights: list[float], least: float = 0.055) -> list[float]:
    """Return two heights moved apart so that labels do not overlap."""
    if len(heights) < 2 or abs(heights[0] - heights[1]) >= least:
        return heights
    low, high = sorted(range(2), key=lambda i: heights[i])
    middle = sum(heights) / 2
    moved = dict(zip((low, high), (middle - least / 2, middle + least / 2), strict=True))
    return [moved[0], moved[1]]


def _top(model: Model) -> NDArray[np.bool_]:
    """Return which pairs are in the tenth with the highest scores, and all that are equal, [n]."""
    cut = np.sort(model.scores)[-max(round(_TOP * len(model.scores)), 1)]
    top: NDArray[np.bool_] = model.scores >= cut
    return top


def _top_intervals(side: Side, models: Mapping[str, Model]) -> str:
    """Return the 95% intervals of the shares of positives in the title."""
    parts = []
    for when, model in models.items():
        middle, half = _interval(side, model, _top(model))
        ends = f"{max(middle - half, 0):.0%} to {min(middle + half, 1):.0%}"
        parts.append(f"{ends} {when}" if len(models) > 1 else ends)
    return ", ".join(parts)


def _interval(side: Side, model: Model, at: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the middle and half width of the 95% interval of the share of positives among some pairs."""
    worth = _independent(model.positive[at], None if side.component is None else side.component[at])
    return _wilson(float(model.positive[at].mean()), worth)


def _wilson(share: float, n: float) -> tuple[float, float]:
    """Return the middle and half width of Wilson's 95% interval."""
    spread = 1 + _Z**2 / n
    error = float(np.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2))
    return (share + _Z**2 / (2 * n)) / spread, _Z / spread * error


def _independent(positive: NDArray[np.bool_], component: NDArray[np.int64] | None) -> float:
    """Return how many independent pairs some linked pairs are worth for the variance of their share of positives.

    Where the components do not show how alike their pairs are, these count as one pair each.
    """
    n, share = len(positive), positive.mean()
    if component is None:
        return float(n)
    _, number = np.unique(component, return_inverse=True)
    components = float(n**2 / np.square(np.bincount(number)).sum())  # of equal size
    if not 0 < share < 1:
        return components
    apart = np.bincount(number, weights=positive - share)
    effect = max(float(apart @ apart) / (n * share * (1 - share)), 1.0)
    return float(min(n / effect, components) if components < _FEW_COMPONENTS else max(n / effect, components))
