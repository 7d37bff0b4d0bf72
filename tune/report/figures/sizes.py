"""Quality against the number of training pairs: a line per base model, untouched and closed models as flat lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from tune.metrics.power_law import fit_power_law
from tune.report.figures.marks import band, end_labels, flat_lines, padded, points_and_line, room_for
from tune.report.story import Line, Story
from tune.report.theme import HEIGHT, SERIES, WIDTH, Figure

_TICKS = tuple(digit * 10**power for power in range(1, 8) for digit in (1, 3))


@dataclass(frozen=True)
class Crossing:
    """From how many pairs on (the smallest size measured) a series is above its baseline; None: never for sure."""

    series: str
    baseline: str
    pairs: int | None

    def sentence(self) -> str:
        """Return the finding, without a full stop."""
        if self.pairs is None:
            return f"No measured number of pairs is clearly above {self.baseline}"
        return f"From {self.pairs:,} pairs on, {self.series} is above {self.baseline}"


def sizes(stories: Sequence[Story]) -> Figure | None:
    """Return the figure; None if fewer than two train sizes were scored on test."""
    marks = _marks(stories)
    found = [(story, mark, line) for story, mark in zip(stories, marks, strict=True) for line in best_of_size(story)]
    rows = pd.DataFrame([_row(story, line, mark) for story, mark, line in found])
    if rows.empty or rows["pairs"].nunique() < 2:
        return None
    baselines = {
        f"{_series(line)}{mark}": line.get("test_auc")
        for story, mark in zip(stories, marks, strict=True)
        for line in story.baselines
        if line.get("test_auc") is not None
    }
    names = list(rows.groupby("series")["auc"].max().sort_values(ascending=False).index)[:SERIES]
    rows = rows[rows["series"].isin(names)].sort_values(["series", "pairs"])
    best = rows[rows["series"] == names[0]]
    crossed = crossing(best)
    praised = all(story.praised for story in stories)
    if not praised:
        crossed = Crossing(crossed.series, crossed.baseline, None)
    return Figure(
        name="training-pairs",
        title=crossed.sentence() if praised else "AUC against the number of training pairs",
        subtitle=f"{_subtitle(stories)}. {outlook(best)}",
        chart=_chart(rows, names, baselines, crossed),
        room=room_for(names),
    )


def best_of_size(story: Story) -> list[Line]:
    """Return the trials scored on test that are best by validation: one per base model, kind and train size."""
    best: dict[tuple[str, str, int | None], Line] = {}
    for line in story.trained:
        if line.get("test_auc") is not None:
            # The leaderboard is in order of validation.
            best.setdefault((line.base_model, line.trains, story.train_size(line)), line)
    return list(best.values())


def crossing(rows: pd.DataFrame) -> Crossing:
    """Return from which size on the paired interval of the gain over the own base is above 0, at all larger ones too.

    That interval is far narrower than the two AUCs' own, which may overlap where the gain is certain.
    """
    line = rows.iloc[0]
    sure = None
    for _, row in rows.sort_values("pairs", ascending=False).iterrows():
        if not row["gain_low"] > 0:
            break
        sure = int(row["pairs"])
    return Crossing(str(line["series"]), str(line["baseline"]), sure)


def outlook(rows: pd.DataFrame) -> str:
    """Return what twice the pairs would bring to a series, by a power law, or why not."""
    largest = int(rows["pairs"].max())
    law = fit_power_law(rows["pairs"].tolist(), (1 - rows["auc"]).tolist())
    if isinstance(law, str):
        return f"The gain from more pairs cannot be estimated: {law}"
    return (
        f"By a power law through the points, twice the pairs ({2 * largest:,}) would bring"
        f" {law.gain * 100:.1f} points of AUC [{law.low * 100:.1f}, {law.high * 100:.1f}]"
    )


def _marks(stories: Sequence[Story]) -> list[str]:
    """Return what tells the series of several searches apart: the search's name, or its path if names repeat."""
    if len(stories) == 1:
        return [""]
    names = [story.name for story in stories]
    places = [str(story.folder.root) for story in stories]
    return [f" [{name if names.count(name) == 1 else place}]" for name, place in zip(names, places, strict=True)]


def _series(line: Line) -> str:
    return f"{line.base_model} ({line.trains})"


def _row(story: Story, line: Line, mark: str) -> dict[str, object]:
    _, low, high = line.interval("test_auc") or (None, line.get("test_auc"), line.get("test_auc"))
    own = next((one for one in story.baselines if one.get("base_model") == line.get("base_model")), None)
    return {
        "series": f"{_series(line)}{mark}",
        "baseline": (f"{line.base_model} (untouched)" if own is None else _series(own)) + mark,
        "pairs": story.train_size(line),
        "auc": line.get("test_auc"),
        "low": low,
        "high": high,
        "dims": line.get("dims"),
        "gain_low": line.get("over_base_low"),
        "trial": line.trial,
    }


def _subtitle(stories: Sequence[Story]) -> str:
    tested = " and ".join(dict.fromkeys(f"{story.test_pairs:,}" for story in stories if story.test_pairs is not None))
    synthetic = ", synthetic data" if any(story.data.get("synthetic") for story in stories) else ""
    splits = {story.data.get("split_hash") for story in stories}
    other = "; the searches have different splits" if len(splits) > 1 else ""
    return (
        f"best trial of each size by validation, on {tested or 'the'} test pairs{synthetic}{other}; bands are 95%"
        " intervals of each AUC, the mark is where that of the paired gain is above 0 (not corrected for several sizes)"
    )


def _chart(rows: pd.DataFrame, names: list[str], baselines: dict[str, float], crossed: Crossing) -> Any:
    left, right = float(rows["pairs"].min()), float(rows["pairs"].max())
    domain = padded([*rows["low"], *rows["high"], *baselines.values()])
    apart = (domain[1] - domain[0]) * 0.05
    ticks = [tick for tick in _TICKS if left <= tick <= right]
    x = alt.X(
        "pairs:Q",
        scale=alt.Scale(type="log", domain=[left * 0.92, right * 1.05], nice=False),
        axis=alt.Axis(values=ticks, format="~s", grid=False),
        title="training pairs",
    )
    y = alt.Y("auc:Q", scale=alt.Scale(domain=domain, nice=False, zero=False), title="test ROC AUC")
    base = alt.Chart(rows).encode(x=x, color=alt.Color("series:N", scale=alt.Scale(domain=names), legend=None))
    marks = [*flat_lines(baselines, left, apart, x), band(base), *_mark(crossed.pairs, x)]
    marks += [*points_and_line(base, y, names), end_labels(rows, right, apart, x, names)]
    return alt.layer(*marks).properties(width=WIDTH, height=HEIGHT)


def _mark(pairs: int | None, x: alt.X) -> list[Any]:
    if pairs is None:
        return []
    chart = alt.Chart(pd.DataFrame({"pairs": [pairs], "text": [f"{pairs:,} pairs"]}))
    return [
        chart.mark_rule(strokeWidth=1, opacity=0.5, style="ink").encode(x=x),
        chart.mark_text(align="left", baseline="top", dx=6, fontSize=12, style="ink").encode(
            x=x, y=alt.value(2), text="text:N"
        ),
    ]
