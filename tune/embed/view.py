"""View: everything that a frozen trial reads, in one directory: vectors of the train and val texts, and the pairs.

Named by its content, complete or absent, never changed, so any number of trials can map it into memory at once. It has
no test rows. It holds graded scores if the pairs have them. For trials that train the base model it also has the text
of each row (`ViewTexts`), and for trials with folds the fold of each pair. Its ABOUT_FILE holds the SHA-256 of its
arrays (`sha256`; not in those of earlier versions).
"""

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from tune.embed.behind import behind
from tune.embed.checked import content_of
from tune.embed.keys import Keys
from tune.events import Progress
from tune.files import make_directory, sha256_of, write_array, write_atomic

logger = logging.getLogger(__name__)

ABOUT_FILE = "view.json"
TEXTS_FILE = "texts.json"
SAME_FILE = "same.npy"
_ARRAYS = ("train_a", "train_b", "train_label", "val_a", "val_b", "val_label")
_SCORES = ("train_score", "val_score")
_BYTES_AT_ONCE = 1 << 27
"""Of vectors that are copied into a view. Every part reads from all shards, so small ones take long."""


@dataclass(frozen=True)
class PairRows:
    """Labelled pairs as rows of a matrix of vectors: a, b int64 [n]; label int8 [n].

    score: float64 [n], graded scores in [0, 1]; None if the pairs have none.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    label: NDArray[np.int8]
    score: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.label)

    def prefix(self, size: int) -> "PairRows":
        """Return the first `size` pairs; all of them if size is 0 or exceeds their number."""
        if size == 0 or size >= len(self):
            return self
        return self.take(slice(size))

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "PairRows":
        """Return the pairs at `index`: positions, in their order, a mask [n], or a slice, which copies nothing."""
        score = None if self.score is None else self.score[index]
        return PairRows(self.a[index], self.b[index], self.label[index], score)


@dataclass(frozen=True)
class View:
    """A view on disk. vectors: float32 [rows, dims]. train: in its seeded order. digest: the name of the content.

    same [rows]: for each row, the first row with the same text, which may have another prompt; None if every row has a
    text of its own.
    """

    vectors: NDArray[np.float32]
    train: PairRows
    val: PairRows
    digest: str
    directory: Path = Path()
    same: NDArray[np.int64] | None = None

    def text_rows(self) -> NDArray[np.int64]:
        """Return for each row the row that stands for its text, int64 [rows]: equal texts have equal numbers."""
        return np.arange(len(self.vectors)) if self.same is None else self.same

    def texts(self) -> "ViewTexts":
        """Read the texts of the rows of `vectors`. Raises FileNotFoundError if the view has none."""
        return ViewTexts(**json.loads((self.directory / TEXTS_FILE).read_text(encoding="utf-8")))

    def train_and_val(self) -> PairRows:
        """Return the pairs of both sides: train in its seeded order, then val."""
        pairs = (self.train, self.val)
        scores = [rows.score for rows in pairs if rows.score is not None]
        return PairRows(
            np.concatenate([rows.a for rows in pairs]),
            np.concatenate([rows.b for rows in pairs]),
            np.concatenate([rows.label for rows in pairs]),
            np.concatenate(scores) if scores else None,
        )

    def folds(self, folds: int, seed: int) -> NDArray[np.int8]:
        """Read the fold of each pair of `train_and_val`. Raises FileNotFoundError if the view has none."""
        of_pair: NDArray[np.int8] = np.load(self.directory / folds_file(folds, seed))
        return of_pair

    def sample_index(self, name: str) -> NDArray[np.int64]:
        """Return the indices of the val pairs of a sample that `write_sample` wrote; of all of val if `name` is "".

        Raises FileNotFoundError if the view lacks the sample.
        """
        if not name:
            return np.arange(len(self.val))
        index: NDArray[np.int64] = np.load(self.directory / sample_file(name))
        return index

    @classmethod
    def open(cls, directory: Path, *, map_memory: bool = True) -> Self:
        """Open a view. map_memory: map the vectors read-only; False copies them and leaves no file open, for Volumes.

        Raises OSError, ValueError, EOFError or KeyError if it is absent or damaged. Only copies are compared with their
        SHA-256: where views are mapped, the search has done so when it began (`is_sound`).
        """
        about = json.loads((directory / ABOUT_FILE).read_text())
        if not map_memory and (damaged := _damaged(directory, about)):
            raise OSError(errno.EIO, "the view is damaged", str(directory / damaged))
        vectors = np.load(directory / "vectors.npy", mmap_mode="r" if map_memory else None)
        names = _ARRAYS + _SCORES if about.get("scores") else _ARRAYS
        rows = {name: np.load(directory / f"{name}.npy") for name in names}
        return cls(
            vectors,
            PairRows(rows["train_a"], rows["train_b"], rows["train_label"], rows.get("train_score")),
            PairRows(rows["val_a"], rows["val_b"], rows["val_label"], rows.get("val_score")),
            about["digest"],
            directory,
            np.load(directory / SAME_FILE) if about.get("same") else None,
        )


@dataclass(frozen=True)
class ViewTexts:
    """What a trial that trains the base model reads besides the pairs.

    base_model, max_length: as in the search. prompts: the distinct prompts. texts [rows]: the text of each row of the
    view; prompt_of [rows]: the index of its prompt.
    """

    base_model: str
    max_length: int | None
    prompts: list[str]
    prompt_of: list[int]
    texts: list[str]


def write_texts(directory: Path, texts: ViewTexts) -> None:
    """Add the texts to an existing view, unless it has them."""
    path = directory / TEXTS_FILE
    try:
        found = ViewTexts(**json.loads(path.read_text(encoding="utf-8")))
        if found == texts:
            return
        # The same base model may have another name by now.
        if replace(found, base_model=texts.base_model) != texts:
            logger.warning("%s is damaged; written again", path)
    except FileNotFoundError:
        pass
    except (ValueError, TypeError):
        logger.warning("%s is damaged; written again", path)
    write_atomic(path, json.dumps(asdict(texts)))


def write_folds(directory: Path, fold: NDArray[np.int8], folds: int, seed: int) -> None:
    """Add the fold of every pair, [train + val], to an existing view.

    An intact file stays untouched, since resumed trials must find the folds they began with.
    """
    path = directory / folds_file(folds, seed)
    written = path.with_suffix(".sha256")
    try:
        intact = np.load(path).shape == fold.shape
        # Those of earlier versions have no hash.
        if intact and (not written.exists() or written.read_text() == sha256_of(path)):
            return
        logger.warning("%s is damaged; written again", path)
    except (OSError, ValueError, EOFError):
        pass
    written.unlink(missing_ok=True)
    write_array(path, fold)
    write_atomic(written, sha256_of(path))


def write_sample(directory: Path, index: NDArray[np.int64]) -> str:
    """Add a sample of the val pairs, by index, to an existing view; return its name, which depends on it alone."""
    name = hashlib.sha256(index.tobytes()).hexdigest()[:12]
    path = directory / sample_file(name)
    try:
        intact = np.array_equal(np.load(path), index)
    except (OSError, ValueError, EOFError):
        intact = False
    if not intact:
        write_array(path, index)
    return name


def sample_file(name: str) -> str:
    """Return the name of the file with a sample of the val pairs."""
    return f"sample-{name}.npy"


def folds_file(folds: int, seed: int) -> str:
    """Return the name of the file with the fold of every pair."""
    return f"folds-{folds}-{seed}.npy"


def is_sound(directory: Path) -> bool:
    """Return whether a view exists and is complete. Deletes a damaged one, so that it can be written again."""
    if not directory.exists():
        return False
    try:
        damaged = _damaged(directory, json.loads((directory / ABOUT_FILE).read_text()))
        View.open(directory)
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        damaged = "a file is missing or cut short"
    if damaged:
        logger.warning("view %s is damaged (%s); written again", directory, damaged)
        shutil.rmtree(directory)
    return not damaged


def _damaged(directory: Path, about: dict[str, Any]) -> str:
    """Return an array of a view that is not the one that was written, or ""; of earlier versions, nothing is known."""
    hashes = dict(about.get("sha256") or {})
    return next((name for name, content in hashes.items() if content_of(directory / name) != content), "")


def view_digest(
    fingerprint: str,
    keys: Keys,
    train: PairRows,
    val: PairRows,
    vectors: NDArray[np.float32] | None = None,
    same: NDArray[np.int64] | None = None,
) -> str:
    """Return the name of a view with this content: source, text keys, and pairs in order; 24 hex digits.

    vectors: included if the fingerprint does not determine them, as for closed models. same: as in `View`.
    """
    digest = hashlib.sha256(fingerprint.encode())
    digest.update(keys.tobytes() if isinstance(keys, np.ndarray) else b"".join(keys))
    for rows in (train, val):
        graded = [] if rows.score is None else [rows.score]
        for array in (rows.a, rows.b, rows.label, *graded):
            digest.update(b"|")
            digest.update(np.ascontiguousarray(array).tobytes())
    for extra in (vectors, same):
        if extra is not None:
            digest.update(b"|")
            digest.update(np.ascontiguousarray(extra).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:24]


@dataclass(frozen=True)
class Stored:
    """Vectors float32 [rows, dims] that are kept elsewhere. part: returns those of a slice of rows."""

    rows: int
    dims: int
    part: Callable[[slice], NDArray[np.float32]]
    progress: Progress = lambda done, total: None


class _Hashing:
    """A file that is written, and the SHA-256 of what was written so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: Any) -> None:
        """Write bytes, or anything with a buffer."""
        self._file.write(data)
        self._digest.update(data)

    @property
    def content(self) -> str:
        """The SHA-256 in hexadecimal."""
        return self._digest.hexdigest()


