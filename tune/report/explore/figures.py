"""The figures of the page on pairs: lengths, overlap of words, scores of untouched models, components."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from tune.metrics.verdict import counted
from tune.report.explore.findings import Components, Findings, Graph, Histogram, Lengths, Overlap, Scored
from tune.report.explore.graph import places
from tune.report.theme import HEIGHT, NARROW, WIDTH, Figure

_CLASSES = ("positive", "negative")
_SHORT = 240
"""Height of a figure that shows one distribution."""
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


def lengths(found: Lengths) -> Figure:
    """Return how long the texts are, with the length from which they are cut."""
    edges, counted = found.histogram.edges, found.histogram.counts["texts"]
    rows = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "texts": counted})
    # A limit that no text comes near would only squeeze the bars.
    limit = None if found.limit is None or found.limit > 2 * edges[-1] else found.limit
    domain = [edges[0], max(edges[-1], 1.1 * (limit or 0))]
    logarithmic = edges[-1] - edges[-2] > edges[1] - edges[0]
    ticks = (
        {"values": [tick for tick in _TICKS if domain[0] <= tick <= domain[1]]} if logarithmic else {"tickCount": 10}
    )
    x = alt.X(
        "low:Q",
        scale=alt.Scale(type="log" if logarithmic else "linear", domain=domain, nice=False),
        axis=alt.Axis(grid=False, format="d", **ticks),
        title=f"{found.unit}{' (log scale)' if logarithmic else ''}",
    )
    y = alt.Y("texts:Q", title="texts", axis=alt.Axis(format=",d", tickCount=5))
    tooltip = ["low:Q", "high:Q", alt.Tooltip("texts:Q", format=",")]
    bars = alt.Chart(rows).mark_bar(style="accent", opacity=0.75, binSpacing=1)
    layers: list[Any] = [bars.encode(x=x, x2="high:Q", y=y, y2=alt.datum(0), tooltip=tooltip)]
    if limit is not None:
        cut = alt.Chart(pd.DataFrame({"low": [limit], "text": [f"cut at {limit:,}"]})).encode(x=x)
        layers += [
            cut.mark_rule(strokeDash=[4, 3], style="ink"),
            cut.mark_text(align="right", baseline="top", dx=-6, fontSize=12, style="ink").encode(
                y=alt.value(2), text="text:N"
            ),
        ]
    return Figure(
        name="lengths",
        least=NARROW,
        title=_lengths_title(found),
        subtitle=f"{_counted(found.texts, found.of, 'distinct texts')}; median {found.median:,.0f}, "
        f"95% have at most {found.long:,.0f}, the longest {found.longest:,}",
        chart=alt.layer(*layers).properties(width=WIDTH, height=_SHORT),
    )


def _lengths_title(found: Lengths) -> str:
    if found.limit is None:
        return f"Half of the texts have at most {found.median:,.0f} {found.unit}"
    if not found.cut:
        return f"No text is cut: all fit into {found.limit:,} {found.unit}"
    share = found.cut / found.texts
    shown = f"{share:.1%}" if share >= 0.001 else "Under 0.1%"
    return f"{shown} of the texts are cut, at {found.limit:,} {found.unit}"


def overlap(found: Overlap) -> Figure:
    """Return how many words the texts of positive and of negative pairs share."""
    of_class, what = found.mean, found.what
    compared = f"Positive pairs share {of_class['positive']:.0%} of their {what}, negative ones"
    return Figure(
        name="overlap",
        least=NARROW,
        title=f"{compared} {of_class['negative']:.0%}",
        subtitle=f"{_counted(found.pairs, found.of, 'pairs')}; {what} in both texts, as a share of those in either"
        " (Jaccard index); mean by label",
        chart=_two_classes(found.histogram, f"share of common {what}", "%"),
    )


def score(found: Scored, name: str, half: bool) -> Figure:
    """Return the cosines of positive and negative pairs by an untouched model. half: whether it shares a row."""
    of = "" if found.pairs == found.of else f" (a sample of {found.of:,})"
    return Figure(
        name=name,
        title=f"{found.name}, untouched: AUC {found.auc:.3f}",
        subtitle=f"cosine of {found.pairs:,} pairs{of}, as a share of each label's pairs; AUC {found.described()}",
        chart=_two_classes(found.histogram, f"cosine by {found.name}", "~g"),
        half=half,
        least=NARROW,
    )


def _two_classes(histogram: Histogram, title: str, number: str) -> Any:
    """Return one outline per class, as shares of the class, with its name where it stands out most."""
    left, right = histogram.edges[:-1], histogram.edges[1:]
    shares = {name: [n / max(sum(counts), 1) for n in counts] for name, counts in histogram.counts.items()}
    rows = pd.DataFrame(
        [
            {"left": left[i], "right": right[i], "label": name, "share": share, "pairs": histogram.counts[name][i]}
            for name, of_class in shares.items()
            for i, share in enumerate(of_class)
        ]
    )
    x = alt.X(
        "left:Q",
        title=title,
        axis=alt.Axis(format=number, grid=False, tickCount=10),
        scale=alt.Scale(nice=False, zero=False),
    )
    y = alt.Y("share:Q", title="share of the pairs", axis=alt.Axis(format="%", tickCount=5))
    colour = alt.Color("label:N", scale=alt.Scale(domain=list(_CLASSES)), legend=None)
    tooltip = ["label:N", "left:Q", "right:Q", alt.Tooltip("pairs:Q", format=",")]
    base = alt.Chart(rows)
    bars = base.mark_bar(opacity=0.3, binSpacing=0)
    dash = alt.StrokeDash("label:N", scale=alt.Scale(domain=list(_CLASSES), range=[[1, 0], [5, 3]]), legend=None)
    # A line over the last bin too.
    ends = pd.DataFrame(
        [{"left": right[-1], "label": name, "share": of_class[-1]} for name, of_class in shares.items()]
    )
    outline = alt.Chart(pd.concat([rows, ends])).mark_line(interpolate="step-after", strokeWidth=2)
    return alt.layer(
        bars.encode(x=x, x2="right:Q", y=y.stack(None), y2=alt.datum(0), color=colour, tooltip=tooltip),
        outline.encode(x=x, y=y, color=colour, strokeDash=dash),
        *_names(rows, _named(shares), x, y, colour),
    ).properties(width=WIDTH, height=_SHORT)


def _names(rows: pd.DataFrame, at: dict[str, int], x: alt.X, y: alt.Y, colour: alt.Color) -> list[Any]:
    """Return the names of the classes, each above one of its bins."""
    bins = len(rows) // len(_CLASSES)
    chosen = {name: rows[rows["label"] == name].iloc[[place]] for name, place in at.items()}
    high = max(chosen, key=lambda name: float(chosen[name]["share"].iloc[0]))
    close = abs(at[_CLASSES[0]] - at[_CLASSES[1]]) < bins / 6
    marks = []
    for name, row in chosen.items():
        align: Any = "left" if at[name] < bins / 8 else "right" if at[name] > 7 * bins / 8 else "center"
        place = {"left": row["left"], "right": row["right"], "center": (row["left"] + row["right"]) / 2}[align]
        mark = alt.Chart(row.assign(left=place)).mark_text(
            dy=-25 if close and name == high else -9, fontSize=13, fontWeight=600, align=align
        )
        marks.append(mark.encode(x=x, y=y, color=colour, text="label:N"))
    return marks


def _named(shares: dict[str, list[float]]) -> dict[str, int]:
    """Return the bin where each class is furthest above the other."""
    one, other = (shares[name] for name in _CLASSES)
    above = [a - b for a, b in zip(one, other, strict=True)]
    return {_CLASSES[0]: above.index(max(above)), _CLASSES[1]: above.index(min(above))}


def component_sizes(found: Components) -> Figure:
    """Return the share of the pairs in components of each size."""
    rows = pd.DataFrame(
        [
            {
                "size": f"{low:,}" if low == high else f"{low:,}-{high:,}",
                "share": pairs / found.pairs,
                "components": count,
                "text": f"{count:,}" if count else "",
            }
            for low, high, count, pairs in found.sizes
            if count or low > 1
        ]
    )
    x = alt.X("size:N", sort=list(rows["size"]), axis=alt.Axis(labelAngle=0, grid=False, labelOverlap=True))
    base = alt.Chart(rows).encode(
        x=x.title("pairs in the component"), y=alt.Y("share:Q", title="share of all pairs", axis=alt.Axis(format="%"))
    )
    bars = base.mark_bar(style="accent", opacity=0.75).encode(
        tooltip=["size:N", alt.Tooltip("components:Q", format=","), alt.Tooltip("share:Q", format=".1%")]
    )
    text = base.mark_text(dy=-8, fontSize=12, style="soft").encode(text="text:N")
    shared = 1 - found.sizes[0][3] / found.pairs
    largest = counted(found.largest, "pair")
    return Figure(
        name="components",
        least=NARROW,
        title=f"{shared:.0%} of the pairs share a text with another; the largest component has {largest}",
        subtitle=f"{found.count:,} components: pairs that share a text, directly or through other pairs, stay on one"
        " side; numbers above the bars count components",
        chart=alt.layer(bars, text).properties(width=WIDTH, height=_SHORT),
    )


def largest_component(found: Graph) -> Figure:
    """Return the texts of the largest component as points and its pairs as lines; a text is shown on hover."""
    at = places(found)
    degree = [0] * len(found.texts)
    for one, other, _ in found.edges:
        degree[one] += 1
        degree[other] += one != other
    points = pd.DataFrame({"x": [x for x, _ in at], "y": [y for _, y in at], "pairs": degree, "text": found.texts})
    lines = pd.DataFrame(
        [
            {"x": at[a][0], "y": at[a][1], "x2": at[b][0], "y2": at[b][1], "label": _CLASSES[0 if label else 1]}
            for a, b, label in found.edges
        ]
    )
    x, y = (alt.X("x:Q", axis=None), alt.Y("y:Q", axis=None))
    scale = alt.Scale(domain=list(_CLASSES), range=[[1, 0], [4, 3]])
    drawn = alt.Chart(lines).mark_rule(opacity=0.55, strokeWidth=1.3).encode(
        x=x, y=y, x2="x2:Q", y2="y2:Q",
        color=alt.Color("label:N", scale=alt.Scale(domain=list(_CLASSES)), title=None, legend=alt.Legend(orient="top")),
        strokeDash=alt.StrokeDash("label:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
    )  # fmt: skip
    tooltip = ["pairs:Q", "text:N"] if any(found.texts) else ["pairs:Q"]
    size = alt.Size("pairs:Q", scale=alt.Scale(range=[16, 260]), legend=None)
    nodes = alt.Chart(points).mark_circle(style="ink", opacity=0.85).encode(x=x, y=y, size=size, tooltip=tooltip)
    part = "" if len(found.texts) == found.of_texts else f"; the {len(found.texts)} texts nearest to it are drawn"
    return Figure(
        name="largest-component",
        least=NARROW,
        title=f"The largest component outside test links {found.of_texts:,} texts by {found.pairs:,} pairs",
        subtitle=f"points are texts, lines are pairs; one text is in {max(degree)} of them{part}",
        chart=alt.layer(drawn, nodes).properties(width=WIDTH, height=min(HEIGHT + 60, 180 + 4 * len(found.texts))),
    )


def _counted(shown: int, of: int, what: str) -> str:
    return f"{of:,} {what}" if shown == of else f"a sample of {shown:,} of {of:,} {what}"


def all_scores(found: Findings) -> Sequence[Figure]:
    """Return a figure per model, TF-IDF first."""
    return [score(one, f"scores-{number}", len(found.scores) == 2) for number, one in enumerate(found.scores)]
