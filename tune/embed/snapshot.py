"""Snapshot: every text that a base model has embedded, once, kept for all later searches.

A shard is one file of (key, vector) rows, named by its content, complete or absent; the folder is the index. A run
that is killed has lost at most the shard in the making; parallel runs at worst write a row twice.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune.embed.sources import EmbeddingSource
from tune.files import replace_atomic

logger = logging.getLogger(__name__)

TEXTS_PER_SHARD = 2048
KEY_BYTES = 16

Progress = Callable[[int, int], None]
"""Called with (texts embedded so far, texts to embed)."""


def text_key(prompt: str, text: str) -> bytes:
    """The key of a text under a prompt: 16 bytes."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass"))
    digest.update(b"\0")
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.digest()[:KEY_BYTES]


class Snapshot:
    """The vectors of one source (weights, modules, length, precision), float32 [dims] each, in root/FINGERPRINT."""

    def __init__(self, root: Path, fingerprint: str, dims: int) -> None:
        self.directory = root / fingerprint
        self.dims = dims
        self._shards: list[NDArray[np.void]] = []
        self._known: set[str] = set()
        self._index: dict[bytes, tuple[int, int]] = {}
        self._dtype = np.dtype([("key", f"V{KEY_BYTES}"), ("vector", np.float32, (dims,))])
        self.refresh()

    def __len__(self) -> int:
        return len(self._index)

    def refresh(self) -> None:
        """Takes in shards that have appeared since."""
        for path in sorted(self.directory.glob("*.npy")):
            if path.name in self._known:
                continue
            try:
                shard = np.load(path, mmap_mode="r")
            except (ValueError, OSError, EOFError) as error:
                logger.warning("snapshot shard %s cannot be read (%s): its texts are embedded again", path, error)
                continue
            if shard.dtype != self._dtype:
                logger.warning("snapshot shard %s is of another form: its texts are embedded again", path)
                continue
            self._take(path.name, shard)

    def _take(self, name: str, shard: NDArray[np.void]) -> None:
        number = len(self._shards)
        self._known.add(name)
        self._shards.append(shard)
        for row, key in enumerate(np.ascontiguousarray(shard["key"]).tolist()):
            self._index.setdefault(key, (number, row))

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Positions of the keys that have no vector yet, each distinct key once."""
        first = {key: position for position, key in reversed(list(enumerate(keys))) if key not in self._index}
        return sorted(first.values())

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Keeps vectors [n, dims] under their keys, as one shard."""
        rows = np.empty(len(keys), dtype=self._dtype)
        rows["key"] = np.frombuffer(b"".join(keys), dtype=f"V{KEY_BYTES}")
        rows["vector"] = vectors
        path = self.directory / f"{hashlib.sha256(rows.tobytes()).hexdigest()[:24]}.npy"

        def write(part: Path) -> None:
            with open(part, "wb") as handle:
                np.save(handle, rows)

        replace_atomic(path, write)
        if path.name not in self._known:
            self._take(path.name, np.load(path, mmap_mode="r"))

    def embed(
        self, source: EmbeddingSource, prompt: str, texts: Sequence[str], progress: Progress | None = None
    ) -> int:
        """Embeds the texts that have no vector yet; returns how many there were."""
        keys = [text_key(prompt, text) for text in texts]
        todo = self.missing(keys)
        for start in range(0, len(todo), TEXTS_PER_SHARD):
            part = todo[start : start + TEXTS_PER_SHARD]
            vectors = source.embed([texts[position] for position in part], prompt)
            self.add([keys[position] for position in part], vectors)
            if progress is not None:
                progress(start + len(part), len(todo))
        return len(todo)

    def vectors(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """The vectors of the keys, float32 [n, dims]; KeyError where one has none."""
        places = np.array([self._index[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        out = np.empty((len(keys), self.dims), dtype=np.float32)
        for number in np.unique(places[:, 0]):
            of_shard = np.flatnonzero(places[:, 0] == number)
            out[of_shard] = self._shards[number]["vector"][places[of_shard, 1]]
        return out
