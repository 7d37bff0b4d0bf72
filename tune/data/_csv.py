"""Reading columns from a csv or tsv file: the delimiter, the header, and rows as `_quoting` finds them.

Values are strings, exactly as written; `\\N`, which Postgres and MySQL write for NULL, is "".
"""

import contextlib
import csv
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from tune.data._dialects import Source, UnreadableError
from tune.data._quoting import read_rows
from tune.data._sources import DataFile
from tune.errors import DataError

_NULL = r"\N"


@dataclass(frozen=True)
class Head:
    """The delimiter, the column names, and how many lines come before them."""

    delimiter: str
    names: list[str]
    skipped: int


def table_head(file: DataFile, open_raw: Callable[[], IO[bytes]]) -> Head:
    """Return the head of a table. open_raw: opens it as plain bytes. Raises DataError if there are no rows.

    The delimiter that finds most columns wins; spreadsheets also write ; in csv.
    """
    tabs_first = ".csv" not in [suffix.lower() for suffix in file.path.suffixes]
    candidates = ("\t", ",", ";", "|") if tabs_first else (",", ";", "\t", "|")
    with _text(open_raw) as text:
        # By this line Excel opens a file in columns.
        skipped = int(re.fullmatch(r"sep=.\s*", text.readline(20), re.IGNORECASE) is not None)
    with _long_fields():
        heads = {delimiter: _header(open_raw, delimiter, skipped) for delimiter in candidates}
    delimiter = max(candidates, key=lambda d: len(heads[d][0]))
    names, first_row = heads[delimiter]
    if not first_row:
        raise no_rows(file)
    # A line without quotes and backslashes reads the same however texts are quoted: refused before all is read.
    fields = first_row.count(delimiter) + 1
    if fields > len(names) and '"' not in first_row and "\\" not in first_row:
        raise _ragged(file, "the first row", fields, len(names))
    return Head(delimiter, [name.strip() for name in names], skipped)


def read_table(file: DataFile, plain: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns `names` of a plain UTF-8 file. Raises DataError as `_quoting.read_rows` does, in one line."""
    head = table_head(file, lambda: plain.open("rb"))
    wanted = tuple(head.names.index(name) for name in names)
    try:
        with _long_fields():
            columns = read_rows(Source(plain, head.delimiter, len(head.names), head.skipped, wanted))
    except UnreadableError as error:
        raise _fault(file, error, len(head.names)) from None
    if not columns[0]:
        raise no_rows(file)
    return dict(zip(names, (_without_null(column) for column in columns), strict=True))


def no_rows(file: DataFile) -> DataError:
    """Return the error of a file that has only column names."""
    return DataError(f"{file.name} has column names but no rows: give a file of labelled pairs")


def _without_null(column: list[str]) -> list[str]:
    return ["" if value == _NULL else value for value in column] if _NULL in column else column


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)  # the default of 131,072 characters is too short for some texts
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextlib.contextmanager
def _text(open_raw: Callable[[], IO[bytes]]) -> Iterator[io.TextIOWrapper]:
    with io.TextIOWrapper(open_raw(), encoding="utf-8-sig", errors="replace", newline="") as text:
        yield text


def _header(open_raw: Callable[[], IO[bytes]], delimiter: str, skipped: int) -> tuple[list[str], str]:
    """The column names, and the line below them that is not blank ("" if there is none)."""
    with _text(open_raw) as text:
        lines = islice(text, skipped, None)
        rows = (row for row in csv.reader(lines, delimiter=delimiter) if len(row) > 1 or (row and row[0].strip()))
        return next(rows, []), next((line for line in lines if line.strip()), "")


def _ragged(file: DataFile, where: str, seen: int, expected: int) -> DataError:
    return DataError(
        f"{file.name}: {where} has {seen} field{'s' * (seen != 1)} but the header names {expected}:"
        " put texts that contain the delimiter or a line break in double quotes"
    )


def _fault(file: DataFile, error: UnreadableError, expected: int) -> DataError:
    if error.fields is not None:
        return _ragged(file, f"line {error.line}", error.fields, expected)
    fix = 'put texts in double quotes and double those inside (""), or save it as jsonl or parquet'
    if error.why == "unclosed":
        return DataError(f"{file.name}: a double quote opened in line {error.line} is never closed: {fix}")
    if error.why == "stray":
        return DataError(f"{file.name}: line {error.line} has a double quote that does not enclose a whole text: {fix}")
    if error.why == "swallows":
        return DataError(
            f"{file.name}: line {error.line} has a text that spans what look like rows of the table"
            f" (does it begin with a lone double quote?): {fix}"
        )
    return DataError(f"{file.name}: line {error.line} has backslashes that can be read in two ways: {fix}")
