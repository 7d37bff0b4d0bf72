"""Snapshot: the vectors of every text that a base model has embedded, kept for all later searches.

A shard is one file of (key, vector) rows, named by its content, complete or absent; the folder is the index. A killed
run loses at most the shard it was writing; parallel runs at worst write a row twice. Small shards, left by sources that
return few texts at a time, are merged into larger ones. A shard whose content does not fit its name is damaged: it is
set aside, and its texts count as never embedded.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tokenize import TokenError
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tune.embed.behind import behind
from tune.embed.checked import content_of, was_read
from tune.embed.keys import KEY_TYPE, KeyIndex, Keys, as_keys, first_places, text_key, text_keys
from tune.embed.maps import unmap
from tune.embed.sources import EmbeddingSource
from tune.errors import ModelError, UserError
from tune.events import Progress
from tune.files import locked, write_array, write_atomic

logger = logging.getLogger(__name__)

__all__ = ["TEXTS_PER_SHARD", "Batched", "Snapshot", "text_key", "text_keys"]

TEXTS_PER_SHARD = 2048
"""Shards with fewer texts are small, and get merged."""
_ROWS_AT_ONCE = 1 << 15
_LOCK = ".lock"
"""Of those who buy: only snapshots of closed models have it."""
_CUT = "cut_by_server.txt"
_DAMAGED = ".damaged"
"""In place of a damaged shard's `.npy`."""
_NAMED = 24
"""Hex digits of a shard's name."""


