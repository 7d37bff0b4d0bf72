"""Files of stored vectors, read and written chunk by chunk: .npy here, .parquet in stored_parquet.py, or a folder.

Whatever the file is wrong about is one line that names it. Nothing here keeps more than a chunk in memory.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tune.errors import DataError
from tune.export.stored_files import Chunk, Sink, StoredVectors

NPY, PARQUET = ".npy", ".parquet"
_FLOATS = ("float16", "float32", "float64")


def open_stored(path: Path, column: str | None = None) -> list[StoredVectors]:
    """Return the files of vectors at `path`: itself, or those in a folder, by name. Their headers are checked.

    column: of a parquet file; None for the only one with vectors. Raises DataError if something is no file of vectors.
    """
    if not path.exists():
        raise DataError(f"--vectors {path} does not exist")
    paths = _in_folder(path) if path.is_dir() else [path]
    return [_open(one, column) for one in paths]


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(one for one in folder.iterdir() if one.is_file() and one.suffix in (NPY, PARQUET))
    found = [one for one in found if not one.name.startswith(".")]
    if not found:
        raise DataError(f"--vectors {folder} contains no {NPY} or {PARQUET} file")
    if len({one.suffix for one in found}) > 1:
        raise DataError(f"--vectors {folder} contains {NPY} and {PARQUET} files; put them in two folders")
    return found


def _open(path: Path, column: str | None) -> StoredVectors:
    if path.suffix not in (NPY, PARQUET):
        raise DataError(f"{path}: vectors are read from {NPY} or {PARQUET} files, or a folder of them")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    if path.suffix == PARQUET:
        from tune.export.stored_parquet import open_parquet

        return open_parquet(path, column)
    if column is not None:
        raise DataError(f"{path} has no columns; leave out --column")
    return _open_npy(path)


@dataclass(frozen=True)
class NpyVectors(StoredVectors):
    """A .npy file of shape [rows, dims]. dtype: of its numbers. by_column: in Fortran order. offset: of the numbers."""

    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    by_column: bool = False
    offset: int = 0

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the vectors in order, read into one buffer."""
        buffer = np.empty((self.dims, size) if self.by_column else (size, self.dims), self.dtype)
        # Read, not mapped: mapped pages would count as this process's memory, and a file that shrinks would kill it.
        with open(self.path, "rb", buffering=0) as file:
            for start in range(0, self.rows, size):
                count = min(size, self.rows - start)
                yield self._read(file, buffer, start, count), None

    def at(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of some rows, [rows, dims]."""
        buffer = np.empty((self.dims, 1) if self.by_column else (1, self.dims), self.dtype)
        with open(self.path, "rb", buffering=0) as file:
            return np.stack([self._read(file, buffer, row, 1)[0].copy() for row in rows])

    @contextmanager
    def writer(self, path: Path, dims: int, dtype: str) -> Iterator[Sink]:
        """Open a .npy file of as many rows."""
        with open(path, "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False}
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (self.rows, dims)})
            yield _NpySink(file, np.dtype(dtype))

    def _read(self, file: IO[bytes], buffer: NDArray[Any], start: int, count: int) -> NDArray[np.float32]:
        size = self.dtype.itemsize
        if not self.by_column:
            self._fill(file, buffer[:count], self.offset + start * self.dims * size)
            return buffer[:count].astype(np.float32, copy=False)
        for at in range(self.dims):
            self._fill(file, buffer[at, :count], self.offset + (at * self.rows + start) * size)
        return buffer[:, :count].T.astype(np.float32, order="C")

    def _fill(self, file: IO[bytes], into: NDArray[Any], offset: int) -> None:
        file.seek(offset)
        left = into.reshape(-1).view(np.uint8).data
        while left:
            read = file.readinto(left)  # type: ignore[attr-defined]
            if not read:
                raise DataError(f"{self.path} ends early: it was cut while it was read")
            left = left[read:]


@dataclass(frozen=True)
class _NpySink:
    file: IO[bytes]
    dtype: np.dtype[Any]

    def write(self, vectors: NDArray[np.floating], rest: Any) -> None:
        self.file.write(np.ascontiguousarray(vectors, self.dtype).data)


def _open_npy(path: Path) -> NpyVectors:
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, by_column, dtype = read(file)
            offset = file.tell()
    except (ValueError, EOFError, KeyError):
        raise DataError(f"{path} is not a .npy file, or is cut") from None
    if dtype.name not in _FLOATS:
        raise DataError(f"{path} holds {dtype}; vectors must be one of {', '.join(_FLOATS)}")
    if len(shape) != 2:
        raise DataError(f"{path} has the shape {shape}; vectors have [rows, dims]")
    rows, dims = shape
    if not rows or not dims:
        raise DataError(f"{path} has no vectors")
    expected, found = offset + rows * dims * dtype.itemsize, path.stat().st_size
    if found < expected:
        raise DataError(f"{path} is cut: {found:,} bytes instead of {expected:,}; write it again")
    if found > expected:
        raise DataError(f"{path} has {found - expected:,} bytes after its array; write one array per file")
    return NpyVectors(path, rows, dims, "", dtype, by_column, offset)
