"""The texts of stored vectors, in the vectors' order: a few of them, read without keeping the others in memory."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tune.errors import DataError

KINDS = (".txt", ".csv", ".parquet", ".npy")


def texts_at(path: Path, column: str | None, rows: Sequence[int], total: int) -> list[str]:
    """Return the texts of some rows, in ascending order.

    path: a .txt with a text per line, a .csv or .parquet with a column of texts, or a .npy of strings. column: None for
    the only one of texts. total: the number of vectors. Raises DataError if the file cannot be read or has another
    number of texts.
    """
    if not path.is_file():
        raise DataError(f"--texts {path} is not a file")
    if path.suffix not in KINDS:
        raise DataError(f"--texts {path}: texts are read from {', '.join(KINDS)}")
    if column is not None and path.suffix in (".txt", ".npy"):
        raise DataError(f"--texts {path} has no columns; leave out --text-column")
    if path.suffix == ".npy":
        every: Any = _strings(path)
    else:
        every = {".txt": _lines, ".csv": _of_csv, ".parquet": _of_parquet}[path.suffix](path, column)
    wanted, found, count = set(rows), [], 0
    try:
        for count, text in enumerate(every, start=1):
            if count - 1 in wanted:
                found.append("" if text is None else str(text))
    except UnicodeDecodeError:
        raise DataError(f"--texts {path} is not UTF-8") from None
    except csv.Error as error:
        raise DataError(f"--texts {path} is not a csv file ({error})") from None
    if count != total:
        raise DataError(f"--texts {path} has {count:,} texts for {total:,} vectors; it must have one per vector")
    return found


def _lines(path: Path, column: str | None) -> Iterator[str]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def _of_csv(path: Path, column: str | None) -> Iterator[str | None]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        name = _chosen(path, list(reader.fieldnames or ()), list(reader.fieldnames or ()), column)
        for row in reader:
            yield row[name]


def _of_parquet(path: Path, column: str | None) -> Iterator[str | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            schema = file.schema_arrow
            texts = [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]
            name = _chosen(path, schema.names, texts, column)
            for batch in file.iter_batches(batch_size=8192, columns=[name], use_threads=False):
                yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"--texts {path} is not a parquet file, or is damaged ({' '.join(str(error).split())[:120]})"
        ) from None


def _strings(path: Path) -> Any:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise DataError(f"--texts {path} is not a .npy file of strings (objects are not read)") from None
    if array.dtype.kind != "U" or array.ndim != 1:
        raise DataError(f"--texts {path} has the type {array.dtype} and shape {array.shape}, not a list of strings")
    return array


def _chosen(path: Path, names: Sequence[str], texts: Sequence[str], column: str | None) -> str:
    listed = ", ".join(names)
    if column is not None:
        if column not in names:
            raise DataError(f"--texts {path} has no column {column!r}; its columns are {listed}")
        return column
    if len(texts) == 1:
        return texts[0]
    raise DataError(f"--texts {path}: name the column of texts with --text-column; its columns are {listed}")