@runtime_checkable
class Batched(Protocol):
    """A source that makes its own batches, to be stored at once because they were paid for.

    cut_positions: the positions of the texts of the last `embed_batches` that were cut because the server refused them
    whole, known before their batch is yielded.
    """

    cut_positions: set[int]

    def embed_batches(self, texts: Sequence[str], prompt: str = "") -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield (positions in `texts`, vectors [len(positions), dims]) of each batch as it arrives, in any order."""
        ...


class Snapshot:
    """The vectors of one source, float32 [dims] each, in root/FINGERPRINT.

    dims: None takes those of the stored vectors, or of the first to be added. Raises UserError as `refresh` does.
    """

    def __init__(self, root: Path, fingerprint: str, dims: int | None) -> None:
        self.directory = root / fingerprint
        self._shards: list[NDArray[np.void]] = []
        self._known: dict[str, int] = {}
        self._small: dict[str, int] = {}
        self._index = KeyIndex()
        self._cut: frozenset[bytes] = frozenset()
        self._lost_in_use = False
        self._dtype = None if dims is None else _row_type(dims)
        self.refresh()

    @classmethod
    def in_cache(cls, cache: Path, fingerprint: str, dims: int | None) -> Self:
        """Open the snapshot at its place in the user's cache."""
        return cls(cache / "snapshots", fingerprint, dims)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dims(self) -> int:
        """Dims of the vectors. Raises LookupError if they are unknown: none were given and no vector is stored."""
        if self._dtype is None:
            raise LookupError(f"{self.directory} contains no vectors, so their dims are unknown")
        return int(self._dtype["vector"].shape[0])

    def refresh(self) -> None:
        """Read shards that have appeared since. Raises UserError if one exists but cannot be opened."""
        again = True
        while again:
            # A shard that vanishes before it is read was merged into a larger one, which exists by then.
            again = not all(self._read(path) for path in sorted(self.directory.glob("*.npy")))
        with contextlib.suppress(FileNotFoundError):
            self._cut = _read_keys(self.directory / _CUT)

    def _read(self, path: Path) -> bool:
        """Read a shard unless it is known already; return False if the file no longer exists."""
        if path.name in self._known:
            return True
        before = was_read(path)
        try:
            shard = np.load(path, mmap_mode="r")
            sound = _fits_name(path, shard)
        except FileNotFoundError:
            return False
        except OSError as error:
            # The shard may be intact, and its vectors may have been paid for.
            raise UserError(
                f"snapshot shard {path} cannot be read ({error.strerror or error}); fix that and run again, "
                "or move the shard away to embed its texts again"
            ) from None
        except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, TokenError):
            # What numpy raises for headers and files that are none.
            shard, sound = None, False
        if not sound:
            self._set_aside(path, "its texts" if shard is None else f"its {len(shard)} texts")
            self._lost_in_use |= before
            return True
        if self._dtype is None and shard.dtype.names == ("key", "vector"):
            self._dtype = _row_type(int(np.prod(shard.dtype["vector"].shape)))
        if shard.dtype != self._dtype:
            logger.warning("snapshot shard %s has another format; its texts will be embedded again", path)
            return True
        self._index_shard(path.name, shard)
        return True

    def _set_aside(self, path: Path, texts: str) -> None:
        """Rename a damaged shard, so that its texts have no vector, and say so."""
        aside = path.with_suffix(_DAMAGED)
        again = "bought" if (self.directory / _LOCK).exists() else "embedded"
        logger.warning("snapshot shard %s is damaged; %s are %s again (kept as %s)", path, texts, again, aside.name)
        # Where nothing can be renamed, it is found damaged again. Another process may have done so already.
        with contextlib.suppress(OSError):
            path.rename(aside)

    def _index_shard(self, name: str, shard: NDArray[np.void]) -> None:
        number = self._known[name] = len(self._shards)
        if len(shard) < TEXTS_PER_SHARD:
            # Copied to memory: a map keeps its file open, and there may be more small shards than open files allowed.
            shard = np.array(shard)
            self._small[name] = number
        self._shards.append(shard)
        self._index.add(np.array(shard["key"]), number)
        unmap(shard)

    def missing(self, keys: Keys) -> NDArray[np.int64]:
        """Return the positions of the keys that have no vector yet, each distinct key once."""
        asked = as_keys(keys)
        absent = np.flatnonzero(self._index.find(asked)[0] < 0)
        return absent[first_places(asked[absent])]

    def add(self, keys: Keys, vectors: NDArray[np.float32]) -> None:
        """Store vectors [n, dims] under their keys as one shard. Raises ValueError if their number or dims differ."""
        if self._dtype is None:
            self._dtype = _row_type(vectors.shape[1])
        if vectors.shape != (len(keys), self.dims):
            raise ValueError(f"need {len(keys)} vectors of {self.dims} dims, got {vectors.shape}")
        rows = np.empty(len(keys), dtype=self._dtype)
        rows["key"] = as_keys(keys)
        rows["vector"] = vectors
        self._write(rows)
        if sum(len(self._shards[number]) for number in self._small.values()) >= TEXTS_PER_SHARD:
            self._merge()

    def _write(self, rows: NDArray[np.void]) -> int:
        """Write a shard of these rows unless it exists; return its number."""
        path = self.directory / f"{hashlib.sha256(rows.view(np.uint8).data).hexdigest()[:_NAMED]}.npy"
        write_array(path, rows)
        if path.name not in self._known:
            self._index_shard(path.name, np.load(path, mmap_mode="r"))
        return self._known[path.name]

    def _merge(self) -> None:
        """Merge the small shards into one, which exists before the small ones are deleted."""
        small, self._small = self._small, {}
        numbers = set(small.values())
        rows = np.concatenate([self._shards[number] for number in sorted(numbers)])
        merged = self._write(rows)
        self._index.move(np.array(rows["key"]), numbers, merged)
        for name, number in small.items():
            self._shards[number] = rows[:0]
            (self.directory / name).unlink(missing_ok=True)

    def cut_by_server(self, prompt: str, texts: Iterable[str]) -> list[str]:
        """Return the texts of which only the beginning was embedded, because the server refused them whole."""
        cut = [text for text in texts if text_key(prompt, text) in self._cut] if self._cut else []
        stored = self._index.find(text_keys(prompt, cut))[0] >= 0
        return [text for text, known in zip(cut, stored.tolist(), strict=True) if known]

    def _note_cut(self, keys: NDArray[np.void], cut: NDArray[np.void]) -> None:
        """Write which of these keys, to be stored next, are of cut texts."""
        noted = self._cut.difference(keys.tolist()).union(cut.tolist())
        if noted != self._cut:
            write_atomic(self.directory / _CUT, "".join(f"{key.hex()}\n" for key in sorted(noted)))
            self._cut = noted

    def lacking(self, prompt: str, texts: Sequence[str]) -> list[str]:
        """Return the texts that have no vector under the prompt yet, each once."""
        return _at(texts, self.missing(text_keys(prompt, texts)))

    def embed(
        self, source: EmbeddingSource, prompt: str, texts: Sequence[str], progress: Progress | None = None
    ) -> int:
        """Embed the texts that have no vector yet; return how many there were.

        Stores every batch before it takes the next if it was paid for, else while the next is embedded. Only one run at
        a time buys; others wait, then buy what is still missing. Raises ModelError if the source fails or returns
        vectors of other dims than those stored; earlier batches are kept.
        """
        keys = text_keys(prompt, texts)
        if not len(self.missing(keys)):
            return 0
        if not isinstance(source, Batched):
            return self._embed(source, prompt, texts, keys, progress)
        # Without the lock, two runs would both buy what neither has.
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self.directory / _LOCK):
            self.refresh()
            if self._lost_in_use:
                raise ModelError(
                    f"base model {source.name}: vectors in {self.directory} were damaged after their cost was counted, "
                    "and nothing is bought beyond that; run again"
                )
            return self._embed(source, prompt, texts, keys, progress)

    def _embed(
        self,
        source: EmbeddingSource,
        prompt: str,
        texts: Sequence[str],
        keys: NDArray[np.void],
        progress: Progress | None,
    ) -> int:
        todo, stored = self.missing(keys), 0

        def store(batch: NDArray[np.void], vectors: NDArray[np.float32]) -> None:
            nonlocal stored
            self.add(batch, vectors)
            stored += len(batch)
            if progress is not None:
                progress(stored, len(todo))

        paid = isinstance(source, Batched)
        try:
            # Storing a batch takes a third of the time that a static model takes for the next.
            with contextlib.nullcontext(store) if paid else behind(store) as storing:
                for places, vectors in _batches(source, prompt, texts, todo):
                    self._check_dims(source, vectors)
                    batch = keys[todo[places]]
                    if isinstance(source, Batched):
                        # Before the vectors: a run killed in between buys these texts again.
                        self._note_cut(batch, batch[np.isin(places, list(source.cut_positions))])
                    storing(batch, vectors)
        except ModelError as error:
            if not stored:
                raise
            raise ModelError(
                f"{error}; {stored} of {len(todo)} texts are kept, and the next run continues from there"
            ) from None
        return len(todo)

    def _check_dims(self, source: EmbeddingSource, vectors: NDArray[np.float32]) -> None:
        if self._dtype is not None and vectors.shape[1] != self.dims:
            raise ModelError(
                f"base model {source.name} now returns vectors of {vectors.shape[1]} dims, but those in "
                f"{self.directory} have {self.dims}; give the model another name, or move that folder away"
            )

    def vectors(self, keys: Keys) -> NDArray[np.float32]:
        """Return the vectors of the keys, float32 [n, dims]. Raises KeyError if a key has no vector."""
        shard, row = self._index.find(as_keys(keys))
        if (shard < 0).any():
            raise KeyError(f"{int((shard < 0).sum())} of {len(shard)} texts have no vector in {self.directory}")
        found = np.empty((len(shard), self.dims), dtype=np.float32)
        order = np.argsort(shard, kind="stable")
        starts: list[int] = np.flatnonzero(np.diff(shard[order], prepend=-1)).tolist()
        for start, end in pairwise([*starts, len(order)]):
            of_shard, stored = order[start:end], self._shards[shard[order[start]]]
            for at in range(0, len(of_shard), _ROWS_AT_ONCE):
                part = of_shard[at : at + _ROWS_AT_ONCE]
                found[part] = stored["vector"][row[part]]
            unmap(stored)
        return found


