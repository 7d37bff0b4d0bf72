"""The tables of a source: one per file, or per split of a dataset."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tune.data._class_names import ClassNames, of_dataset, of_file
from tune.data._columns import sides_of_names
from tune.data._formats import read_columns, read_headers
from tune.data._library import columns_of, load_hub, load_saved
from tune.data._sources import DataFile, HubName, SavedDataset
from tune.data.sides import SIDES
from tune.errors import DataError
from tune.events import Emit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Table:
    """One file, or one split of a hub dataset, not read yet."""

    name: str
    side: str | None
    header: list[str]
    read: Callable[[Sequence[str], Emit], dict[str, list[Any]]]
    classes: ClassNames


def tables_of(found: list[DataFile] | SavedDataset | HubName) -> Iterator[Table]:
    """Return the tables in reading order. Raises DataError if one cannot be opened, or no split is that of a side."""
    return _of_files(found) if isinstance(found, list) else _of_dataset(found)


def _of_files(files: Sequence[DataFile]) -> Iterator[Table]:
    for file, header in zip(files, read_headers(files), strict=True):
        yield Table(file.name, file.side, header, partial(read_columns, file), of_file(file))


def _of_dataset(found: HubName | SavedDataset) -> Iterator[Table]:
    splits = load_hub(found) if isinstance(found, HubName) else load_saved(found)
    names = list(splits)
    sides = sides_of_names(names)
    if len(splits) > 1:
        ignored = [name for name, side in zip(names, sides, strict=True) if side is None]
        if len(ignored) == len(names):
            raise DataError(
                f"dataset {str(found)!r} has no split named train, val or test, only {', '.join(names[:5])}:"
                " save the one you need to a file"
            )
        if ignored:
            log.warning("%s: skipped splits: %s", found, ", ".join(ignored[:5]))
    chosen = [(name, side) for name, side in zip(names, sides, strict=True) if side or len(names) == 1]
    chosen.sort(key=lambda item: SIDES.index(item[1] or "train"))
    given = len({side for _, side in chosen}) > 1
    for name, side in chosen:
        rows = splits[name]
        yield Table(
            f"{found} ({name})", side if given else None, rows.column_names, partial(columns_of, rows), of_dataset(rows)
        )
