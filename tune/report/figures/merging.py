"""AUC on validation and on the guard sets against the share of the winner's training that is kept."""

from typing import Any

import altair as alt
import pandas as pd

from tune.report.figures.marks import padded
from tune.report.story import Story
from tune.report.theme import HEIGHT, WIDTH, Figure

_VAL, _GUARD = "validation", "guard sets"


def merging(story: Story) -> Figure | None:
    """Return the figure; None if the winner's share was not chosen among several."""
    winner = (story.summary.get("winner") or {}).get("trial")
    found = (story.summary.get("merge") or {}).get(winner) or {}
    points = found.get("points") or []
    if len(points) < 2:
        return None
    return Figure(
        name="merging",
        title=f"Share of the winner's training that is kept: {found['share']:g}",
        subtitle=f"ROC AUC on {found['val_pairs']:,} validation pairs and on the guard sets. Share 0 is the untouched"
        " base model's weights, 1 those trained; the dashed line is the untouched base model on the guard sets",
        chart=_chart(points, float(found["before"]), float(found["share"])),
        room=110,
    )


def _chart(points: list[dict[str, float]], before: float, share: float) -> Any:
    rows = pd.DataFrame(
        {"share": point["share"], "series": name, "auc": point[column]}
        for point in points
        for name, column in ((_VAL, "val_auc"), (_GUARD, "guard_auc"))
    )
    domain = padded([*rows["auc"], before])
    x = alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(grid=False), title="share of the training")
    y = alt.Y("auc:Q", scale=alt.Scale(domain=domain, nice=False, zero=False), title="ROC AUC")
    names = [_VAL, _GUARD]
    colour = alt.Color("series:N", scale=alt.Scale(domain=names), legend=None)
    base = alt.Chart(rows).encode(x=x, y=y, color=colour)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=names, range=["circle", "square"]), legend=None)
    tooltip = ["series:N", alt.Tooltip("share:Q"), alt.Tooltip("auc:Q", format=".4f")]
    ends = alt.Chart(rows[rows["share"] == rows["share"].max()])
    flat = alt.Chart(pd.DataFrame({"auc": [before]}))
    chosen = alt.Chart(pd.DataFrame({"share": [share]}))
    return alt.layer(
        flat.mark_rule(strokeWidth=1, strokeDash=[2, 3], style="soft").encode(y=y),
        chosen.mark_rule(strokeWidth=1, opacity=0.5, style="ink").encode(x=x),
        base.mark_line(strokeWidth=2.5),
        base.mark_point(filled=True, size=46, opacity=1).encode(shape=shape, tooltip=tooltip),
        ends.mark_text(align="left", dx=10, fontSize=13, fontWeight=600).encode(
            x=x, y=y, text="series:N", color=colour
        ),
    ).properties(width=WIDTH, height=HEIGHT)
