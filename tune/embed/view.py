"""View: all that a frozen trial reads, in one directory: the vectors of the train and val texts, and the pairs.

Named by its content, complete or absent, never changed: any number of trials map it into memory at the same time.
It holds no test rows. For trials that train the base itself it has the texts as well (`ViewTexts`), row by row; for
trials with folds the fold of each pair.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tune.files import make_directory, write_array, write_atomic

ABOUT_FILE = "view.json"
TEXTS_FILE = "texts.json"
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

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "PairRows":
        """The pairs at `index` (places, or [n] True for those to take), in its order."""
        return PairRows(self.a[index], self.b[index], self.label[index])


@dataclass(frozen=True)
class View:
    """vectors: float32 [texts, dims], mapped read-only. train: in its seeded order. digest: names the content."""

    vectors: NDArray[np.float32]
    train: PairRows
    val: PairRows
    digest: str
    directory: Path = Path()

    def texts(self) -> "ViewTexts":
        """The texts of the rows of `vectors`; FileNotFoundError where the view was made without them."""
        return ViewTexts(**json.loads((self.directory / TEXTS_FILE).read_text(encoding="utf-8")))

    def train_and_val(self) -> PairRows:
        """The pairs of both sides: train in its seeded order, then val."""
        pairs = (self.train, self.val)
        return PairRows(
            np.concatenate([rows.a for rows in pairs]),
            np.concatenate([rows.b for rows in pairs]),
            np.concatenate([rows.label for rows in pairs]),
        )

    def folds(self, folds: int, seed: int) -> NDArray[np.int8]:
        """[train + val] the fold of each pair of `train_and_val`; FileNotFoundError where they were not made."""
        of_pair: NDArray[np.int8] = np.load(self.directory / folds_file(folds, seed))
        return of_pair

    @classmethod
    def open(cls, directory: Path, *, map_memory: bool = True) -> Self:
        """Reads a view. map_memory=False reads the vectors into memory and leaves no file open (Volumes need that)."""
        about = json.loads((directory / ABOUT_FILE).read_text())
        vectors = np.load(directory / "vectors.npy", mmap_mode="r" if map_memory else None)
        rows = {name: np.load(directory / f"{name}.npy") for name in _ARRAYS}
        return cls(
            vectors,
            PairRows(rows["train_a"], rows["train_b"], rows["train_label"]),
            PairRows(rows["val_a"], rows["val_b"], rows["val_label"]),
            about["digest"],
            directory,
        )


@dataclass(frozen=True)
class ViewTexts:
    """What a trial that trains the base reads besides the pairs.

    base_model, max_length: as the search names them. prompts: the distinct prompts. texts [rows]: the text of each
    row of the view; prompt_of [rows]: its prompt, as an index.
    """

    base_model: str
    max_length: int | None
    prompts: list[str]
    prompt_of: list[int]
    texts: list[str]


def write_texts(directory: Path, texts: ViewTexts) -> None:
    """Puts the texts into a view that is there. The same view has the same texts, so an existing file stays."""
    if not (directory / TEXTS_FILE).exists():
        write_atomic(directory / TEXTS_FILE, json.dumps(asdict(texts)))


def write_folds(directory: Path, fold: NDArray[np.int8], folds: int, seed: int) -> None:
    """Puts the fold of every pair, [train + val], into a view that is there.

    A sound file stays as it is, since trials that go on must find the folds that they began with.
    """
    path = directory / folds_file(folds, seed)
    try:
        if np.load(path).shape == fold.shape:
            return
    except (OSError, ValueError, EOFError):
        pass

    write_array(path, fold)


def folds_file(folds: int, seed: int) -> str:
    """Return the name of the file with the fold of every pair."""
    return f"folds-{folds}-{seed}.npy"


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


def view_digest(
    fingerprint: str, keys: list[bytes], train: PairRows, val: PairRows, vectors: NDArray[np.float32] | None = None
) -> str:
    """Names a view by what is in it: whose vectors, of which texts, in which pairs, in which order.

    vectors: themselves, where the fingerprint cannot tell them (a closed model's).
    """
    digest = hashlib.sha256(fingerprint.encode())
    for key in keys:
        digest.update(key)
    for rows in (train, val):
        for array in (rows.a, rows.b, rows.label):
            digest.update(b"|")
            digest.update(np.ascontiguousarray(array).tobytes())
    if vectors is not None:
        digest.update(b"|")
        digest.update(np.ascontiguousarray(vectors).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:24]


def write_view(root: Path, digest: str, vectors: NDArray[np.float32], train: PairRows, val: PairRows) -> Path:
    """Writes root/DIGEST whole and returns it; an existing one is left as it is."""
    final = root / digest
    if (final / ABOUT_FILE).exists():
        return final

    def fill(part: Path) -> None:
        np.save(part / "vectors.npy", vectors)
        for side, rows in (("train", train), ("val", val)):
            np.save(part / f"{side}_a.npy", rows.a)
            np.save(part / f"{side}_b.npy", rows.b)
            np.save(part / f"{side}_label.npy", rows.label)
        about = {"digest": digest, "texts": len(vectors), "train": len(train), "val": len(val)}
        (part / ABOUT_FILE).write_text(json.dumps(about))

    try:
        make_directory(final, fill)
    except OSError:
        # Another search made the same view meanwhile: the content is the same.
        if not (final / ABOUT_FILE).exists():
            raise
    return final
