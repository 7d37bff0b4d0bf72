"""What the search spent its trials on: how they ended, and the best so far over the time or money paid for them."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from tune.embed.closed.prices import usd as dollars
from tune.report.figures.marks import best_so_far_line
from tune.report.figures.trials import ENDS, colour_of, slots_of, spans_of, unit_of
from tune.report.prices import Prices
from tune.report.story import Story
from tune.report.theme import NARROW, WIDTH, Figure
from tune.train.outcomes import TrialOutcome

_CLOSE = 0.001
"""Validation AUC within which the search counts as having found its best."""
_BAR = 30
"""Height of a bar in pixels."""
_NARROWEST = 0.07
"""Share of a bar below which it has no room for a label."""


def statuses(story: Story) -> Figure | None:
    """Return how many trials ended in which way, and how their time was spent; None if all ended in the same way."""
    ended = _ended(story)
    rows = pd.DataFrame(ended, columns=["end", "seconds", "budget"])
    names = [end for end in ENDS.values() if (rows["end"] == end).any()]
    if len(names) < 2:
        return None
    unit, seconds = unit_of(rows["seconds"].sum())
    parts = [("trials", end, float((rows["end"] == end).sum()), "") for end in names]
    if (total := rows["seconds"].sum()) > 0:
        spent = rows.groupby("end")["seconds"].sum()
        parts += [("trial time", end, float(spent[end]) / seconds, f" {unit}") for end in names]
    table = pd.DataFrame(parts, columns=["bar", "end", "value", "unit"])
    table["share"] = table["value"] / table.groupby("bar")["value"].transform("sum")
    table["to"] = table.groupby("bar")["share"].cumsum()
    table["from"] = table["to"] - table["share"]
    table["text"] = [
        "" if share < _NARROWEST else f"{value:,.0f}" if bar == "trials" else f"{value:,.1f}{unit_}"
        for bar, value, share, unit_ in table[["bar", "value", "share", "unit"]].itertuples(index=False)
    ]
    return Figure(
        name="trials-per-status",
        title=_statuses_title(rows, names),
        subtitle="trials by how they ended" + (", and the time they took" if total > 0 else ""),
        chart=_bars(table),
        least=NARROW,
    )


def paid(story: Story, prices: Prices) -> Figure | None:
    """Return the best validation AUC over the total time of all trials, in USD if an hour has one known price.

    None without times, and where it says no more than the figure over time: one trial at a time, without a price.
    """
    spans = spans_of(story.trials)
    modal = story.summary.get("modal") or {}
    hour = prices.gpu_usd_per_hour(modal.get("gpu"))
    usd = hour[0] if hour is not None and hour[0] == hour[1] and (modal or prices.gpu is not None) else None
    if len(spans) < 2 or (usd is None and max(slots_of(spans)) == 0):
        return None
    steps = _steps(spans)
    total = sum(trial.last.seconds for trial, _, _ in spans if trial.last)
    unit, seconds = unit_of(total) if usd is None else ("USD", 3600 / usd if usd else 3600)
    rows = pd.DataFrame([*steps, (total, steps[-1][1], steps[-1][2])], columns=["paid", "auc", "trial"])
    rows["paid"] /= seconds
    end = float(rows["paid"].iloc[-1])
    first = float(rows.loc[rows["auc"] >= rows["auc"].max() - _CLOSE, "paid"].iloc[0])
    share = first / end if end else 0.0
    of = f"{share:.0%} of the trial time" if usd is None else f"{dollars(first)} of {dollars(end)} USD"
    price = "" if usd is None else f", at {usd:.2f} USD per GPU hour ({prices.gpu_origin()}); GPU time of trials only"
    return Figure(
        name="best-so-far-paid",
        title=f"The search came within 0.1 points of its best AUC after {of}",
        subtitle=f"highest validation AUC of any report so far, over the total time of all trials{price}",
        chart=best_so_far_line(rows, "paid", "USD" if usd is not None else f"trial {unit}", places=2),
        least=NARROW,
    )


def _ended(story: Story) -> list[tuple[str, float, float]]:
    """Return (how it ended, its seconds, the share of its training that it did) of each trial."""
    if story.trials:
        return [
            (ENDS[trial.status], trial.last.seconds if trial.last else 0.0, trial.last.budget if trial.last else 0.0)
            for trial in story.trials
        ]
    lines = {line.trial: line for line in story.trained}
    ends = {**ENDS, "unfinished": ENDS["halfway"]}
    return [
        (ends[str(line.get("status"))], float(line.get("seconds") or 0), float(line.get("budget") or 0))
        for line in lines.values()
        if line.get("status") in ends
    ]


def _statuses_title(rows: pd.DataFrame, names: Sequence[str]) -> str:
    count = {end: int((rows["end"] == end).sum()) for end in names}
    parts = []
    if stopped := count.get(ENDS["stopped"]):
        seen = rows.loc[rows["end"] == ENDS["stopped"], "budget"].mean()
        what = "was stopped" if stopped == 1 else "were stopped"
        parts.append(f"{stopped} {what} early, after {seen:.0%} of their training pairs on average")
    ways = ((ENDS["failed"], "failed"), (ENDS["halfway"], "did not finish"))
    parts += [f"{count[end]} {what}" for end, what in ways if count.get(end)]
    return f"Of {len(rows)} trials, {' and '.join(parts)}"


def _bars(table: pd.DataFrame) -> Any:
    x = alt.X("from:Q", axis=alt.Axis(format="%", grid=False), title=None, scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("bar:N", sort=["trials", "trial time"], title=None)
    colour = colour_of(table)
    bars = alt.Chart(table).mark_bar(height=_BAR, stroke=None)
    tooltip = ["end:N", alt.Tooltip("value:Q", format=",.1f"), "unit:N", alt.Tooltip("share:Q", format=".0%")]
    middle = alt.Chart(table[table["text"] != ""]).transform_calculate(middle="(datum.from + datum.to) / 2")
    return alt.layer(
        bars.encode(x=x, x2="to:Q", y=y, color=colour, tooltip=tooltip),
        middle.mark_text(fontSize=12, fontWeight=600, style="on").encode(x="middle:Q", y=y, text="text:N"),
    ).properties(width=WIDTH - 60, height=len(set(table["bar"])) * (_BAR + 12))


def _steps(spans: Sequence[tuple[TrialOutcome, float, float]]) -> list[tuple[float, float, str]]:
    """Return (seconds paid until then, AUC, trial) whenever the best AUC rose."""
    starts = np.array([start for _, start, _ in spans])
    ends = np.array([end for _, _, end in spans])
    points = sorted(
        (start + report.seconds, report.best_auc, trial.trial) for trial, start, _ in spans for report in trial.reports
    )
    best, steps = 0.0, []
    for at, auc, trial in points:
        if auc > best:
            best = auc
            steps.append((float(np.clip(at - starts, 0, ends - starts).sum()), auc, trial))
    return steps
