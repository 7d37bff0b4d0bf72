"""The ways in which the texts of a csv or tsv file are quoted, each read strictly.

Double quotes around texts, and doubled inside (RFC 4180); the same with backslashes before quotes inside (Spark, and
Python's csv module with an escape character); and no quotes at all.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

_BATCH = 256
RETURN = "\ue00d"
"""What replaces a carriage return that ends no line, since Python's reader takes it for a line break."""


@dataclass(frozen=True)
class Source:
    """A plain UTF-8 file, its delimiter, how many columns the header names, and how many lines come before the header.

    wanted: the columns to return. returns: whether carriage returns that end no line are part of texts; they are read
    as RETURN.
    """

    path: Path
    delimiter: str
    width: int
    skipped: int
    wanted: tuple[int, ...]
    returns: bool = False


class UnreadableError(Exception):
    """The file does not fit. line: where the first row that does not begins, from 1. fields: how many it has."""

    def __init__(self, line: int, why: str, fields: int | None = None) -> None:
        super().__init__(why)
        self.line, self.why, self.fields = line, why, fields


@dataclass
class Rows:
    """The rows as one way of quoting reads them.

    columns: the values of the wanted columns. broken: rows with a line break in a field. short: those with too few
    fields, by number of the row. escaped: whether backslashes escape. doubtful: whether a row looks like several, or
    several like one.
    """

    columns: list[list[str]]
    broken: list[list[str]] = field(default_factory=list)
    short: list[tuple[int, list[str]]] = field(default_factory=list)
    escaped: bool = False
    doubtful: bool = False

    def __len__(self) -> int:
        return len(self.columns[0])


@contextmanager
def lines_of(source: Source) -> Iterator[Iterator[str]]:
    """Open the file as lines with their ends, from the header on."""
    with source.path.open(encoding="utf-8-sig", newline="\n" if source.returns else "") as lines:
        below = islice(lines, source.skipped, None)
        yield (re.sub(r"\r(?!\n)", RETURN, line) for line in below) if source.returns else below


