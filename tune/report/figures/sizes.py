"""Quality against the number of training pairs: a line per base model, untouched and closed models as flat lines."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from tune.report.crossings import Crossing, Sized, all_crossings, baselines, groups, outlook, sized
from tune.report.figures.marks import band, end_labels, flat_lines, padded, points_and_line
from tune.report.story import Story
from tune.report.theme import HEIGHT, SERIES, WIDTH, Figure

_TICKS = tuple(digit * 10**power for power in range(1, 8) for digit in (1, 3))
_BELOW = 0.5
"""How far below all series a baseline is still drawn, as a share of their range."""


def sizes(stories: Sequence[Story]) -> Figure | None:
    """Return the figure; None if fewer than two train sizes were scored on test."""
    found = sized(stories)
    if len({one.pairs for one in found}) < 2:
        return None
    names = list(dict.fromkeys(one.series for one in found))[:SERIES]
    by_model = groups(found, stories)
    rows = pd.DataFrame(
        [_row(one, model) for model, trials in by_model.items() for one in trials if one.series in names]
    )
    leading = next(iter(by_model))
    praised = all(story.praised for story in stories)
    crossings = all_crossings(stories) if praised else []
    flat = {one.label: one.auc for one in baselines(stories)}
    of_leading = [one for one in crossings if one.model == leading]
    finding = _finding(of_leading)
    said = [_subtitle(stories), *_not_beaten(of_leading, finding), *([outlook(by_model[leading])] if praised else [])]
    return Figure(
        name="training-pairs",
        title="AUC against the number of training pairs" if finding is None else finding.sentence(),
        subtitle=". ".join(said),
        chart=_chart(rows, names, flat, crossings, finding),
    )


def _finding(crossings: Sequence[Crossing]) -> Crossing | None:
    """Return the crossing to report first: of the best baseline that is beaten, else of the best one that is judged.

    Baselines are in order of validation.
    """
    beaten = (one for one in crossings if one.pairs is not None)
    return next(beaten, next((one for one in crossings if one.evidence), None))


def _not_beaten(crossings: Sequence[Crossing], finding: Crossing | None) -> list[str]:
    """Return, as a sentence, which baselines that are better on validation than that of the finding are not beaten.

    A title that says no more than what was beaten would leave out what was not.
    """
    if finding is None or finding.pairs is None:
        return []
    names = [one.baseline.label for one in crossings[: crossings.index(finding)] if one.evidence]
    return [f"{finding.largest:,} pairs are not clearly enough to beat {' or '.join(names)}"] if names else []


def _row(one: Sized, model: str) -> dict[str, object]:
    line = one.line
    _, low, high = line.interval("test_auc") or (None, line.get("test_auc"), line.get("test_auc"))
    return {
        "series": one.series,
        "model": model,
        "pairs": one.pairs,
        "auc": line.get("test_auc"),
        "low": low,
        "high": high,
        "dims": line.get("dims"),
        "trial": line.trial,
    }


def _subtitle(stories: Sequence[Story]) -> str:
    tested = " and ".join(dict.fromkeys(f"{story.test_pairs:,}" for story in stories if story.test_pairs is not None))
    synthetic = ", synthetic data" if any(story.data.get("synthetic") for story in stories) else ""
    splits = {story.data.get("split_hash") for story in stories}
    other = "; the searches have different splits" if len(splits) > 1 else ""
    return (
        f"best trial of each size by validation, on {tested or 'the'} test pairs{synthetic}{other}; bands are 95%"
        " intervals, diamonds mark the fewest pairs that are enough to beat a baseline"
    )


def _chart(
    rows: pd.DataFrame,
    names: list[str],
    flat: dict[str, float],
    crossings: Sequence[Crossing],
    finding: Crossing | None,
) -> Any:
    left, right = float(rows["pairs"].min()), float(rows["pairs"].max())
    domain = _domain(rows, flat)
    ticks = [tick for tick in _TICKS if left <= tick <= right]
    x = alt.X(
        "pairs:Q",
        scale=alt.Scale(type="log", domain=[left * 0.92, right * 1.05], nice=False),
        axis=alt.Axis(values=ticks, format="~s", grid=False),
        title="training pairs",
    )
    y = alt.Y("auc:Q", scale=alt.Scale(domain=domain, nice=False, zero=False), title="test ROC AUC")
    # Searches of one model, such as other seeds, have its colour, and differ by dash and shape.
    colour = alt.Color("model:N", scale=alt.Scale(domain=list(dict.fromkeys(rows["model"]))), legend=None)
    base = alt.Chart(rows).encode(x=x, color=colour, detail="series:N")
    shown = {name: auc for name, auc in flat.items() if auc > domain[0]}
    marks = [*flat_lines(shown), band(base), *_mark(finding, x), *points_and_line(base, y, names)]
    marks += [*_diamonds(crossings, rows, shown, x, colour), *end_labels(rows, flat, domain, x, colour)]
    return alt.layer(*marks).properties(width=WIDTH, height=HEIGHT)


def _domain(rows: pd.DataFrame, flat: dict[str, float]) -> list[float]:
    """Return the range of the AUC axis, without baselines far below all series, which would flatten these."""
    low, high = float(rows["low"].min()), float(rows["high"].max())
    return padded([low, high, *(auc for auc in flat.values() if auc > low - _BELOW * (high - low))])


def _diamonds(
    crossings: Sequence[Crossing], rows: pd.DataFrame, shown: dict[str, float], x: alt.X, colour: alt.Color
) -> list[Any]:
    """Return a mark on each baseline where a model begins to beat it."""
    models = set(rows["model"])
    crossed = [
        {"model": one.model, "pairs": one.pairs, "auc": one.baseline.auc, "finding": one.sentence()}
        for one in crossings
        if one.pairs is not None and one.model in models and one.baseline.label in shown
    ]
    if not crossed:
        return []
    chart = alt.Chart(pd.DataFrame(crossed)).mark_point(shape="diamond", size=70, strokeWidth=2, opacity=1)
    return [chart.encode(x=x, y=alt.Y("auc:Q"), color=colour, tooltip="finding:N")]


def _mark(finding: Crossing | None, x: alt.X) -> list[Any]:
    if finding is None or finding.pairs is None:
        return []
    chart = alt.Chart(pd.DataFrame({"pairs": [finding.pairs], "text": [f"{finding.pairs:,} pairs"]}))
    return [
        chart.mark_rule(strokeWidth=1, opacity=0.5, style="ink").encode(x=x),
        chart.mark_text(align="left", baseline="top", dx=6, fontSize=12, style="ink").encode(
            x=x, y=alt.value(2), text="text:N"
        ),
    ]
