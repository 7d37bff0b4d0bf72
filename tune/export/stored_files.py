"""What a file of stored vectors is to those who read and write it, whatever its format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Chunk = tuple[NDArray[np.float32], Any]
"""Vectors [rows, dims], valid until the next chunk is read, and what else the file has about these rows."""


class Sink(Protocol):
    """An open file of mapped vectors."""

    def write(self, vectors: NDArray[np.floating], rest: Any) -> None:
        """Append vectors [rows, dims]. rest: what the chunk came with."""
        ...


@dataclass(frozen=True)
class StoredVectors(ABC):
    """One file of vectors. dims: of its vectors. column: that holds them, "" for .npy."""

    path: Path
    rows: int
    dims: int
    column: str = ""

    @property
    def other_bytes(self) -> int:
        """About how many bytes a copy needs besides its vectors."""
        return 4096

    @abstractmethod
    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the vectors in order, at most `size` rows at a time. Raises DataError for rows that are no vectors."""

    @abstractmethod
    def at(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """Return the vectors of some rows, in ascending order, [rows, dims]."""

    @abstractmethod
    def writer(self, path: Path, dims: int, dtype: str) -> AbstractContextManager[Sink]:
        """Open a file like this one for vectors of other dims. dtype: float32 or float16."""
