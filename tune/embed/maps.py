"""Maps of files: the memory that they take is let go as soon as it was used."""

import mmap
from typing import Any

from numpy.typing import NDArray


def unmap(array: NDArray[Any]) -> None:
    """Let go of the memory that a map of a file has taken so far; its content stays as it is.

    Other arrays are left alone. Not for copy-on-write maps, which would lose what was written.
    """
    if isinstance(file := getattr(array, "_mmap", None), mmap.mmap):
        file.madvise(mmap.MADV_DONTNEED)
