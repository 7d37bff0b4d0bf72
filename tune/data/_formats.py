"""Reading columns from one csv, tsv, jsonl or parquet file, with texts exactly as written.

csv, tsv and parquet go through the `datasets` library with a temporary cache, so a changed file is never served stale
and nothing is left behind. jsonl is parsed here, because the library's reader turns texts that look like dates into
timestamps ("2020-01-01" becomes "2020-01-01 00:00:00"). What the library reports poorly (encoding, gzip, lines of JSON)
is checked first. Every error is a one-line DataError.
"""

import codecs
import contextlib
import csv
import gzip
import io
import json
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tune.data._columns import show
from tune.data._files import DataFile
from tune.data._library import cause, load_file
from tune.errors import DataError

_HEAD_BYTES = 1 << 16
_HEAD_LINES = 100
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)


def read_header(file: DataFile) -> list[str]:
    """Return the column names, reading only the head of the file.

    Raises DataError if the file is empty, has no rows, or does not match its suffix.
    """
    with _readable_errors(file):
        if file.path.stat().st_size == 0:
            raise _empty(file)
        if file.kind == "parquet":
            return _parquet_names(file)
        with _open(file) as raw:
            head = raw.read(_HEAD_BYTES)
        if not head.removeprefix(codecs.BOM_UTF8).strip():
            raise _empty(file)
        _check_utf8(io.BytesIO(head), file, whole=len(head) < _HEAD_BYTES)
        return _jsonl_names(file) if file.kind == "jsonl" else _table_head(file)[1]


