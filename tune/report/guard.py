"""The section on guard sets: what training cost of what the base models knew, and how the winner was merged."""

from collections.abc import Mapping
from typing import Any

from tune.metrics.verdict import as_sentence, in_brackets
from tune.report.document import Section
from tune.report.figures.merging import merging
from tune.report.story import Line, Story
from tune.report.tables import Cell, Row, Table, number


def guard(story: Story) -> Section:
    """Return the section; an empty one for a search without guard sets."""
    figure = merging(story)
    tables = [one for one in (_models(story), _shares(story)) if one.rows]
    return Section("guard", "What the base model knew", [] if figure is None else [figure], tables)


def forgotten(story: Story) -> list[str]:
    """Return a sentence per guard set on which the winner is worse for sure, and how it was merged, if it was."""
    found = story.summary.get("guard") or {}
    merge = _merge(story)
    said = list(found.get("sentences") or [])
    return [as_sentence(one) for one in [*said, *([merge["sentence"]] if merge.get("sentence") else [])]]


def _merge(story: Story) -> Mapping[str, Any]:
    return (story.summary.get("merge") or {}).get((story.summary.get("winner") or {}).get("trial")) or {}


def _models(story: Story) -> Table:
    """Return the AUC of every model on every guard set, before and after training, in the leaderboard's order."""
    found = story.summary.get("guard") or {}
    by_key: Mapping[str, Any] = found.get("models") or {}
    merged = story.summary.get("merge") or {}
    rows = []
    for line in story.lines:
        entry = by_key.get(_key(line))
        for name, one in ((entry or {}).get("sets") or {}).items():
            apart = "" if one.get("delta") is None else f"{one['delta']:+.4f}{in_brackets(one['low'], one['high'])}"
            share = merged.get(line.trial, {}).get("share")
            cells = [
                Cell(line.name if line.is_baseline else f"{line.name}, {line.trial[:8]}"),
                Cell(name),
                number(one["before"]),
                number(one["after"]),
                Cell(apart, one.get("delta")),
                Cell("" if share is None else f"{share:g}", share),
            ]
            rows.append(Row(cells, "" if line.is_baseline else line.trial))
    columns = ["model", "guard set", "AUC before", "AUC after", "difference [95%]", "merge"]
    notes = [_sizes(found)] if rows else []
    return Table(columns, rows, frozenset({2, 3, 4, 5}), notes, texts=frozenset({1}))


def _sizes(found: Mapping[str, Any]) -> str:
    sets = "; ".join(
        f"{one['name']}: {one['pairs']:,} pairs, {one['texts_in_train']} of their {one['texts']:,} texts also in train"
        for one in found.get("sets") or []
    )
    return f"Guard sets are scored and never trained on ({sets}). Differences are paired."


def _key(line: Line) -> str:
    if line.is_baseline:
        return f"baseline:{line.get('base_model')}"
    return f"{line.trial}@{line.get('dims')}" if line.get("matryoshka") else line.trial


def _shares(story: Story) -> Table:
    """Return the AUC of the winner on val and on the guard sets at each share of its training."""
    found = _merge(story)
    points = found.get("points") or []
    rows = [
        Row(
            [
                Cell(f"{one['share']:g}{' (chosen)' if one['share'] == found['share'] else ''}", one["share"]),
                number(one["val_auc"]),
                number(one["guard_auc"]),
                number(one["guard_auc"] - found["before"]),
            ]
        )
        for one in (points if len(points) > 1 else [])
    ]
    columns = ["share of the training", "val AUC", "guard AUC", "against the untouched base"]
    title = "The winner merged with its base model"
    return Table(columns, rows, frozenset({0, 1, 2, 3}), [], title=title)