def _save_vectors(path: Path, vectors: NDArray[np.float32] | Stored) -> tuple[int, str]:
    """Write vectors to a .npy file; return how many, and the file's SHA-256. Stored ones are never all in memory."""
    with open(path, "wb") as opened:
        file = _Hashing(opened)
        if not isinstance(vectors, Stored):
            np.save(file, vectors)
            return len(vectors), file.content
        # Not through a map of the file: rows arrive in any order, and its pages would all be in memory at once.
        shape, size = (vectors.rows, vectors.dims), max(1, _BYTES_AT_ONCE // (4 * vectors.dims))
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
        with behind(file.write) as write:
            for start in range(0, vectors.rows, size):
                end = min(start + size, vectors.rows)
                write(np.ascontiguousarray(vectors.part(slice(start, end))).data)
                vectors.progress(end, vectors.rows)
        return vectors.rows, file.content


def write_view(
    root: Path,
    digest: str,
    vectors: NDArray[np.float32] | Stored,
    train: PairRows,
    val: PairRows,
    same: NDArray[np.int64] | None = None,
) -> Path:
    """Write the view to root/DIGEST, complete or not at all, and return its path; an existing one stays untouched."""
    final = root / digest
    if (final / ABOUT_FILE).exists():
        return final

    def fill(part: Path) -> None:
        texts, content = _save_vectors(part / "vectors.npy", vectors)
        for side, rows in (("train", train), ("val", val)):
            np.save(part / f"{side}_a.npy", rows.a)
            np.save(part / f"{side}_b.npy", rows.b)
            np.save(part / f"{side}_label.npy", rows.label)
            if rows.score is not None:
                np.save(part / f"{side}_score.npy", rows.score)
        about: dict[str, Any] = {"digest": digest, "texts": texts, "train": len(train), "val": len(val)}
        if train.score is not None:
            about["scores"] = True
        if same is not None:
            np.save(part / SAME_FILE, same)
            about["same"] = True
        small = {file.name: sha256_of(file) for file in sorted(part.glob("*.npy")) if file.stem != "vectors"}
        about["sha256"] = {"vectors.npy": content, **small}
        (part / ABOUT_FILE).write_text(json.dumps(about))

    try:
        make_directory(final, fill)
    except OSError:
        # Another search may have written the same view in the meantime.
        if not (final / ABOUT_FILE).exists():
            raise
    return final
