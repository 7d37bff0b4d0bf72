"""Labelled pairs as found in the source: read, columns found, labels parsed, nothing dropped.

`check_data` refuses early and cheaply what `read_pairs` would refuse late. clean.py drops rows, split.py splits.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune.config.data import DataConfig
from tune.config.search import flag
from tune.data._columns import Columns, find_columns, has_label, negative_columns, parse_sides, parse_texts
from tune.data._files import DataFile, HubName, RemoteFile, SavedDataset, locate
from tune.data._label_values import parse_scores
from tune.data._labels import PLAIN, LabelColumn, Meaning, parse_labels, together
from tune.data._library import hub_columns
from tune.data._remote import local
from tune.data._scores import Scale, graded
from tune.data._tables import Table, tables_of
from tune.data._triplets import MEANING, as_pairs, refuse_options
from tune.data.numbered import taken
from tune.errors import DataError
from tune.events import Emit, ignore

__all__ = ["Columns", "Meaning", "Pairs", "check_data", "read_pairs", "require_both_classes"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pairs:
    """n labelled pairs of raw texts. Before cleaning, empty texts are "" and missing labels UNLABELLED (-1)."""

    text_a: list[str]
    text_b: list[str]
    label: NDArray[np.int8]
    """[n], 1 = belong together."""
    row: NDArray[np.int64]
    """[n], row number in the source, from 0, over all files in reading order (that of SIDES). The pairs of a triplet
    share it."""
    side: list[str] | None
    """[n], the given split, each one of SIDES; None if there is none."""
    columns: Columns
    source: str
    """What was read, for display: "demo", a file or folder name, a hub name. Never a full path."""
    synthetic: bool = False
    score: NDArray[np.float64] | None = None
    """[n], graded scores scaled to [0, 1], before cleaning NaN for none; None if the pairs are not graded."""
    scale: Scale | None = None
    """How `score` was scaled."""
    meaning: Meaning = PLAIN
    """Which values of the label column are positive."""
    hint: str = ""
    """A sentence on a column that looks like a split but is not used, or ""."""

    def __len__(self) -> int:
        return len(self.text_a)

    def take(self, index: NDArray[np.int64]) -> "Pairs":
        """Return the rows at `index`, in that order."""
        return Pairs(
            text_a=taken(self.text_a, index),
            text_b=taken(self.text_b, index),
            label=self.label[index],
            row=self.row[index],
            side=None if self.side is None else [self.side[i] for i in index.tolist()],
            columns=self.columns,
            source=self.source,
            synthetic=self.synthetic,
            score=None if self.score is None else self.score[index],
            scale=self.scale,
            meaning=self.meaning,
            hint=self.hint,
        )


def check_data(config: DataConfig) -> None:
    """Check what needs no reading of the data: existence, format, header, columns.

    Takes milliseconds for files; asks the hub (or its local cache) about a hub name. Of an address, only the form is
    checked. Raises a one-line DataError.
    """
    if config.data is None:
        _check_demo(config)
        return
    found = locate(config.data)
    if isinstance(found, RemoteFile):
        # Fetched once, when it is read.
        return
    if isinstance(found, HubName):
        names = hub_columns(found)
        tables = [] if names is None else [(str(found), names)]
    else:
        kept, _ = _without_unlabelled_test(tables_of(found), config)
        tables = [(table.name, table.header) for table in kept]
    for name, header in tables:
        columns = find_columns(header, config, name)
        against = negative_columns(header, columns)
        if columns.label is None and columns.score is None and not against:
            raise _only_positives(name)
        if against:
            refuse_options(config, name)


def read_pairs(config: DataConfig, emit: Emit = ignore) -> Pairs:
    """Return all rows of the source with parsed labels; the demo pairs if `config.data` is None.

    The given split comes from `--split-column`, or else from the names of several files or hub splits. Raises DataError
    for anything that a search cannot use: one line that names the cause and the fix.
    """
    if config.data is None:
        return _demo(config)
    found = locate(config.data)
    source = Path(config.data).expanduser().resolve().name if isinstance(found, list) else str(found)
    with local(found) as here:
        return _pairs_of(here, source, config, emit)


def _pairs_of(found: list[DataFile] | SavedDataset | HubName, source: str, config: DataConfig, emit: Emit) -> Pairs:
    if isinstance(found, list) and found[0].part_of is not None:
        shown = ", ".join(file.name for file in found[:3])
        log.warning("%s: read as one table: %s%s", source, shown, f" and {len(found) - 3} more" if found[3:] else "")
    rows = _Rows()
    kept, left_out = _without_unlabelled_test(tables_of(found), config)
    for table in left_out:
        log.warning("%s: left out, since it has no label column", table.name)
    for table in kept:
        rows.add(table, config, emit)
    if rows.columns is None or not rows.text_a:
        raise DataError(f"{source} has no rows: add labelled pairs")
    label, meaning = rows.labelled(config, source)
    score, scale = None, None
    if rows.scores:
        score, scale = graded(
            np.concatenate(rows.scores), None if rows.no_label else label, rows.columns, config, source
        )
    elif rows.columns.label is None and not rows.triplets:
        raise _only_positives(source)
    if rows.triplets:
        log.warning("%s: %d triplets read as %d pairs", source, rows.triplets, len(label))
    require_both_classes(label, source)
    log.info("%s: %d rows read", source, len(label))
    return Pairs(
        text_a=rows.text_a,
        text_b=rows.text_b,
        label=label,
        row=np.concatenate(rows.numbers),
        side=rows.sides or None,
        columns=rows.columns,
        source=source,
        score=score,
        scale=scale,
        meaning=meaning,
        hint=rows.hint,
    )


@dataclass
class _Rows:
    """The rows of all tables so far. columns: of the first table. no_label: whether a table has scores, but no label.

    labels, scores, numbers: per table; labels not parsed, if a column has them; scores as written, and only if there
    are some; numbers of rows in the source. read, triplets: how many rows there are, and how many are triplets.
    """

    text_a: list[str] = field(default_factory=list)
    text_b: list[str] = field(default_factory=list)
    labels: list[LabelColumn | NDArray[np.int8]] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    columns: Columns | None = None
    no_label: bool = False
    numbers: list[NDArray[np.int64]] = field(default_factory=list)
    read: int = 0
    triplets: int = 0
    hint: str = ""

    def add(self, table: Table, config: DataConfig, emit: Emit) -> None:
        """Read a table. Raises DataError as `read_pairs` does."""
        columns = find_columns(table.header, config, table.name)
        against = negative_columns(table.header, columns)
        values = table.read([*columns.names(), *against], emit)
        n = len(values[columns.text_a])
        number = np.arange(n)
        label = None
        if against:
            refuse_options(config, table.name)
            self.triplets += n
            values, label, number = as_pairs(values, columns, against, table.name)
        self.numbers.append(self.read + number)
        self.read += n
        self.text_a += parse_texts(values[columns.text_a], columns.text_a, table.name)
        self.text_b += parse_texts(values[columns.text_b], columns.text_b, table.name)
        if columns.score is not None:
            self.scores.append(parse_scores(values[columns.score], columns.score, table.name))
            self.no_label |= columns.label is None
        if columns.label is not None:
            classes = table.classes.get(columns.label)
            self.labels.append(LabelColumn(columns.label, table.name, values[columns.label], classes))
        else:
            self.labels.append(np.ones(len(self.numbers[-1]), np.int8) if label is None else label)
        if columns.split is not None:
            self.sides += parse_sides(values[columns.split], columns.split, table.name)
        elif table.side is not None:
            self.sides += [table.side] * len(values[columns.text_a])
        self.columns = self.columns or columns
        self.hint = self.hint or _hint_at_split(table, columns)

    def labelled(self, config: DataConfig, source: str) -> tuple[NDArray[np.int8], Meaning]:
        """Return the labels of all rows, [n], and their meaning, which is one for all tables."""
        columns = [one for one in self.labels if isinstance(one, LabelColumn)]
        parsed, meaning = parse_labels(columns, config, source) if columns else ([], None)
        meanings = [one for one in (MEANING if self.triplets else None, meaning) if one is not None]
        of_columns = iter(parsed)
        labels = [next(of_columns) if isinstance(one, LabelColumn) else one for one in self.labels]
        return np.concatenate(labels), together(meanings)


def require_both_classes(label: NDArray[np.int8], where: str) -> None:
    """Raise DataError unless both labels, 0 and 1, occur."""
    present = [value for value in (0, 1) if bool((label == value).any())]
    if not present:
        raise DataError(f"{where} has no labelled pairs: fill the label column with 0 and 1")
    if len(present) == 1:
        raise DataError(
            f"{where} has only pairs labelled {present[0]}: add pairs labelled {1 - present[0]},"
            " since a search needs both classes"
        )


def _only_positives(where: str) -> DataError:
    return DataError(
        f"{where} has no label column, so all its pairs are positive (label 1):"
        " add negatives (label 0) and a label column, or name the column with --label"
    )


def _without_unlabelled_test(tables: Iterable[Table], config: DataConfig) -> tuple[list[Table], list[Table]]:
    """Return the tables to read, and those to leave out: test without labels beside labelled tables.

    Competitions hand out data like this. If one side remains, it is no split: its rows are split as if they came alone.
    """
    found = list(tables)
    labelled = [table for table in found if _has_labels(table, config)]
    out = [table for table in found if table.side == "test" and table not in labelled]
    if not labelled or not out:
        return found, []
    rest = [table for table in found if table not in out]
    alone = len({table.side for table in rest}) == 1
    return [replace(table, side=None) for table in rest] if alone else rest, out


def _has_labels(table: Table, config: DataConfig) -> bool:
    """Return whether a table has a label column or rows of triplets."""
    if has_label(table.header, config):
        return True
    try:
        return bool(negative_columns(table.header, find_columns(table.header, config, table.name)))
    except DataError:
        return False


def _hint_at_split(table: Table, columns: Columns) -> str:
    """Return a hint if a column looks like a split but is not used; the user decides whether to keep that split."""
    unused = columns.split is None and table.side is None
    for name in table.header if unused else ():
        if name.casefold() == "split" and name not in columns.names():
            return f"{table.name}: column {name!r} is not used; --split-column {name} keeps that split"
    return ""


def _check_demo(config: DataConfig) -> None:
    options = ("text_a", "text_b", "label", "positive_label", "positive_from", "score", "split_column")
    given = [flag(name) for name in options if getattr(config, name) is not None]
    if given:
        raise DataError(
            f"{', '.join(given)} given without --data: add --data, or use the demo pairs without these options"
        )


def _demo(config: DataConfig) -> Pairs:
    from tune.data.demo import demo_pairs

    _check_demo(config)
    pairs = demo_pairs()
    return Pairs(
        text_a=[a for a, _, _ in pairs],
        text_b=[b for _, b, _ in pairs],
        label=np.array([label for _, _, label in pairs], np.int8),
        row=np.arange(len(pairs)),
        side=None,
        columns=Columns("text_a", "text_b", "label"),
        source="demo",
        synthetic=True,
    )
