"""Reading columns from one csv, tsv, jsonl or parquet file, with texts exactly as written.

csv and tsv are read by `_csv`, and parquet by pyarrow. jsonl is parsed here, because the readers of libraries turn
texts that look like dates into timestamps ("2020-01-01" becomes "2020-01-01 00:00:00"). Every error is a one-line
DataError.
"""

import codecs
import contextlib
import gzip
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tune.data._columns import is_usual, show
from tune.data._csv import no_rows, read_table, table_head
from tune.data._folders import not_one_table
from tune.data._library import ROWS_AT_ONCE, cause, column_lists
from tune.data._sources import DataFile
from tune.errors import DataError
from tune.events import Emit, Progress, ignore, working
from tune.files import is_lfs_pointer

_HEAD_BYTES = 1 << 16
_HEAD_LINES = 100
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)


def read_headers(files: Sequence[DataFile]) -> list[list[str]]:
    """Return the column names of each file, reading only the heads.

    The parts of a table may differ in columns of no usual name; only those that all have are returned. Raises DataError
    as `read_header` does, or if they differ in others.
    """
    headers = [read_header(file) for file in files]
    if files[0].part_of is None:
        return headers
    common = set(headers[0]).intersection(*headers)
    if len(common) < 2 or any(is_usual(name) for name in set().union(*headers) - common):
        raise not_one_table(files, files[0].part_of)
    return [[name for name in header if name in common] for header in headers]


def read_header(file: DataFile) -> list[str]:
    """Return the column names, those of key=value folders included, reading only the head of the file.

    Raises DataError if the file is empty, has no rows, or does not match its suffix.
    """
    names = _own_names(file)
    return [*names, *(name for name in file.partitions if name not in names)]


def _own_names(file: DataFile) -> list[str]:
    with _readable_errors(file):
        if file.path.stat().st_size == 0:
            raise _empty(file)
        if is_lfs_pointer(file.path):
            raise DataError(f"{file.name} is a git-lfs pointer, not the file itself: run git lfs pull")
        if file.kind == "parquet":
            return _parquet_names(file)
        with _open(file) as raw:
            head = raw.read(_HEAD_BYTES)
        if not head.removeprefix(codecs.BOM_UTF8).strip():
            raise _empty(file)
        _check_utf8(io.BytesIO(head), file, whole=len(head) < _HEAD_BYTES)
        return _jsonl_names(file) if file.kind == "jsonl" else table_head(file, partial(_open, file)).names


def read_columns(file: DataFile, names: Sequence[str], emit: Emit = ignore) -> dict[str, list[Any]]:
    """Return the columns `names` (from `read_header`), each as a list of all rows in file order.

    emit: gets the progress of jsonl and parquet; csv and tsv have none, since they are read in several ways.

    csv and tsv yield strings only ("" for an empty or missing field); jsonl yields numbers as strings, as written.
    """
    own = _own_names(file)
    inside = [name for name in names if name in own] or own[:1]
    with _readable_errors(file):
        unit = "rows" if file.kind == "parquet" else "bytes"
        columns = _read_own(file, inside, working(emit, f"reading {file.name}", unit))
    rows = len(columns[inside[0]])
    return columns | {name: [file.partitions[name]] * rows for name in names if name not in own}


def _read_own(file: DataFile, names: Sequence[str], progress: Progress) -> dict[str, list[Any]]:
    if file.kind == "parquet":
        return _read_parquet(file, names, progress)
    with tempfile.TemporaryDirectory(prefix="embedtune-") as folder:
        plain = _plain_copy(file, Path(folder))
        return _read_jsonl(file, plain, names, progress) if file.kind == "jsonl" else read_table(file, plain, names)


def _empty(file: DataFile) -> DataError:
    return DataError(f"{file.name} is empty: give a file of labelled pairs")


@contextlib.contextmanager
def _readable_errors(file: DataFile) -> Iterator[None]:
    try:
        yield
    except _GZIP_ERRORS:
        raise DataError(f"{file.name} is a truncated or damaged gzip file: copy or compress it again") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        if file.kind != "parquet":
            raise
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
    """The file, or a copy in `folder` if it is gzipped. Raises DataError if it is not UTF-8."""
    plain = file.path
    if file.gz:
        plain = folder / "data"
        with _open(file) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
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


# --- jsonl


def _jsonl_names(file: DataFile) -> list[str]:
    names: dict[str, None] = {}
    with _open(file) as lines:
        for count, row in enumerate(_objects(file, lines)):
            names.update(dict.fromkeys(row))
            if count + 1 == _HEAD_LINES:
                break
    return list(names)


def _read_jsonl(file: DataFile, plain: Path, names: Sequence[str], progress: Progress) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in names}
    size = plain.stat().st_size
    with plain.open("rb") as lines:
        for number, row in enumerate(_objects(file, lines), 1):
            for name in names:
                columns[name].append(row.get(name))
            if number % ROWS_AT_ONCE == 0:
                progress(lines.tell(), size)
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
            raise no_rows(file)
        return list(parquet.schema_arrow.names)


def _read_parquet(file: DataFile, names: Sequence[str], progress: Progress) -> dict[str, list[Any]]:
    with pq.ParquetFile(file.path) as parquet:
        groups = (parquet.read_row_group(group, columns=list(names)) for group in range(parquet.num_row_groups))
        parts = (
            group.slice(start, ROWS_AT_ONCE) for group in groups for start in range(0, group.num_rows, ROWS_AT_ONCE)
        )
        return column_lists(parts, names, parquet.metadata.num_rows, progress)
