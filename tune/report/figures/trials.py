"""The search itself: every trial's AUC as it trained, the best so far over time, and when which trial ran."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from tune.report.figures.marks import best_so_far_line
from tune.report.figures.sample import DRAWN, drawn, not_all
from tune.report.story import Story
from tune.report.theme import HEIGHT, NARROW, WIDTH, Figure
from tune.train.outcomes import TrialOutcome

ENDS = {"done": "finished", "stopped": "stopped early", "failed": "failed", "halfway": "unfinished"}
_ROW = 18
"""Height of a trial's bar in pixels; less if there are many."""
_TALLEST = 900
_ROUNDING, _WAITING = 0.2, 30.0
"""Seconds by which a trial's files may be closer together, or farther apart, than the time that it reports."""


def curves(story: Story) -> Figure | None:
    """Return every trial's validation AUC over the share of its training that it has done."""
    shown = [trial for trial in story.trials if trial.reports]
    if not shown:
        return None
    rows = pd.DataFrame(
        [
            {"trial": trial.trial, "end": ENDS[trial.status], "budget": report.budget, "auc": report.auc}
            for trial in drawn(story)
            for report in trial.reports
        ]
    )
    winner = (story.summary.get("winner") or {}).get("trial")
    rows["winner"] = rows["trial"] == winner
    counts = {end: sum(trial.status == status for trial in shown) for status, end in ENDS.items()}
    x = alt.X("budget:Q", axis=alt.Axis(format="%", grid=False), title="share of the trial's training pairs seen")
    y = alt.Y("auc:Q", scale=alt.Scale(zero=False), title="validation ROC AUC")
    base = alt.Chart(rows).encode(x=x, y=y, detail="trial:N")
    thin = 1.2 if len(shown) <= 60 else 0.6
    tooltip = ["trial:N", "end:N", alt.Tooltip("budget:Q", format=".0%"), alt.Tooltip("auc:Q", format=".4f")]
    ends = rows.groupby("trial", sort=False).tail(1)
    lines = base.transform_filter("!datum.winner").mark_line(strokeWidth=thin, strokeOpacity=0.45, style="soft")
    best = base.transform_filter("datum.winner").mark_line(strokeWidth=2.8, style="accent")
    dots = alt.Chart(ends).mark_point(filled=True, fillOpacity=0.9, size=36 if len(shown) <= 60 else 14)
    dots = dots.encode(x=x, y=y, shape=_shape(rows), color=colour_of(rows), tooltip=tooltip)
    return Figure(
        name="training-curves",
        title=_curves_title(counts, len(shown)),
        subtitle=f"a line per trial, a point where it ended; the thick line is the winner{not_all(story)}",
        chart=alt.layer(lines, best, dots).properties(width=WIDTH, height=HEIGHT),
        least=NARROW,
    )


def best_so_far(story: Story) -> Figure | None:
    """Return the best validation AUC over the time since the search began."""
    spans = spans_of(story.trials)
    if len(spans) < 2:
        return None
    began = min(start for _, start, _ in spans)
    points = sorted(
        (start - began + report.seconds, report.best_auc, trial.trial)
        for trial, start, _ in spans
        for report in trial.reports
    )
    best, rows = 0.0, []
    for seconds, auc, trial in points:
        if auc > best:
            best = auc
            rows.append({"time": seconds, "auc": auc, "trial": trial})
    rows.append({"time": points[-1][0], "auc": best, "trial": rows[-1]["trial"]})
    unit, seconds_of = unit_of(points[-1][0])
    table = pd.DataFrame(rows)
    table["time"] /= seconds_of
    share = float(table["time"].iloc[-2] / max(table["time"].iloc[-1], 1e-9))
    return Figure(
        name="best-so-far",
        title=f"The best trial was found after {share:.0%} of the search's time",
        subtitle="highest validation AUC of any report so far",
        chart=best_so_far_line(table, "time", f"{unit} since the first trial began", places=1),
        least=NARROW,
    )