def read_columns(file: DataFile, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns `names` (from `read_header`), each as a list of all rows in file order.

    csv and tsv yield strings only ("" for an empty or missing field); jsonl yields numbers as strings, as written.
    """
    with _readable_errors(file), tempfile.TemporaryDirectory(prefix="embedtune-") as folder:
        plain = _plain_copy(file, Path(folder))
        if file.kind == "jsonl":
            return _read_jsonl(file, plain, names)
        if file.kind == "table":
            return _read_table(file, plain, names, folder)
        table = load_file("parquet", plain, folder, columns=list(names))
        return {name: table.column(name).to_pylist() for name in names}


def _empty(file: DataFile) -> DataError:
    return DataError(f"{file.name} is empty: give a file of labelled pairs")


def _no_rows(file: DataFile) -> DataError:
    return DataError(f"{file.name} has column names but no rows: give a file of labelled pairs")


@contextlib.contextmanager
def _readable_errors(file: DataFile) -> Iterator[None]:
    try:
        yield
    except _GZIP_ERRORS:
        raise DataError(f"{file.name} is a truncated or damaged gzip file: copy or compress it again") from None
    except pa.ArrowException as error:
        raise DataError(
            f"{file.name} is a truncated or damaged parquet file ({cause(error)}): copy or write it again"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {file.name}: {error.strerror or cause(error)}: check the file") from None


def _open(file: DataFile) -> IO[bytes]:
    if not file.gz:
        return file.path.open("rb")
    return io.BufferedReader(gzip.GzipFile(file.path, "rb"))


def _plain_copy(file: DataFile, folder: Path) -> Path:
    """The file under a name without glob characters (the library treats [ and * as patterns), unzipped if gzipped."""
    plain = folder / f"data.{file.kind}"
    if file.gz:
        with _open(file) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
    else:
        plain.symlink_to(file.path.resolve())
    if file.kind != "parquet":
        with plain.open("rb") as stream:
            _check_utf8(stream, file)
    return plain


def _check_utf8(stream: IO[bytes], file: DataFile, whole: bool = True) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen, lines, pending = 0, 1, 0
    while True:
        chunk = stream.read(1 << 20)
        try:
            decoder.decode(chunk, final=whole and not chunk)
        except UnicodeDecodeError as error:
            lines += chunk[: max(0, error.start - pending)].count(b"\n")
            byte = error.object[error.start]
            raise DataError(
                f"{file.name} is not UTF-8: byte {seen - pending + error.start} (0x{byte:02x})"
                f" in line {lines}: save it as UTF-8"
            ) from None
        if not chunk:
            return
        pending = len(decoder.getstate()[0])
        seen += len(chunk)
        lines += chunk.count(b"\n")


# --- csv and tsv


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)  # the default of 131,072 characters is too short for some texts
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _table_head(file: DataFile) -> tuple[str, list[str], int]:
    """Delimiter, column names and how many lines come before them.

    The delimiter that finds most columns wins; spreadsheets also write ; in csv.
    """
    tabs_first = ".csv" not in [suffix.lower() for suffix in file.path.suffixes]
    candidates = ("\t", ",", ";") if tabs_first else (",", ";", "\t")
    skipped = int(_names_delimiter(file))
    with _long_fields():
        heads = {delimiter: _first_rows(file, delimiter, skipped) for delimiter in candidates}
    delimiter = max(candidates, key=lambda d: len(heads[d][0]) if heads[d] else 0)
    rows = heads[delimiter]
    if len(rows) < 2:
        raise _no_rows(file)
    # If the first row is longer than the header, pandas takes its first field as an index and silently shifts columns.
    if len(rows[1]) > len(rows[0]):
        raise _ragged(file, "the first row", len(rows[1]), len(rows[0]))
    return delimiter, [name.strip() for name in rows[0]], skipped


def _first_rows(file: DataFile, delimiter: str, skipped: int) -> list[list[str]]:
    rows: list[list[str]] = []
    with io.TextIOWrapper(_open(file), encoding="utf-8-sig", errors="replace", newline="") as text:
        for row in csv.reader(islice(text, skipped, None), delimiter=delimiter):
            if len(row) > 1 or (row and row[0].strip()):
                rows.append(row)
            if len(rows) == 2:
                break
    return rows


def _names_delimiter(file: DataFile) -> bool:
    """Return whether the first line is `sep=;` or similar, by which Excel opens a file in columns."""
    with io.TextIOWrapper(_open(file), encoding="utf-8-sig", errors="replace") as text:
        return re.fullmatch(r"sep=.\s*", text.readline(20), re.IGNORECASE) is not None


def _ragged(file: DataFile, where: str, seen: int, expected: int) -> DataError:
    return DataError(
        f"{file.name}: {where} has {seen} fields but the header names {expected}:"
        " put texts that contain the delimiter or a line break in double quotes"
    )


def _read_table(file: DataFile, plain: Path, names: Sequence[str], folder: str) -> dict[str, list[Any]]:
    from datasets import Features, Value

    delimiter, header, skipped = _table_head(file)
    ids = [f"c{i}" for i in range(len(header))]  # so empty and repeated names do no harm
    quoted = delimiter != "\t" or _tabs_are_quoted(plain, len(header))
    try:
        table = load_file(
            "csv",
            plain,
            folder,
            sep=delimiter,
            skiprows=skipped,
            header=0,
            column_names=ids,
            features=Features({name: Value("string") for name in ids}),  # "007" and "1e5" stay as written
            keep_default_na=False,  # and so do "NA" and "null"
            na_filter=False,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
    except ValueError as error:  # pandas.errors.ParserError is a ValueError
        ragged = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if ragged:
            raise _ragged(file, f"line {ragged[2]}", int(ragged[3]), int(ragged[1])) from None
        unclosed = re.search(r"EOF inside string starting at row (\d+)", str(error))
        if unclosed:
            raise DataError(
                f"{file.name}: a double quote opened in row {unclosed[1]} is never closed:"
                " close it, or double it inside a text"
            ) from None
        raise DataError(f"cannot read {file.name} ({cause(error)}): save it again as csv, jsonl or parquet") from None
    if table.num_rows == 0:
        raise _no_rows(file)
    return {name: table.column(ids[header.index(name)]).to_pylist() for name in names}


def _tabs_are_quoted(plain: Path, width: int) -> bool:
    """Whether double quotes in a tsv enclose fields.

    Many tsv files are written without quoting, and reading those with quoting swallows rows. A file is unquoted if
    every line has all its tabs and some quote does not enclose a field.
    """
    stray = False
    with plain.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if '"' not in line and line.count("\t") == width - 1:
                continue
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != width and fields != [""]:
                return True
            for field in fields:
                if field.startswith('"') and not re.fullmatch(r'"(?:[^"]|"")*"', field):
                    stray = True
    return not stray


# --- jsonl


def _jsonl_names(file: DataFile) -> list[str]:
    names: dict[str, None] = {}
    with _open(file) as lines:
        for count, row in enumerate(_objects(file, lines)):
            names.update(dict.fromkeys(row))
            if count + 1 == _HEAD_LINES:
                break
    return list(names)


def _read_jsonl(file: DataFile, plain: Path, names: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in names}
    with plain.open("rb") as lines:
        for row in _objects(file, lines):
            for name in names:
                columns[name].append(row.get(name))
    return columns


def _objects(file: DataFile, lines: IO[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        if number == 1 and line.lstrip()[:1] == b"[":
            raise DataError(f"{file.name} is one JSON array: write one object per line (jsonl)")
        try:
            row = json.loads(line, parse_int=str, parse_float=str)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else cause(error)
            raise DataError(f"{file.name}: line {number} is not JSON ({reason}): write one object per line") from None
        if not isinstance(row, dict):
            raise DataError(f"{file.name}: line {number} is {show(row)}, not an object: write one object per line")
        if b"\\u" in line:
            row = {key: _without_lone_surrogates(value) for key, value in row.items()}
        yield row


def _without_lone_surrogates(value: Any) -> Any:
    """Replace half surrogate pairs (from texts cut inside an emoji), which tokenizers and hashes cannot encode."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value


# --- parquet


def _parquet_names(file: DataFile) -> list[str]:
    with pq.ParquetFile(file.path) as parquet:
        if parquet.metadata.num_rows == 0:
            raise _no_rows(file)
        return list(parquet.schema_arrow.names)
