"""Stored vectors of a base model through a trained layer: streamed, whole or not at all, without torch or a model."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune.errors import DataError, ResultsError
from tune.events import Emit, Mapped, Message
from tune.export.adapter import Layer
from tune.export.stored_files import StoredVectors
from tune.files import make_directory, replace_atomic, sync_file, why_not_new

CHUNK = 8192
"""Rows that are read, mapped and written at a time: 21 MB for 384 dims in and 256 out."""

UNIT_TOLERANCE = 1e-2
"""How far from 1 the length of a unit vector may be: those stored as float16 or int8 are rounded."""

_SAMPLE = 1000
"""Rows whose lengths are looked at before anything is written."""
_SECONDS = 0.2
"""Between two events of progress."""
_LEAST = 1e-12
"""A length below this is that of no vector."""


@dataclass(frozen=True)
class ApplyJob:
    """What to map and where to. files: as from `open_stored`. source: the file or folder that they are. to: likewise.

    dtype: of what is written, float32 or float16. chunk: rows at a time.
    """

    layer: Layer
    files: Sequence[StoredVectors]
    source: Path
    to: Path
    dtype: str = "float32"
    chunk: int = CHUNK

    @property
    def rows(self) -> int:
        """The number of vectors."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """About how many bytes will be written."""
        vectors = self.rows * self.layer.dims * np.dtype(self.dtype).itemsize
        return vectors + sum(file.other_bytes for file in self.files)


def check_job(job: ApplyJob, emit: Emit) -> None:
    """Check everything that can be known before the first vector is mapped. Raises DataError or ResultsError."""
    layer = job.layer
    for file in job.files:
        if file.dims != layer.dims_in:
            raise DataError(
                f"{file.path} has vectors of {file.dims} dims, but the layer takes those of {layer.base}, "
                f"which have {layer.dims_in}"
            )
    _check_place(job)
    if layer.needs_lengths:
        _check_lengths(job, emit)


def _check_place(job: ApplyJob) -> None:
    if why := why_not_new(job.to):
        raise ResultsError(f"--to {job.to} {why}; choose another name")
    suffix = job.files[0].path.suffix
    if not job.source.is_dir() and job.to.suffix != suffix:
        raise ResultsError(f"--to {job.to} must end in {suffix}, as {job.source.name} does")
    place = next(folder for folder in job.to.absolute().parents if folder.exists())
    free = shutil.disk_usage(place).free
    if free < job.bytes:
        raise ResultsError(
            f"--to {job.to} needs about {job.bytes / 1e9:,.2f} GB, and {place} has {free / 1e9:,.2f} GB free; "
            "free some space, or choose another disk"
        )


def _check_lengths(job: ApplyJob, emit: Emit) -> None:
    """Check that the vectors have the lengths that the layer was trained on, or can be given them."""
    layer, first = job.layer, job.files[0]
    vectors, _ = next(first.chunks(min(_SAMPLE, job.chunk)))
    lengths = np.linalg.norm(vectors, axis=1)
    unit = bool((abs(lengths - 1) <= UNIT_TOLERANCE).all())
    why = "a bias" if layer.bias is not None else "tanh"
    if layer.normalised is False and unit:
        raise DataError(
            f"{first.path} has vectors of length 1, and those of {layer.base} have others, which a layer with {why} "
            f"needs; store them as {layer.base} returns them, or search with --bias false and --activation identity"
        )
    if not unit and layer.normalised:
        emit(Message(f"{first.path.name}: vectors are scaled to length 1 first, as {layer.base} does"))
    if not unit and layer.normalised is None:
        emit(Message(f"{first.path.name}: vectors are taken as {layer.base} returned them, with their own lengths"))


def apply_layer(job: ApplyJob, emit: Emit) -> None:
    """Map all vectors and write them, whole or not at all: to the file `to`, or to files of the same names in it.

    `check_job` has passed. Raises DataError for a row that is no vector, with its number, counted from 0.
    """
    progress = _Progress(job.rows, emit)
    if not job.source.is_dir():
        replace_atomic(job.to, lambda part: _map_file(job, job.files[0], part, progress))
        return

    def fill(folder: Path) -> None:
        for file in job.files:
            _map_file(job, file, folder / file.path.name, progress)
            sync_file(folder / file.path.name)

    make_directory(job.to, fill)


def _map_file(job: ApplyJob, file: StoredVectors, part: Path, progress: "_Progress") -> None:
    with file.writer(part, job.layer.dims, job.dtype) as sink:
        for mapped, rest in _mapped(job, file):
            sink.write(mapped, rest)
            progress.add(len(mapped))


def _mapped(job: ApplyJob, file: StoredVectors) -> Iterator[tuple[NDArray[np.float32], object]]:
    """Yield the mapped vectors, in one buffer, and what else the file has about these rows."""
    size = min(job.chunk, file.rows)
    out = np.empty((size, job.layer.dims), np.float32)
    start = 0
    for vectors, rest in file.chunks(size):
        mapped = out[: len(vectors)]
        try:
            map_vectors(job.layer, vectors, mapped)
        except BadRowError as error:
            raise DataError(f"{file.path}: row {start + error.row:,} {error.what}") from None
        yield mapped, rest
        start += len(vectors)


class BadRowError(ValueError):
    """A row is no vector. row: its number in what was given. what: is wrong with it."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(f"row {row} {what}")
        self.row, self.what = row, what


def map_vectors(layer: Layer, vectors: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the unit vectors [rows, dims] that a layer maps `vectors` [rows, dims_in] to into `out`.

    Raises BadRowError for a row with NaN or infinity, or of zeros.
    """
    if layer.needs_lengths:
        lengths = _lengths(vectors, vectors)
        if layer.normalised:
            vectors = vectors / lengths
    with np.errstate(invalid="ignore", over="ignore"):
        np.matmul(vectors, layer.weight.T, out=out)
        if layer.bias is not None:
            out += layer.bias
        if layer.is_tanh:
            np.tanh(out, out=out)
    out /= _lengths(out, vectors)


def _lengths(vectors: NDArray[np.float32], given: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lengths of vectors, [rows, 1]. given: what they were made of, to say what is wrong with a row."""
    with np.errstate(invalid="ignore", over="ignore"):
        # One pass; numpy.linalg.norm takes three.
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    # NaN fails both comparisons, and an infinity anywhere in a row ends here as one or as NaN.
    good = (lengths > _LEAST) & (lengths < np.inf)
    if not good.all():
        row = int(np.argmin(good))
        if not np.isfinite(given[row]).all():
            raise BadRowError(row, "has NaN or an infinite number; remove it")
        raise BadRowError(row, "is all zeros; remove it" if not given[row].any() else "is too long or too short")
    column: NDArray[np.float32] = lengths[:, None]
    return column


class _Progress:
    """Emits how many vectors are mapped, not more often than can be read."""

    def __init__(self, total: int, emit: Emit) -> None:
        self._total, self._emit, self._done = total, emit, 0
        self._began = self._last = time.perf_counter()

    def add(self, rows: int) -> None:
        self._done += rows
        now = time.perf_counter()
        if now - self._last >= _SECONDS or self._done == self._total:
            self._last = now
            self._emit(Mapped(self._done, self._total, self._done / max(now - self._began, 1e-9)))
