"""explore.html, explore.md and its pictures: the sections of the page, in the order in which people ask."""

from collections.abc import Sequence

from tune.metrics.verdict import as_sentence
from tune.report.document import Document, Page, Section
from tune.report.explore.figures import all_scores, component_sizes, largest_component, lengths, overlap
from tune.report.explore.findings import Conflicts, Findings, Resolved, Scored, ShownPair
from tune.report.explore.sentences import answer, can_show, near_line, points, same_line
from tune.report.facts import REASONS
from tune.report.tables import Cell, Row, Table, facts, number

_ID = "pairs"


def explore_document(found: Findings) -> Document:
    """Return the page on these findings."""
    synthetic = " (synthetic data)" if found.synthetic else ""
    title = f"{found.source}: {found.kept:,} labelled pairs"
    subtitle = f"embedtune explore, before any search{synthetic}. {found.scope}"
    return Document(title, subtitle, [Page(_ID, found.source, answer(found), "", _sections(found))])


def _sections(found: Findings) -> list[Section]:
    graph = found.components.graph
    linked = [component_sizes(found.components), *([largest_component(graph)] if graph else [])]
    scored = [_scores(found.scores)]
    return [
        Section("read", "What was read", tables=[facts(_facts(found)), _sides(found), *_examples(found)]),
        Section("lengths", "Lengths", figures=[lengths(found.lengths)]),
        Section("words", "The bar to beat", figures=[overlap(found.overlap), *all_scores(found)], tables=scored),
        Section("components", "Linked pairs", figures=linked),
        Section("conflicts", "Contradictions", tables=_conflicts(found), lines=_conflict_lines(found)),
        Section(
            "resolution",
            "What these pairs can show",
            lines=_can_show(found),
            tables=[_resolved(found.resolved, found.correlation)],
        ),
    ]


def _facts(found: Findings) -> dict[str, str]:
    dropped = ", ".join(f"{count:,} {REASONS.get(reason, reason)}" for reason, count in found.dropped.items())
    return {
        "source": found.source,
        "synthetic": "yes: invented pairs" if found.synthetic else "",
        **found.facts,
        "pairs": f"{found.read:,} read, {found.kept:,} kept",
        "dropped": dropped or "none",
    }


def _sides(found: Findings) -> Table:
    rows = [
        Row(
            [
                Cell(side.name),
                Cell(f"{side.pairs:,}", side.pairs),
                Cell(f"{side.pairs / found.kept:.1%}", side.pairs / found.kept),
                Cell(f"{side.positive:,}", side.positive),
                Cell(f"{side.positive / max(side.pairs, 1):.1%}", side.positive / max(side.pairs, 1)),
                Cell(f"{side.components:,}", side.components),
            ]
        )
        for side in found.sides
    ]
    columns = ["side", "pairs", "share", "positive", "share positive", "components"]
    return Table(columns, rows, frozenset(range(1, 6)), title="The split, as a search would make it")


def _examples(found: Findings) -> list[Table]:
    rows = [_row(pair, name) for name, pairs in found.examples.items() for pair in pairs]
    return [_pairs_table("Examples of both labels", ["label"], rows)] if rows else []


def _row(pair: ShownPair, *first: str) -> Row:
    return Row([*map(Cell, first), Cell(str(pair.row), pair.row), Cell(pair.text_a), Cell(pair.text_b)])


def _pairs_table(title: str, first: Sequence[str], rows: list[Row]) -> Table:
    n = len(first)
    columns = [*first, "row", "first text", "second text"]
    return Table(columns, rows, frozenset({n}), title=title, texts=frozenset({n + 1, n + 2}))


def _scores(scores: Sequence[Scored]) -> Table:
    rows = [
        Row([Cell(one.name), Cell(one.described(), one.auc), Cell(f"{one.pairs:,}", one.pairs), Cell(one.interval)])
        for one in scores
    ]
    notes = [f"{one.name}: {one.note}." for one in scores if one.note]
    return Table(["untouched model", "AUC [95%]", "pairs", "interval"], rows, frozenset({1, 2}), notes)


def _conflict_lines(found: Findings) -> list[str]:
    return [line for line in (same_line(found), near_line(found, len(found.near.shown))) if line]


def _conflicts(found: Findings) -> list[Table]:
    same, near = found.contradicting.shown, found.near.shown
    tables = []
    if same:
        tables.append(_pairs_table("The same pair with both labels", ["label"], _groups(found.contradicting)))
    if near:
        rows = [
            Row([Cell(f"{share:.0%}", share), *_row(pair, str(pair.label)).cells])
            for share, group in zip(found.near.share, near, strict=True)
            for pair in group
        ]
        tables.append(_pairs_table("Nearly the same pair with another label", ["alike", "label"], rows))
    if tables:
        tables[-1].notes.append("Row numbers count from 0, as in split.parquet.")
    return tables


def _can_show(found: Findings) -> list[str]:
    return [can_show(one) for one in found.resolved]


def _groups(conflicts: Conflicts) -> list[Row]:
    return [_row(pair, str(pair.label)) for group in conflicts.shown for pair in group]


def _resolved(sides: Sequence[Resolved], correlation: str) -> Table:
    rows = [
        Row(
            [
                Cell(one.side),
                Cell(f"{one.pairs:,}", one.pairs),
                Cell(f"{one.components:,}", one.components),
                number(one.auc) if one.auc is None else Cell(f"± {points(one.auc)}", one.auc),
                Cell(points(one.difference), one.difference),
                Cell(points(one.found), one.found),
            ]
        )
        for one in sides
    ]
    columns = [
        "on",
        "pairs",
        "components",
        "interval\nof an AUC",
        "smallest clear\ndifference",
        "detected\n4 times in 5",
    ]
    notes = [
        "In points of AUC (0.01), at 95%. Smallest clear difference: a measured difference of that size has an interval"
        " that just excludes 0. Detected 4 times in 5: a true difference of that size is clear in 4 of 5 samples.",
        as_sentence(correlation),
    ]
    return Table(columns, rows, frozenset(range(1, 6)), notes)
