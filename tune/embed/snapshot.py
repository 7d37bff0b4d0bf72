"""Snapshot: every text that a base model has embedded, once, kept for all later searches.

A shard is one file of (key, vector) rows, named by its content, complete or absent; the folder is the index. A run
that is killed has lost at most the shard in the making; parallel runs at worst write a row twice. Small shards, which
a source that sells few texts at a time leaves, are put together into larger ones.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tune.embed.sources import EmbeddingSource
from tune.errors import ModelError, UserError
from tune.files import lock_file, write_array

logger = logging.getLogger(__name__)

TEXTS_PER_SHARD = 2048
KEY_BYTES = 16
_LOCK = ".lock"

Progress = Callable[[int, int], None]
"""Called with (texts embedded so far, texts to embed)."""


@runtime_checkable
class Batched(Protocol):
    """What a source has that batches by itself, and whose batches must not be lost: they were paid for."""

    def embed_batches(self, texts: Sequence[str], prompt: str = "") -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """(positions in `texts`, vectors [len(positions), dims]) of each batch as it comes, in any order."""
        ...


def text_key(prompt: str, text: str) -> bytes:
    """The key of a text under a prompt: 16 bytes."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass"))
    digest.update(b"\0")
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.digest()[:KEY_BYTES]


class Snapshot:
    """The vectors of one source (weights, modules, length, precision), float32 [dims] each, in root/FINGERPRINT.

    dims None: those of the vectors that are there, or of the first that come.
    """

    def __init__(self, root: Path, fingerprint: str, dims: int | None) -> None:
        self.directory = root / fingerprint
        self._shards: list[NDArray[np.void]] = []
        self._known: dict[str, int] = {}
        self._small: dict[str, int] = {}
        self._index: dict[bytes, tuple[int, int]] = {}
        self._dtype = None if dims is None else _row_type(dims)
        self.refresh()

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dims(self) -> int:
        """Of the vectors. LookupError where neither the source nor a vector has told them yet."""
        if self._dtype is None:
            raise LookupError(f"{self.directory} holds no vectors, so their dims are not known")
        return int(self._dtype["vector"].shape[0])

    def refresh(self) -> None:
        """Takes in shards that have appeared since. UserError where one is there and cannot be read."""
        again = True
        while again:
            # A shard that is gone when it is read was put into a larger one, which is there by then.
            again = not all(self._read(path) for path in sorted(self.directory.glob("*.npy")))

    def _read(self, path: Path) -> bool:
        """Takes in a shard that is not known yet; False where there is no such file any more."""
        if path.name in self._known:
            return True
        try:
            shard = np.load(path, mmap_mode="r")
        except FileNotFoundError:
            return False
        except OSError as error:
            # Nothing says that it is damaged, and what is in it may have been paid for.
            raise UserError(
                f"snapshot shard {path} cannot be read ({error.strerror or error}); mend that and run again, "
                "or move the shard away: its texts are embedded again then"
            ) from None
        except (ValueError, EOFError) as error:
            logger.warning("snapshot shard %s cannot be read (%s): its texts are embedded again", path, error)
            return True
        if self._dtype is None and shard.dtype.names == ("key", "vector"):
            self._dtype = _row_type(int(np.prod(shard.dtype["vector"].shape)))
        if shard.dtype != self._dtype:
            logger.warning("snapshot shard %s is of another form: its texts are embedded again", path)
            return True
        self._take(path.name, shard)
        return True

    def _take(self, name: str, shard: NDArray[np.void]) -> None:
        number = self._known[name] = len(self._shards)
        if len(shard) < TEXTS_PER_SHARD:
            # In memory: a map keeps its file open, and there may be more small shards than files that may be.
            shard = np.array(shard)
            self._small[name] = number
        self._shards.append(shard)
        for row, key in enumerate(np.ascontiguousarray(shard["key"]).tolist()):
            self._index.setdefault(key, (number, row))

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Positions of the keys that have no vector yet, each distinct key once."""
        first = {key: position for position, key in reversed(list(enumerate(keys))) if key not in self._index}
        return sorted(first.values())

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Keeps vectors [n, dims] under their keys, as one shard. ValueError where they are of other dims."""
        if self._dtype is None:
            self._dtype = _row_type(vectors.shape[1])
        if vectors.shape != (len(keys), self.dims):
            raise ValueError(f"need {len(keys)} vectors of {self.dims} dims, got {vectors.shape}")
        rows = np.empty(len(keys), dtype=self._dtype)
        rows["key"] = np.frombuffer(b"".join(keys), dtype=f"V{KEY_BYTES}")
        rows["vector"] = vectors
        self._write(rows)
        if sum(len(self._shards[number]) for number in self._small.values()) >= TEXTS_PER_SHARD:
            self._merge()

    def _write(self, rows: NDArray[np.void]) -> int:
        """The number of the shard that has these rows."""
        path = self.directory / f"{hashlib.sha256(rows.tobytes()).hexdigest()[:24]}.npy"
        write_array(path, rows)
        if path.name not in self._known:
            self._take(path.name, np.load(path, mmap_mode="r"))
        return self._known[path.name]

    def _merge(self) -> None:
        """Puts the small shards into one. The large one is there before the small ones go."""
        small, self._small = self._small, {}
        numbers = set(small.values())
        rows = np.concatenate([self._shards[number] for number in sorted(numbers)])
        merged = self._write(rows)
        for row, key in enumerate(rows["key"].tolist()):
            if self._index[key][0] in numbers:
                self._index[key] = (merged, row)
        for name, number in small.items():
            self._shards[number] = rows[:0]
            (self.directory / name).unlink(missing_ok=True)

    def lacking(self, prompt: str, texts: Sequence[str]) -> list[str]:
        """The texts that have no vector under the prompt yet, each once."""
        return [texts[position] for position in self.missing([text_key(prompt, text) for text in texts])]

    def embed(
        self, source: EmbeddingSource, prompt: str, texts: Sequence[str], progress: Progress | None = None
    ) -> int:
        """Embeds the texts that have no vector yet; returns how many there were.

        Every batch is stored before the next is taken. What is bought is bought by one run at a time; the next to come
        waits, and buys what is missing then. ModelError where the source fails, or gives vectors of other
        dims than those that are here; what it gave before is kept.
        """
        keys = [text_key(prompt, text) for text in texts]
        if not self.missing(keys):
            return 0
        if not isinstance(source, Batched):
            return self._embed(source, prompt, texts, keys, progress)
        # Two runs at a time would both buy what neither has.
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / _LOCK, "a") as handle:
            lock_file(handle)
            self.refresh()
            return self._embed(source, prompt, texts, keys, progress)

    def _embed(
        self,
        source: EmbeddingSource,
        prompt: str,
        texts: Sequence[str],
        keys: Sequence[bytes],
        progress: Progress | None,
    ) -> int:
        todo = self.missing(keys)
        done = 0
        try:
            for places, vectors in _batches(source, prompt, [texts[position] for position in todo]):
                if self._dtype is not None and vectors.shape[1] != self.dims:
                    raise ModelError(
                        f"base model {source.name} gives vectors of {vectors.shape[1]} dims now, and those of "
                        f"{self.directory} have {self.dims}; it is another model: name it otherwise, or move these away"
                    )
                self.add([keys[todo[place]] for place in places], vectors)
                done += len(places)
                if progress is not None:
                    progress(done, len(todo))
        except ModelError as error:
            if not done:
                raise
            raise ModelError(
                f"{error}; {done} of {len(todo)} texts are kept, the next run goes on from there"
            ) from None
        return len(todo)

    def vectors(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """The vectors of the keys, float32 [n, dims]; KeyError where one has none."""
        places = np.array([self._index[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        out = np.empty((len(keys), self.dims), dtype=np.float32)
        for number in np.unique(places[:, 0]):
            of_shard = np.flatnonzero(places[:, 0] == number)
            out[of_shard] = self._shards[number]["vector"][places[of_shard, 1]]
        return out


def _row_type(dims: int) -> np.dtype[np.void]:
    return np.dtype([("key", f"V{KEY_BYTES}"), ("vector", np.float32, (dims,))])


def _batches(
    source: EmbeddingSource, prompt: str, texts: Sequence[str]
) -> Iterator[tuple[Sequence[int], NDArray[np.float32]]]:
    if isinstance(source, Batched):
        yield from source.embed_batches(texts, prompt)
        return
    for start in range(0, len(texts), TEXTS_PER_SHARD):
        part = texts[start : start + TEXTS_PER_SHARD]
        yield range(start, start + len(part)), source.embed(part, prompt)
