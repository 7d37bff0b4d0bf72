"""The rows of a csv or tsv file, however its texts are quoted, or the line that fits no way of quoting.

The wrong way swallows rows without an error: a text that begins with a lone double quote ends at the next one,
thousands of lines later. So each way is tried strictly, and a text with line breaks that could be rows of the table
fits none.
"""

import contextlib
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from tune.data._dialects import (
    RETURN,
    Rows,
    Source,
    UnreadableError,
    all_enclosed,
    blank,
    by_double_quotes,
    by_escapes,
    by_spark,
    has_escaped_quotes,
    lines_of,
    misfit,
    strictly_quoted,
    text_of,
    without_quotes,
)

_FEW = 8
"""Rows from which on a column of few short values tells a row from a line of text."""


def read_rows(source: Source) -> list[list[str]]:
    """Return the wanted columns of all rows below the header. Raises UnreadableError."""
    try:
        return _read(source)
    except UnreadableError:
        # Some writers, pandas among them, do not quote a text for a carriage return.
        text = text_of(source)
        if "\n" not in text or re.search(r"\r(?!\n)", text) is None or RETURN in text:
            raise
        with contextlib.suppress(UnreadableError):
            columns = _read(replace(source, returns=True))
            return [[value.replace(RETURN, "\r") for value in column] for column in columns]
        raise


def _read(source: Source) -> list[list[str]]:
    plain = _attempt(by_double_quotes, source)
    ways: list[Callable[[Source], Rows]] = [by_spark] if has_escaped_quotes(source) else []
    if ways or plain is None or plain.short:
        ways.append(by_escapes)
    possible = [rows for way in ways if (rows := _attempt(way, source)) is not None]
    escaped = [rows for rows in possible if not rows.doubtful]
    if plain is not None and not plain.doubtful and not (plain.short and escaped):
        if any(len(rows) != len(plain) for rows in escaped):
            raise _first_fault(source)
        return escaped[-1].columns if escaped and not strictly_quoted(source) else plain.columns
    if escaped and (all(rows.columns == escaped[0].columns for rows in escaped) or _quotes_quotes(escaped[0], source)):
        return escaped[0].columns
    unquoted = None if plain is not None or possible else _attempt(without_quotes, source)
    if unquoted is None:
        raise _first_fault(source)
    return unquoted.columns


def _attempt(read: Callable[[Source], Rows], source: Source) -> Rows | None:
    """The rows if they can be read so, doubtful if one looks like several, or several like one."""
    try:
        rows = read(source)
    except UnreadableError:
        return None
    broken = [row for row in rows.broken if _swallows(row, source, {})]
    if broken or rows.short:
        fits = _fits(rows.columns, source.wanted)
        if not _spaced(rows.columns, source.wanted):
            broken = [row for row in broken if not _prose(row, source)]
        swallows = any(_swallows(row, source, fits) for row in broken) and not _sound(rows, source)
        # Without a column that tells rows from text, they are rows only if the whole file reads without quotes.
        swallows = swallows and (bool(fits) or _attempt(without_quotes, source) is not None)
        rows.doubtful = swallows or _torn(rows.short, source.width, fits)
    return rows


# --- rows within texts

Fits = dict[int, Callable[[str], bool]]
"""Per column: whether a value could stand in it. Columns of free text have none."""


def _fits(columns: Sequence[Sequence[str]], wanted: Sequence[int]) -> Fits:
    fits: Fits = {}
    for at, column in zip(wanted, columns, strict=True):
        values = {value for value in column if "\n" not in value and "\r" not in value}
        numbers = bool(values) and all(value == "" or _numeric(value) for value in values)
        if numbers and len(values) == 1:
            # The rows with the other label may be those within the text.
            fits[at] = _numeric
        elif len(values) <= max(2, len(column) // 4) and (
            numbers or (len(column) >= _FEW and all(len(value) <= 20 for value in values))
        ):
            fits[at] = values.__contains__
        elif numbers:
            fits[at] = _numeric
    return fits