def by_double_quotes(source: Source, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Rows:
    """Double quotes around texts, and doubled inside. A quote within a text that begins with none is part of it."""
    rows = Rows([[] for _ in source.wanted])
    with lines_of(source) as lines:
        reader = csv.reader(lines, delimiter=source.delimiter, strict=True, quoting=quoting)
        try:
            next(row for row in reader if not blank(row))  # the header
            before = reader.line_num
            while batch := list(islice(reader, _BATCH)):
                if reader.line_num - before != len(batch):
                    rows.broken += [row for row in batch if "\n" in (joined := "".join(row)) or "\r" in joined]
                before = reader.line_num
                if set(map(len, batch)) != {source.width}:
                    batch = list(_padded(batch, source, rows))
                values = list(zip(*batch, strict=True))
                for column, at in zip(rows.columns, source.wanted, strict=True):
                    column.extend(values[at] if values else ())
        except csv.Error as error:
            raise UnreadableError(0, str(error)) from None
    return rows


def _padded(batch: Sequence[list[str]], source: Source, rows: Rows) -> Iterator[list[str]]:
    """The batch without blank lines; a row may lack its last fields."""
    number = len(rows)
    for row in batch:
        if blank(row):
            continue
        number += 1
        if len(row) != source.width:
            if misfit(row, source):
                raise UnreadableError(0, "ragged")
            rows.short.append((number, row))
            row = row + [""] * (source.width - len(row))
        yield row


def blank(row: Sequence[str]) -> bool:
    """Return whether the row is a line without text."""
    return not row or (len(row) == 1 and not row[0].strip())


def misfit(row: Sequence[str], source: Source) -> bool:
    """Return whether a row is too long, or shorter than one that only lacks its last fields.

    A single field is what a line break leaves of a text; a delimiter within a field shows that quotes joined several.
    """
    if len(row) == source.width:
        return False
    joined = any(c in value for value in row for c in (source.delimiter, "\n", "\r"))
    return len(row) > source.width or len(row) < 2 or joined


def by_escapes(source: Source) -> Rows:
    """Backslashes before all that is special, within quotes and without, as MySQL and Python's csv module write it."""
    end = re.escape(source.delimiter)
    special = rf'\\["\\\r\n{end}]'
    null = rf"\\N(?=[{end}\r\n]|\Z)"
    return _by_tokens(source, rf'(?:{null}|(?:[^{end}\r\n"\\]|{special})*+)', special)


def by_spark(source: Source) -> Rows:
    """Backslashes before quotes and backslashes within quotes; without quotes, backslashes are part of the text."""
    return _by_tokens(source, rf'(?!")(?:(?!\\")[^{re.escape(source.delimiter)}\r\n])*+', None)


def _by_tokens(source: Source, plain: str, special: str | None) -> Rows:
    """Fields that are enclosed in quotes, with backslashes before those inside, or `plain`, with `special` escapes."""
    end = re.escape(source.delimiter)
    quoted = r'"(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)"'
    token = re.compile(rf"(?:{quoted}|(?P<plain>{plain}))(?P<end>{end}|\r\n|\r|\n|\Z)", re.DOTALL)
    within, without = re.compile(r'\\([\\"])'), special and re.compile(special)
    rows = Rows([[] for _ in source.wanted], escaped=True)
    text, at, header = text_of(source), 0, True
    row: list[str] = []
    while at < len(text) or row:
        found = token.match(text, at)
        if found is None:
            raise UnreadableError(0, "a quote that neither encloses a text nor is escaped")
        if found["quoted"] is not None:
            row.append(within.sub(r"\1", found["quoted"]))
        else:
            row.append(without.sub(lambda escaped: escaped[0][1], found["plain"]) if without else found["plain"])
        at = found.end()
        if found["end"] == source.delimiter:
            continue
        if not blank(row):
            if len(row) != source.width:
                raise UnreadableError(0, "ragged")
            if not header:
                for column, i in zip(rows.columns, source.wanted, strict=True):
                    column.append(row[i])
                if any("\n" in value or "\r" in value for value in row):
                    rows.broken.append(row)
            header = False
        row = []
    return rows


def without_quotes(source: Source) -> Rows:
    """Quotes are part of the texts; texts contain neither delimiters nor line breaks."""
    rows = by_double_quotes(source, csv.QUOTE_NONE)
    enclosed = re.compile(r'"(?:[^"\\]|\\.)*+(?:""|\\")(?:[^"]|"")*"', re.DOTALL)
    for column in rows.columns:
        marked = [value for value in column if len(value) > 1 and value[0] == value[-1] == '"']
        if 2 * len(marked) > len(column) or any(map(enclosed.fullmatch, marked)):
            raise UnreadableError(0, "quotes enclose texts")
    if rows.short:
        raise UnreadableError(0, "ragged")
    return rows


def text_of(source: Source) -> str:
    """Return the file from the header on."""
    with lines_of(source) as lines:
        return "".join(lines)


def has_escaped_quotes(source: Source) -> bool:
    """Return whether a backslash comes before a double quote anywhere."""
    with source.path.open("rb") as raw:
        last = b""
        while chunk := raw.read(1 << 20):
            if b'\\"' in chunk or last + chunk[:1] == b'\\"':
                return True
            last = chunk[-1:]
    return False


def strictly_quoted(source: Source) -> bool:
    """Return whether all double quotes enclose texts or are doubled."""
    end = re.escape(source.delimiter)
    fields = rf'(?:(?:"(?:[^"]|"")*+"|[^"{end}\r\n]*+)(?:{end}|\r\n|\r|\n|\Z))*+'
    return re.fullmatch(fields, text_of(source)) is not None


def all_enclosed(source: Source) -> bool:
    """Return whether double quotes enclose every field below the header that is not a number."""
    end = re.escape(source.delimiter)
    field = rf'(?:"(?:[^"]|"")*+"|[-+.\deE]*+)(?:{end}|\r\n|\r|\n|\Z)'
    return re.fullmatch(rf'(?:[^"\r\n]*+(?:\r\n|\r|\n))?(?:{field})*+', text_of(source)) is not None
