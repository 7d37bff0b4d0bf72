"""Maps of files: the memory that they take is let go as soon as it was used."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = 512


def unmap(array: NDArray[Any]) -> None:
    """Let go of the memory that a map of a file has taken so far; its content stays as it is.

    Other arrays are left alone. Not for copy-on-write maps, which would lose what was written.
    """
    if isinstance(file := getattr(array, "_mmap", None), mmap.mmap):
        file.madvise(mmap.MADV_DONTNEED)


def gathered(array: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return a copy of some rows [n, dims], ascending or not, and let go of the map's memory in between.

    A page that is read brings its neighbours with it: rows spread over a map would leave all of it in memory.
    """
    found = np.empty((len(rows), array.shape[1]), dtype=array.dtype)
    for start in range(0, len(rows), _ROWS):
        found[start : start + _ROWS] = array[rows[start : start + _ROWS]]
        unmap(array)
    return found