def timeline(story: Story) -> Figure | None:
    """Return a bar per trial over the time it ran; None of so many trials that no bar could be told from the next."""
    spans = spans_of(story.trials)
    if not 2 <= len(spans) <= DRAWN:
        return None
    began = min(start for _, start, _ in spans)
    unit, seconds = unit_of(max(end for _, _, end in spans) - began)
    rows = pd.DataFrame(
        [
            {
                "trial": trial.trial,
                "from": (start - began) / seconds,
                "to": (end - began) / seconds,
                "end": ENDS[trial.status],
                "slot": slot + 1,
            }
            for (trial, start, end), slot in zip(spans, slots_of(spans), strict=True)
        ]
    )
    slots = int(rows["slot"].max())
    busy = float((rows["to"] - rows["from"]).sum() / max(rows["to"].max() * slots, 1e-9))
    chart = alt.Chart(rows).mark_bar(height=max(4, min(_ROW - 4, _TALLEST // slots - 4)))
    chart = chart.encode(
        x=alt.X("from:Q", axis=alt.Axis(grid=False, tickCount=10), title=f"{unit} since the first trial began"),
        x2="to:Q",
        y=alt.Y("slot:O", title="slot", axis=alt.Axis(grid=False)),
        color=colour_of(rows),
        tooltip=["trial:N", "end:N", alt.Tooltip("from:Q", format=".1f"), alt.Tooltip("to:Q", format=".1f")],
    )
    return Figure(
        name="timeline",
        title=f"{len(rows)} trials, {slots} at a time; slots were busy {busy:.0%} of the time",
        subtitle="from a trial's first file to its last report; gaps are waiting and starting",
        chart=chart.properties(width=WIDTH, height=min(max(slots * _ROW, 60), _TALLEST)),
        least=NARROW,
    )


def unit_of(seconds: float) -> tuple[str, int]:
    """Return a unit of time that suits a span, and its seconds."""
    return ("seconds", 1) if seconds < 180 else ("minutes", 60) if seconds < 3 * 3600 else ("hours", 3600)


def _curves_title(counts: dict[str, int], trials: int) -> str:
    parts = [f"{count} {end}" for end, count in counts.items() if count]
    return f"{trials} trial{'s' if trials > 1 else ''}: {', '.join(parts)}"


def _shape(rows: pd.DataFrame) -> Any:
    shapes = ["circle", "cross", "triangle-down", "square"]
    return alt.Shape(
        "end:N", scale=alt.Scale(domain=list(ENDS.values()), range=shapes), title=None, legend=_legend(rows)
    )


def colour_of(rows: pd.DataFrame) -> Any:
    """Return the colour of how trials ended: field end. It is the same in every figure, whichever ends there are."""
    return alt.Color("end:N", scale=alt.Scale(domain=list(ENDS.values())), title=None, legend=_legend(rows))


def _legend(rows: pd.DataFrame) -> alt.Legend:
    names = [end for end in ENDS.values() if (rows["end"] == end).any()]
    return alt.Legend(orient="top", values=names)


def spans_of(trials: Sequence[TrialOutcome]) -> list[tuple[TrialOutcome, float, float]]:
    """Return (trial, seconds when it began, seconds at its last report) of the trials that reported, by start.

    Times are those of a trial's files. They are lost in a copy, and a resumed trial has waited in between: none are
    returned unless the files of all trials agree with the seconds that the trials report.
    """
    spans = []
    for trial in trials:
        if trial.last is not None:
            files = [trial.directory / name for name in ("trial.json", "reports.jsonl")]
            start, end = (file.stat().st_mtime for file in files)
            # Files written by one copy are milliseconds apart, whatever the trial took.
            if not -_ROUNDING <= end - start - trial.last.seconds <= _WAITING + trial.last.seconds:
                return []
            spans.append((trial, start, start + trial.last.seconds))
    return sorted(spans, key=lambda span: span[1])


def slots_of(spans: Sequence[tuple[TrialOutcome, float, float]]) -> list[int]:
    """Return the lowest slot that is free when each trial begins."""
    free_at: list[float] = []
    slots = []
    for _, start, end in spans:
        slot = next((i for i, free in enumerate(free_at) if free <= start), len(free_at))
        free_at[slot : slot + 1] = [end]
        slots.append(slot)
    return slots
