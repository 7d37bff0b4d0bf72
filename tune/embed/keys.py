"""Keys of texts in a snapshot, and an index from keys to places that takes 24 bytes a text."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16
KEY_TYPE = np.dtype(f"V{KEY_BYTES}")
Keys = Sequence[bytes] | NDArray[np.void]
"""Keys [n]: of KEY_BYTES each, or an array of KEY_TYPE."""

_SLICE = 1 << 16


def text_key(prompt: str, text: str) -> bytes:
    """Return the key of a text under a prompt, KEY_BYTES long."""
    return hashlib.sha256(_encoded(prompt) + b"\0" + _encoded(text)).digest()[:KEY_BYTES]


def text_keys(prompt: str, texts: Sequence[str]) -> NDArray[np.void]:
    """Return the `text_key` of each text, KEY_TYPE [n]. Takes the texts in slices, so they may come from a file."""
    sha256, before = hashlib.sha256, _encoded(prompt) + b"\0"
    keys = np.empty(len(texts), dtype=KEY_TYPE)
    for start in range(0, len(texts), _SLICE):
        part = texts[start : start + _SLICE]
        digests = b"".join([sha256(before + text.encode("utf-8", "surrogatepass")).digest() for text in part])
        whole = np.frombuffer(digests, dtype=np.uint8).reshape(len(part), -1)
        keys[start : start + len(part)] = np.ascontiguousarray(whole[:, :KEY_BYTES]).view(KEY_TYPE)[:, 0]
    return keys


def as_keys(keys: Keys) -> NDArray[np.void]:
    """Return keys as an array, KEY_TYPE [n]."""
    return keys if isinstance(keys, np.ndarray) else np.frombuffer(b"".join(keys), dtype=KEY_TYPE)


def first_places(keys: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the position of the first occurrence of each distinct key, ascending."""
    order, fresh = _sorted(*_halves(keys))
    return np.sort(order[fresh])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _halves(keys: NDArray[np.void]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return two numbers for each key, which identify it together; the first is nearly always enough."""
    pairs = np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)
    return pairs[:, 0] ^ pairs[:, 1], pairs[:, 1]


def _sorted(mixed: NDArray[np.uint64], half: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return an order in which equal keys are neighbours, in the order of their positions, and the first of each."""
    order = np.argsort(mixed, kind="stable")
    by_mixed = mixed[order]
    same = by_mixed[1:] == by_mixed[:-1]
    if (half[order][1:] != half[order][:-1])[same].any():
        order = np.lexsort((half, mixed))
        by_mixed = mixed[order]
        same = by_mixed[1:] == by_mixed[:-1]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = ~same | (half[order][1:] != half[order][:-1])
    return order, fresh


class _Run(NamedTuple):
    """Distinct keys by their halves, sorted, and where their vectors are."""

    mixed: NDArray[np.uint64]
    half: NDArray[np.uint64]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]

    @classmethod
    def of(cls, *columns: NDArray[Any]) -> Self:
        """Sort columns."""
        order, _ = _sorted(columns[0], columns[1])
        return cls(*(column[order] for column in columns))

    def find(self, mixed: NDArray[np.uint64], half: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the position of each key, -1 where it is absent."""
        found = np.full(len(mixed), -1, dtype=np.int64)
        at = np.searchsorted(self.mixed, mixed)
        asked = np.flatnonzero(at < len(self.mixed))
        while len(asked):
            asked = asked[self.mixed[at[asked]] == mixed[asked]]
            right = self.half[at[asked]] == half[asked]
            found[asked[right]] = at[asked[right]]
            asked = asked[~right]
            at[asked] += 1
            asked = asked[at[asked] < len(self.mixed)]
        return found


class KeyIndex:
    """Where the vector of each key is: the number of a shard and a row of it.

    Keys are in a few sorted runs, each at least twice as long as the next, so that adding a few to many stays cheap.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return sum(len(run.mixed) for run in self._runs)

    def find(self, keys: NDArray[np.void]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the shard and the row of each key, [n] each; shard -1 where it is absent."""
        shard, row = np.full(len(keys), -1, dtype=np.int32), np.zeros(len(keys), dtype=np.int32)
        for start in range(0, len(keys), _SLICE):
            part = slice(start, start + _SLICE)
            mixed, half = _halves(keys[part])
            for run in self._runs:
                at = run.find(mixed, half)
                there = at >= 0
                shard[part][there], row[part][there] = run.shard[at[there]], run.row[at[there]]
        return shard, row

    def add(self, keys: NDArray[np.void], shard: int) -> None:
        """Add the rows of a shard, keys [rows]; a key that is known keeps its place."""
        known, _ = self.find(keys)
        rows = np.flatnonzero(known < 0)
        rows = rows[first_places(keys[rows])].astype(np.int32)
        if not len(rows):
            return
        self._runs.append(_Run.of(*_halves(keys[rows]), np.full(len(rows), shard, dtype=np.int32), rows))
        while len(self._runs) > 1 and len(self._runs[-2].mixed) < 2 * len(self._runs[-1].mixed):
            last, before = self._runs.pop(), self._runs.pop()
            columns: list[NDArray[Any]] = [np.concatenate([a, b]) for a, b in zip(before, last, strict=True)]
            self._runs.append(_Run.of(*columns))

    def move(self, keys: NDArray[np.void], shards: set[int], to: int) -> None:
        """Keys [rows] that are in one of the shards are now in shard `to`, at their position in `keys`."""
        mixed, half = _halves(keys)
        for run in self._runs:
            at = run.find(mixed, half)
            rows = np.flatnonzero(at >= 0)
            rows = rows[np.isin(run.shard[at[rows]], list(shards))]
            run.shard[at[rows]], run.row[at[rows]] = to, rows
