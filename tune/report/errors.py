"""Errors worth reading: the most confident wrong pairs of validation, and what training repaired and broke.

Chooses rows by score alone, and lays out texts that it is handed. Never of test: reading errors is a way of tuning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tune.data.one_line import one_line
from tune.report.document import Section
from tune.report.scored import Model, Side, side_of
from tune.report.story import Story
from tune.report.tables import Cell, Row, Table, number

ROWS = 10
"""Of a list."""
LONGEST = 300
"""Characters of a text that are shown."""
_SIDES = ("val", "folds")


@dataclass(frozen=True)
class Texts:
    """Texts of pairs, read from the user's own data when the report is written.

    of: (row, label) -> the pairs' texts; more than one pair for a triplet with several negatives. note: why there are
    none, as a sentence.
    """

    of: Mapping[tuple[int, int], Sequence[tuple[str, str]]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, eq=False)
class Listed:
    """A list of pairs under a heading. index: their places on the side, the strongest first."""

    heading: str
    index: NDArray[np.int64]


def wanted(story: Story) -> set[tuple[int, int]]:
    """Return row and label of the pairs whose texts the section shows."""
    side = side_of(story, _SIDES)
    lists = [] if side is None else lists_of(side)
    return {_key(side, i) for listed in lists for i in listed.index.tolist()} if side else set()


def errors(story: Story, texts: Texts) -> Section:
    """Return the section; an empty one without scores of validation."""
    side = side_of(story, _SIDES)
    if side is None or side.before.threshold is None or (side.after and side.after.threshold is None):
        return Section("errors", "Errors worth reading")
    tables = [_table(side, listed, texts) for listed in lists_of(side) if len(listed.index)]
    lines = [_counts(side), _why_not_test(story, side), texts.note]
    return Section("errors", "Errors worth reading", tables=tables, lines=[line for line in lines if line])


def lists_of(side: Side, rows: int = ROWS) -> list[Listed]:
    """Return the lists: errors after training, what it repaired and broke, errors before; the most confident first.

    Confidence is the distance of a score from the model's threshold. What training repaired and broke is in order of
    how far it moved the pair: the difference of both distances.
    """
    if side.after is None:
        return _confident(side.before, "with the untouched model", rows)
    moved = np.abs(_margin(side.after) - _margin(side.before))
    repaired, broken = side.changed
    return [
        *_confident(side.after, "after training", rows),
        Listed("Repaired by training, moved farthest first", _strongest(repaired, moved, rows)),
        Listed("Broken by training, moved farthest first", _strongest(broken, moved, rows)),
        *_confident(side.before, "before training", rows),
    ]


def _confident(model: Model, when: str, rows: int) -> list[Listed]:
    distance = np.abs(_margin(model))
    return [
        Listed(f"False {name} {when}, most confident first", _strongest(model.wrong & chosen, distance, rows))
        for name, chosen in (("positives", ~model.positive), ("negatives", model.positive))
    ]


def _margin(model: Model) -> NDArray[np.float64]:
    assert model.threshold is not None
    return model.scores - model.threshold


def _strongest(chosen: NDArray[np.bool_], by: NDArray[np.float64], rows: int) -> NDArray[np.int64]:
    index = np.flatnonzero(chosen)
    return index[np.argsort(-by[index], kind="stable")[:rows]]


def _key(side: Side, i: int) -> tuple[int, int]:
    return int(side.row[i]), int(side.positive[i])


def _table(side: Side, listed: Listed, texts: Texts) -> Table:
    with_texts = bool(texts.of)
    models = [side.before] + ([side.after] if side.after else [])
    names = ["score before", "score after"] if side.after else ["score"]
    columns = [*(["first text", "second text"] if with_texts else []), "label", *names, "row"]
    rows = []
    for i in listed.index.tolist():
        row, label = _key(side, i)
        read = [Cell(text) for text in _texts(texts.of.get((row, label), ()))] if with_texts else []
        scores = [number(float(model.scores[i])) for model in models]
        rows.append(Row([*read, Cell(str(label), label), *scores, Cell(str(row), row)]))
    first = 2 if with_texts else 0
    return Table(
        columns, rows, frozenset(range(first, len(columns))), title=listed.heading, texts=frozenset(range(first))
    )


def _texts(pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return both texts of a pair, cut; of the pairs of a triplet with several negatives, each of these."""
    first, second = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    either = " / ".join(second) if len(second) < 2 else f"one of: {' / '.join(second)}"
    return one_line(" / ".join(first), LONGEST), one_line(either, LONGEST)


def _counts(side: Side) -> str:
    before = _wrong(side.before)
    if side.after is None:
        return f"Of {len(side):,} {side.label} pairs, {before} are wrong."
    repaired, broken = (int(one.sum()) for one in side.changed)
    new = f"{broken:,} new one{'' if broken == 1 else 's'}"
    return (
        f"Of {len(side):,} {side.label} pairs, {before} are wrong before training and {_wrong(side.after)} after."
        f" Training repaired {repaired:,} errors and made {new}. Confident errors are often wrong labels."
    )


def _wrong(model: Model) -> str:
    high = int((model.wrong & ~model.positive).sum())
    low = int((model.wrong & model.positive).sum())
    kinds = f"{high:,} false positive{'s' * (high != 1)}, {low:,} false negative{'s' * (low != 1)}"
    return f"{high + low:,} ({kinds}, {model.one_sided or f'threshold {model.threshold:.4f}'})"


def _why_not_test(story: Story, side: Side) -> str:
    folded = "Each pair was scored by a model of the folds that had not seen it. " if side.name == "folds" else ""
    tested = story.scores is not None and bool((story.scores.side == "test").any())
    where = "cross-validation" if folded else "validation"
    why = f"They are from {where}, not from test: reading errors is a way of tuning. " if tested or not folded else ""
    return f"{folded}{why}Row numbers count from 0."
