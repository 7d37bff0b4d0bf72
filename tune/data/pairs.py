"""Labelled pairs as they stand in the source: read, columns found, labels parsed, nothing dropped.

`check_data` refuses early and cheaply what `read_pairs` would refuse late. Cleaning is in clean.py, the split
in split.py.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.data import DataConfig
from tune.data._columns import Columns, find_columns, parse_labels, parse_sides, parse_texts, sides_of_names
from tune.data._files import DataFile, HubName, locate
from tune.data._formats import read_columns, read_header
from tune.data._library import hub_columns, load_hub
from tune.errors import DataError

__all__ = ["Columns", "Pairs", "check_data", "read_pairs", "require_both_classes"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pairs:
    """n labelled pairs of raw texts. Before cleaning an empty text is "" and a row without label has label
    -1."""

    text_a: list[str]
    text_b: list[str]
    label: NDArray[np.int8]
    """[n], 1 = belongs together."""
    row: NDArray[np.int64]
    """[n], row number in the source, from 0, over all files in reading order (train, val, test)."""
    side: list[str] | None
    """[n], the given split: "train", "val" or "test"; None where there is none."""
    columns: Columns
    source: str
    """What was read, for people: "demo", a file or folder name, a hub name. Never a whole path."""
    synthetic: bool = False

    def __len__(self) -> int:
        return len(self.text_a)

    def take(self, index: NDArray[np.int64]) -> "Pairs":
        """The rows at `index`, in that order."""
        at = index.tolist()
        return Pairs(
            text_a=[self.text_a[i] for i in at],
            text_b=[self.text_b[i] for i in at],
            label=self.label[index],
            row=self.row[index],
            side=None if self.side is None else [self.side[i] for i in at],
            columns=self.columns,
            source=self.source,
            synthetic=self.synthetic,
        )


@dataclass(frozen=True)
class _Table:
    """One file or one split of a hub dataset, not read yet."""

    name: str
    side: str | None
    header: list[str]
    read: Callable[[Sequence[str]], dict[str, list[Any]]]


def check_data(config: DataConfig) -> None:
    """Refuses what can be seen without reading the data: existence, format, header, columns. Takes
    milliseconds for files; asks the hub (or its local cache) about a hub name. DataError of one line."""
    if config.data is None:
        _check_demo(config)
        return
    found = locate(config.data)
    if isinstance(found, HubName):
        names = hub_columns(found)
        tables = [] if names is None else [(str(found), names)]
    else:
        tables = [(file.name, read_header(file)) for file in found]
    for name, header in tables:
        columns = find_columns(header, config, name)
        if columns.label is None:
            raise _only_positives(name)


def read_pairs(config: DataConfig) -> Pairs:
    """All rows of the source with their labels parsed; the demo pairs where `config.data` is None.

    The given split comes from `--split-column`, else from the names of several files or hub splits, else
    there is none. Raises DataError, one line that names the cause and the mend, for anything that cannot be
    searched on.
    """
    if config.data is None:
        return _demo(config)
    found = locate(config.data)
    if isinstance(found, HubName):
        source, tables = str(found), _hub_tables(found)
    else:
        source, tables = Path(config.data).expanduser().resolve().name, _file_tables(found)

    text_a: list[str] = []
    text_b: list[str] = []
    labels: list[NDArray[np.int8]] = []
    sides: list[str] = []
    first: Columns | None = None
    for table in tables:
        columns = find_columns(table.header, config, table.name)
        values = table.read(columns.names())
        text_a += parse_texts(values[columns.text_a], columns.text_a, table.name)
        text_b += parse_texts(values[columns.text_b], columns.text_b, table.name)
        n = len(values[columns.text_a])
        labels.append(_labels(values, columns, config, n, table.name))
        if columns.split is not None:
            sides += parse_sides(values[columns.split], columns.split, table.name)
        elif table.side is not None:
            sides += [table.side] * n
        first = first or columns
        _hint_at_split(table, columns)
    if first is None or not text_a:
        raise DataError(f"{source} holds no rows: give labelled pairs")
    label = np.concatenate(labels)
    if first.label is None:
        raise _only_positives(source)
    require_both_classes(label, source)
    log.info("%s: %d rows read", source, len(label))
    return Pairs(text_a, text_b, label, np.arange(len(label)), sides or None, first, source)


def require_both_classes(label: NDArray[np.int8], where: str) -> None:
    """DataError unless both labels, 0 and 1, occur."""
    present = [value for value in (0, 1) if bool((label == value).any())]
    if not present:
        raise DataError(f"{where} holds no labelled pairs: fill the label column with 0 and 1")
    if len(present) == 1:
        raise DataError(
            f"{where} holds only pairs labelled {present[0]}: add pairs labelled {1 - present[0]},"
            " as a search needs both classes"
        )


def _only_positives(where: str) -> DataError:
    return DataError(
        f"{where} has no label column, so every row is a positive pair (label 1 only):"
        " add negatives (label 0) and a label column, or name it with --label"
    )


def _labels(values: dict[str, list[Any]], columns: Columns, config: DataConfig, n: int, where: str) -> NDArray[np.int8]:
    if columns.label is None:
        return np.ones(n, np.int8)
    return parse_labels(values[columns.label], config.positive_from, columns.label, where)


def _file_tables(files: Sequence[DataFile]) -> Iterator[_Table]:
    for file in files:
        yield _Table(file.name, file.side, read_header(file), partial(read_columns, file))


def _hub_tables(hub: HubName) -> Iterator[_Table]:
    splits = load_hub(hub)
    names = list(splits)
    sides = sides_of_names(names)
    if len(splits) > 1:
        ignored = [name for name, side in zip(names, sides, strict=True) if side is None]
        if len(ignored) == len(names):
            raise DataError(
                f"hub dataset {str(hub)!r} has the splits {', '.join(names[:5])}, "
                "none named train, val or test: save the wanted one to a file"
            )
        if ignored:
            log.warning("%s: splits not read: %s", hub, ", ".join(ignored[:5]))
    order = ("train", "val", "test")
    chosen = [(name, side) for name, side in zip(names, sides, strict=True) if side or len(names) == 1]
    chosen.sort(key=lambda item: order.index(item[1] or "train"))
    given = len({side for _, side in chosen}) > 1
    for name, side in chosen:
        table = splits[name]
        yield _Table(f"{hub} ({name})", side if given else None, table.column_names, partial(_lists, table))


def _lists(table: Any, columns: Sequence[str]) -> dict[str, list[Any]]:
    return {column: table.column(column).to_pylist() for column in columns}


def _hint_at_split(table: _Table, columns: Columns) -> None:
    """Says so where a column looks like a split and is not used; keeping it is the user's choice."""
    if columns.split is None and table.side is None:
        for name in table.header:
            if name.casefold() == "split" and name not in columns.names():
                log.info("%s: column %r is not used; --split-column %s keeps that split", table.name, name, name)


def _check_demo(config: DataConfig) -> None:
    options = ("text_a", "text_b", "label", "positive_from", "split_column")
    given = [f"--{name.replace('_', '-')}" for name in options if getattr(config, name) is not None]
    if given:
        raise DataError(f"{', '.join(given)} given without --data: give the data, or leave it out for the demo pairs")


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
