"""Stored vectors in a column of a parquet file, streamed by batches. All other columns are kept as they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tune.errors import DataError
from tune.export.stored_files import Chunk, Sink, StoredVectors

_READ_BYTES = 2**20
"""Read this much of a column at a time: without it, pyarrow reads a row group's whole column at once."""


@dataclass(frozen=True)
class ParquetVectors(StoredVectors):
    """A parquet file with a column of lists of floats."""

    @property
    def other_bytes(self) -> int:
        """The bytes of all other columns in this file."""
        with _reader(self.path) as file:
            others: int = sum(
                column.total_compressed_size
                for group in map(file.metadata.row_group, range(file.metadata.num_row_groups))
                for column in map(group.column, range(group.num_columns))
                if column.path_in_schema.partition(".")[0] != self.column
            )
            return 2**16 + others

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the vectors in order, each with its record batch."""
        start = 0
        with _reader(self.path) as file:
            for batch in _batches(self.path, file, size):
                if batch.num_rows:
                    yield self._vectors(batch.column(self.column), start), batch
                    start += batch.num_rows

    def at(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of some rows; reads the row groups that hold them up to there."""
        found = []
        with _reader(self.path) as file:
            counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            begins = np.cumsum([0, *counts])
            for row in rows:
                group = int(np.searchsorted(begins, row, side="right")) - 1
                start = int(begins[group])
                for batch in _batches(self.path, file, 4096, row_groups=[group], columns=[self.column]):
                    if row < start + batch.num_rows:
                        one = batch.column(self.column).slice(row - start, 1)
                        found.append(self._vectors(one, row)[0].copy())
                        break
                    start += batch.num_rows
        return np.stack(found)

    @contextmanager
    def writer(self, path: Path, dims: int, dtype: str) -> Iterator[Sink]:
        """Open a parquet file with the same columns, the vectors' one as lists of fixed size."""
        with _reader(self.path) as file:
            schema = file.schema_arrow
        place = schema.get_field_index(self.column)
        schema = schema.set(place, pa.field(self.column, pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), dims)))
        # These facts of datasets' own include the old dims, and it would trust them.
        metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"huggingface"}
        schema = schema.with_metadata(metadata or None)
        # A dictionary and least values of vectors would cost time and say nothing.
        others = [name for name in schema.names if name != self.column] or False
        with pq.ParquetWriter(path, schema, use_dictionary=others, write_statistics=others) as file:
            yield _ParquetSink(file, schema, place, np.dtype(dtype))

    def _vectors(self, column: Any, start: int) -> NDArray[np.float32]:
        """Return a column as vectors [rows, dims]. start: number of its first row, for messages."""
        missing = column.null_count
        if not missing and not pa.types.is_fixed_size_list(column.type):
            lengths = np.diff(column.offsets.to_numpy())
            if (lengths != self.dims).any():
                row = int(np.argmax(lengths != self.dims))
                raise DataError(
                    f"{self.path}: row {start + row:,} of {self.column} has {lengths[row]} numbers, not {self.dims}"
                )
        values = column.flatten() if not missing else column
        if values.null_count:
            last = start + len(column) - 1
            raise DataError(f"{self.path}: {self.column} has missing values in rows {start:,} to {last:,}; remove them")
        array: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return array.reshape(len(column), self.dims).astype(np.float32, copy=False)


@dataclass(frozen=True)
class _ParquetSink:
    file: Any
    schema: Any
    place: int
    dtype: np.dtype[Any]

    def write(self, vectors: NDArray[np.floating], rest: Any) -> None:
        flat = pa.array(np.ascontiguousarray(vectors, self.dtype).reshape(-1))
        columns = list(rest.columns)
        columns[self.place] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self.file.write_batch(pa.RecordBatch.from_arrays(columns, schema=self.schema))


def open_parquet(path: Path, column: str | None) -> ParquetVectors:
    """Return the vectors of a parquet file. Raises DataError if the column is missing, or not one of vectors."""
    with _reader(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        name = _column(path, schema, column)
        if not rows:
            raise DataError(f"{path} has no vectors")
        kind = schema.field(name).type
        if pa.types.is_fixed_size_list(kind):
            return ParquetVectors(path, rows, kind.list_size, name)
        first = next(_batches(path, file, 1, columns=[name])).column(name)[0]
        if not first.is_valid or not len(first):
            raise DataError(f"{path}: row 0 of {name} has no vector")
        return ParquetVectors(path, rows, len(first), name)


def _column(path: Path, schema: Any, column: str | None) -> str:
    """Return the name of the column of vectors."""
    names = ", ".join(schema.names)
    fitting = [name for name in schema.names if _is_vectors(schema.field(name).type)]
    if column is None:
        if len(fitting) == 1:
            return str(fitting[0])
        if not fitting:
            raise DataError(f"{path} has no column of lists of floats; its columns are {names}")
        raise DataError(f"{path} has several columns of vectors ({', '.join(fitting)}); choose one with --column")
    if column not in schema.names:
        raise DataError(f"{path} has no column {column!r}; its columns are {names}")
    if column not in fitting:
        raise DataError(f"{path}: column {column} holds {schema.field(column).type}, not lists of floats")
    return column


def _is_vectors(kind: Any) -> bool:
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    return any(check(kind) for check in lists) and pa.types.is_floating(kind.value_type)


@contextmanager
def _reader(path: Path) -> Iterator[Any]:
    try:
        file = pq.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a parquet file, or is cut ({_short(error)})") from None
    with file:
        yield file


def _batches(path: Path, file: Any, size: int, **which: Any) -> Iterator[Any]:
    """Yield record batches. Raises DataError if the file is damaged there."""
    batches = file.iter_batches(batch_size=size, use_threads=False, **which)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is damaged ({_short(error)})") from None
        yield batch


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