def _at(texts: Sequence[str], positions: NDArray[np.int64]) -> list[str]:
    """Return the texts at ascending positions; neighbours are read as one slice, which is far cheaper from a file."""
    if not len(positions):
        return []
    first, last = int(positions[0]), int(positions[-1])
    if last - first >= 4 * len(positions):
        return [texts[position] for position in positions.tolist()]
    part = texts[first : last + 1]
    return list(part) if len(part) == len(positions) else [part[place] for place in (positions - first).tolist()]


def _fits_name(path: Path, shard: NDArray[np.void]) -> bool:
    """Return whether a shard is named by the rows in its file, and holds nothing else. Raises OSError."""
    start = int(getattr(shard, "offset", 0))
    return path.stat().st_size == start + shard.nbytes and content_of(path, start)[:_NAMED] == path.stem


def _read_keys(path: Path) -> frozenset[bytes]:
    try:
        return frozenset(map(bytes.fromhex, path.read_text().split()))
    except ValueError:
        logger.warning("%s cannot be read; texts that a server made embedtune cut are not counted", path)
        return frozenset()


def _row_type(dims: int) -> np.dtype[np.void]:
    return np.dtype([("key", KEY_TYPE), ("vector", np.float32, (dims,))])


def _batches(
    source: EmbeddingSource, prompt: str, texts: Sequence[str], todo: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield (positions in `todo`, vectors [len(positions), dims]) of the texts at `todo`."""
    if isinstance(source, Batched):
        for places, vectors in source.embed_batches(_at(texts, todo), prompt):
            yield np.array(places, dtype=np.int64), vectors
        return
    size = TEXTS_PER_SHARD * getattr(source, "shards_at_once", 1)
    for start in range(0, len(todo), size):
        part = todo[start : start + size]
        yield np.arange(start, start + len(part)), source.embed(_at(texts, part), prompt)
