"""Quality against what vectors cost to store: every dims that was scored, and the front that nothing beats."""

from typing import Any

import altair as alt
import pandas as pd

from tune.report.figures.marks import padded
from tune.report.story import Story
from tune.report.theme import HEIGHT, WIDTH, Figure


def dims(story: Story) -> Figure | None:
    """Return test AUC against bytes per vector, with the front chosen on validation; None with fewer than two dims."""
    # Random trials differ in more than dims, so only a grid or Matryoshka trials say what dims cost.
    fair = story.summary.get("search") == "grid" or any(line.get("matryoshka") for line in story.trained)
    rows = pd.DataFrame(_rows(story) if fair else [])
    if rows.empty or rows[rows["kind"] == "trained"]["bytes"].nunique() < 2:
        return None
    trained = rows[rows["kind"] == "trained"].sort_values(["bytes", "val"], ascending=[True, False])
    rows["front"] = rows.index.isin(trained.index[_is_front(trained["val"].tolist())])
    front = rows[rows["front"]]
    full, small = front.iloc[front["bytes"].argmax()], front.iloc[front["bytes"].argmin()]
    lost = (full["auc"] - small["auc"]) * 100
    title = f"{small['dims']:.0f} dims lose {lost:.1f} points of AUC against {full['dims']:.0f}"
    if len(front) == 1:
        title = f"The smallest, {small['dims']:.0f} dims, is also the best on validation"
    elif lost <= 0:
        title = f"{small['dims']:.0f} dims are as good as {full['dims']:.0f}"
    return Figure(
        name="dims",
        title=title,
        subtitle="test AUC with 95% intervals; the line joins the models that are best for their size by validation",
        chart=_chart(rows),
    )


def _rows(story: Story) -> list[dict[str, Any]]:
    found, seen = [], set()
    for line in story.lines:
        auc, size = line.get("test_auc"), line.get("bytes_per_million_vectors")
        key = (line.get("base_model"), line.trains, line.get("dims"))
        # In order of validation: the first is the best of its kind and dims, over all other settings.
        if auc is None or not size or key in seen:
            continue
        seen.add(key)
        _, low, high = line.interval("test_auc") or (auc, auc, auc)
        found.append(
            {
                "name": f"{line.base_model} ({line.trains})",
                "kind": "untouched" if line.is_baseline else "trained",
                "dims": line.get("dims"),
                "bytes": size / 1e6,
                "val": line.get("val_auc"),
                "auc": auc,
                "low": low,
                "high": high,
                "trial": line.trial,
            }
        )
    return found


def _is_front(values: list[float]) -> list[bool]:
    """Return which values, in order of cost, exceed all cheaper ones."""
    best, front = float("-inf"), []
    for value in values:
        front.append(value > best)
        best = max(best, value)
    return front


def _chart(rows: pd.DataFrame) -> Any:
    x = alt.X(
        "bytes:Q",
        scale=alt.Scale(type="log", nice=False, padding=30),
        axis=alt.Axis(values=sorted(set(rows["bytes"])), format=",", grid=False),
        title="bytes per vector (float32)",
    )
    y = alt.Y(
        "auc:Q",
        scale=alt.Scale(domain=padded([*rows["low"], *rows["high"]]), nice=False, zero=False),
        title="test ROC AUC",
    )
    kinds = ["trained", "untouched"]
    colour = alt.Color("kind:N", scale=alt.Scale(domain=kinds), title=None, legend=alt.Legend(orient="top"))
    numbers = [alt.Tooltip(f"{name}:Q", format=".4f") for name in ("auc", "low", "high", "val")]
    base = alt.Chart(rows).encode(x=x, color=colour)
    bars = base.mark_rule(strokeWidth=1.2, opacity=0.5).encode(y=alt.Y("low:Q"), y2="high:Q")
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=["circle", "square"]), title=None)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=y, shape=shape, tooltip=["name:N", "trial:N", "dims:Q", *numbers]
    )
    line = alt.Chart(rows[rows["front"]]).mark_line(strokeWidth=2, style="accent").encode(x=x, y=y)
    names = alt.Chart(rows[rows["front"]]).mark_text(align="left", dx=8, dy=-8, fontSize=12, style="ink")
    return alt.layer(bars, line, points, names.encode(x=x, y=y, text="dims:N")).properties(width=WIDTH, height=HEIGHT)