def _numeric(value: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?\s*", value) is not None


def _swallows(row: Sequence[str], source: Source, fits: Fits) -> bool:
    """Whether some field of the row reads as the end of one row, whole rows and the beginning of another."""
    for at, value in enumerate(row):
        if "\n" not in value and "\r" not in value:
            continue
        inner = [line.split(source.delimiter) for line in re.split(r"\r\n|\r|\n", value)]
        if len(inner[0]) != source.width - at or len(inner[-1]) != at + 1:
            continue
        between = [line for line in inner[1:-1] if not blank(line)]
        whole = [line for line in between if len(line) == source.width]
        rows = [[*row[:at], *inner[0]], *whole, [*inner[-1], *row[at + 1 :]]]
        if len(whole) >= 0.9 * len(between) and all(_row_like(values, fits) for values in rows):
            return True
    return False


def _spaced(columns: Sequence[Sequence[str]], wanted: Sequence[int]) -> bool:
    """Whether a space after a delimiter is usual in this table, or nothing shows that it is not."""
    later = [value for at, column in zip(wanted, columns, strict=True) if at for value in column]
    whole = [value for value in later if "\n" not in value and "\r" not in value]
    return 100 * sum(value.startswith(" ") for value in whole) >= max(len(whole), 1)


def _prose(row: Sequence[str], source: Source) -> bool:
    """Whether a space comes after delimiters in at least half of the lines within fields, as after commas in prose."""
    lines = [line for value in row for line in re.split(r"\r\n|\r|\n", value) if "\n" in value or "\r" in value]
    return 2 * sum(f"{source.delimiter} " in line for line in lines if not blank([line])) >= len(lines)


def _sound(rows: Rows, source: Source) -> bool:
    """Whether a writer that knows how to quote made the file: it quotes all texts, or all quotes (there are some)."""
    if all_enclosed(source):
        return True
    swallowing = {value for row in rows.broken if _swallows(row, source, {}) for value in row}
    marked = any('"' in value and value not in swallowing for column in rows.columns for value in column)
    return marked and (rows.escaped or strictly_quoted(source))


def _quotes_quotes(rows: Rows, source: Source) -> bool:
    """Whether texts are enclosed just for the quotes inside. Where backslashes suffice for that, they are not."""
    special = (source.delimiter, "\n", "\r")
    return any('"' in value and not any(c in value for c in special) for column in rows.columns for value in column)


def _row_like(row: Sequence[str], fits: Fits) -> bool:
    return all(fit(row[at].strip()) or fit(row[at]) for at, fit in fits.items())


def _torn(short: Sequence[tuple[int, list[str]]], width: int, fits: Fits) -> bool:
    """Whether two short rows in a row are one whose text holds a line break."""
    return any(
        after == before + 1 and len(first) + len(second) - 1 == width and _row_like([*first, *second[1:]], fits)
        for (before, first), (after, second) in pairwise(short)
    )


# --- what to say


def _first_fault(source: Source) -> UnreadableError:
    """The first row that does not fit the usual way, by double quotes."""
    rows: list[tuple[int, list[str]]] = []
    fault: UnreadableError | None = None
    with lines_of(source) as lines:
        reader = csv.reader(lines, delimiter=source.delimiter, strict=True)
        start = source.skipped + 1
        try:
            for row in reader:
                if not blank(row):
                    if misfit(row, source):
                        fault = UnreadableError(start, "ragged", len(row))
                        break
                    rows.append((start, row))
                start = source.skipped + reader.line_num + 1
        except csv.Error as error:
            fault = UnreadableError(start, "unclosed" if "end of data" in str(error) else "stray")
    whole = [row for _, row in rows[1:] if len(row) == source.width]
    fits = _fits([[row[at] for row in whole] for at in source.wanted], source.wanted)
    for line, row in rows[1:]:
        if len(row) == source.width and _swallows(row, source, fits):
            return UnreadableError(line, "swallows")
    return fault or _other_fault(source, rows, fits)


def _other_fault(source: Source, rows: list[tuple[int, list[str]]], fits: Fits) -> UnreadableError:
    """Of rows that fit one by one: the first that is torn in two, or quoted in a way that can be read otherwise."""
    short = [(number, row) for number, (_, row) in enumerate(rows) if number and len(row) < source.width]
    for first, second in pairwise(short):
        if _torn([first, second], source.width, fits):
            return UnreadableError(rows[first[0]][0], "ragged", len(first[1]))
    return UnreadableError(next((line for line, row in rows if "\\" in "".join(row)), 1), "ambiguous")
