"""View: all that a frozen trial reads, in one directory: the vectors of the train and val texts, and the pairs.

Named by its content, complete or absent, never changed: any number of trials map it into memory at the same time.
It holds no test rows and no texts.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

_ARRAYS = ("train_a", "train_b", "train_label", "val_a", "val_b", "val_label")


@dataclass(frozen=True)
class PairRows:
    """Labelled pairs as rows of a matrix of vectors: a, b [n] int64, label [n] int8."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    label: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.label)

    def prefix(self, size: int) -> "PairRows":
        """The first `size` pairs; all of them where size is 0 or larger than there are."""
        if size == 0 or size >= len(self):
            return self
        return PairRows(self.a[:size], self.b[:size], self.label[:size])


@dataclass(frozen=True)
class View:
    """vectors: float32 [texts, dims], mapped read-only. train: in its seeded order. digest: names the content."""

    vectors: NDArray[np.float32]
    train: PairRows
    val: PairRows
    digest: str

    @classmethod
    def open(cls, directory: Path, *, map_memory: bool = True) -> Self:
        """Reads a view. map_memory=False reads the vectors into memory and leaves no file open (Volumes need that)."""
        about = json.loads((directory / "view.json").read_text())
        vectors = np.load(directory / "vectors.npy", mmap_mode="r" if map_memory else None)
        rows = {name: np.load(directory / f"{name}.npy") for name in _ARRAYS}
        return cls(
            vectors,
            PairRows(rows["train_a"], rows["train_b"], rows["train_label"]),
            PairRows(rows["val_a"], rows["val_b"], rows["val_label"]),
            about["digest"],
        )


def is_sound(directory: Path) -> bool:
    """Whether a view is there and whole; a damaged one is removed, to be written again."""
    if not directory.exists():
        return False
    try:
        View.open(directory)
    except (OSError, ValueError, EOFError, KeyError):
        shutil.rmtree(directory)
        return False
    return True


def view_digest(fingerprint: str, keys: list[bytes], train: PairRows, val: PairRows) -> str:
    """Names a view by what is in it: whose vectors, of which texts, in which pairs, in which order."""
    digest = hashlib.sha256(fingerprint.encode())
    for key in keys:
        digest.update(key)
    for rows in (train, val):
        for array in (rows.a, rows.b, rows.label):
            digest.update(b"|")
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]


def write_view(root: Path, digest: str, vectors: NDArray[np.float32], train: PairRows, val: PairRows) -> Path:
    """Writes root/DIGEST whole and returns it; an existing one is left as it is."""
    final = root / digest
    if (final / "view.json").exists():
        return final
    root.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=root, prefix=f".{digest}."))
    try:
        part.chmod(0o755)
        np.save(part / "vectors.npy", vectors)
        for side, rows in (("train", train), ("val", val)):
            np.save(part / f"{side}_a.npy", rows.a)
            np.save(part / f"{side}_b.npy", rows.b)
            np.save(part / f"{side}_label.npy", rows.label)
        about = {"digest": digest, "texts": len(vectors), "train": len(train), "val": len(val)}
        (part / "view.json").write_text(json.dumps(about))
        try:
            os.rename(part, final)
        except OSError:
            # Another search made the same view meanwhile: the content is the same.
            if not (final / "view.json").exists():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final
