"""What an earlier run has noted about an open base model, so that it is loaded only if a text must be embedded.

Importing sentence-transformers takes seconds, and where every text is in the cache, a search needs no more of a base
model than its fingerprint, dims and prompts. A note counts only for the very files it was made from: their paths,
sizes, inodes, and times of change to the nanosecond, one of which no program can set back. With other versions of the
libraries, or of this room's code, it does not count either; a damaged one is made again.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune.embed.base_models import PACKAGED
from tune.embed.model_files import local_folder
from tune.embed.own_code import own_classes
from tune.embed.refusals import adapter_folders
from tune.embed.routes import has_routes
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.errors import ModelError
from tune.files import write_atomic

_LOADED_FROM = {"minilm": ("model",), "wordllama": ("tokenizers", "weights")}
"""Packaged base model -> the folders of its package that it is loaded from."""
_FOLDER = "bases"
"""In the cache."""
_PRECISIONS = ("fp32", "bf16")
_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "safetensors", "torch")
"""What a fingerprint depends on besides the files."""
_MOST_FILES = 1_000
"""In a base model's folder; with more it is something else as well, and listing them takes long."""
_SETTLED_NS = 2_000_000_000
"""A file that has changed this shortly before may change again with the same times: some file systems count seconds."""

Load = Callable[[], SentenceTransformerSource]


class Wanted(NamedTuple):
    """A base model as a search uses it; see `SentenceTransformerSource`."""

    name: str
    precision: str
    max_length: int | None


@dataclass(frozen=True)
class _Facts:
    """What is noted. prompts: of texts that are all alike; query_document: of queries and of documents."""

    dims: int
    weights: str
    fingerprint: str
    prompts: tuple[str, str]
    query_document: tuple[str, str]
    remarks: list[str]
    note: str


class KnownSource:
    """An `EmbeddingSource` that is loaded when it embeds its first text. It has neither routes nor code of its own."""

    def __init__(self, wanted: Wanted, facts: _Facts, load: Load) -> None:
        self.name = wanted.name
        self.dims, self.weights, self.fingerprint = facts.dims, facts.weights, facts.fingerprint
        self._facts = facts
        self._load = load

    @cached_property
    def loaded(self) -> SentenceTransformerSource:
        """The model. Raises ModelError if it is not the one that was noted, or cannot be loaded."""
        source = self._load()
        if source.fingerprint != self.fingerprint:
            raise ModelError(f"base model {self.name} has changed while it was in use; run again")
        return source

    @property
    def model(self) -> Any:
        """The SentenceTransformer itself, loaded if it is not yet."""
        return self.loaded.model

    @property
    def known_dims(self) -> int | None:
        """Dims of the vectors."""
        return self.dims

    @property
    def shards_at_once(self) -> int:
        """How many of a snapshot's shards it fills in about a second."""
        return self.loaded.shards_at_once

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """Return the prompts as `SentenceTransformerSource.prompts` does."""
        own = self._facts.query_document if query_document else self._facts.prompts
        return own[0] if given[0] is None else given[0], own[1] if given[1] is None else given[1]

    def remarks(self, prompts: tuple[str, str], given: tuple[str | None, str | None] = (None, None)) -> list[str]:
        """Return sentences for people on how the model was loaded; they do not depend on prompts, without routes."""
        return list(self._facts.remarks)

    def note(self, prompts: tuple[str, str]) -> str:
        """Return what a reader of its results should know, for a table; "" for nothing."""
        return self._facts.note

    def embed(self, texts: Any, prompt: str = "") -> NDArray[np.float32]:
        """Return vectors, float32 [n, dims]. Raises ModelError as `loaded` and `SentenceTransformerSource.embed` do."""
        return self.loaded.embed(texts, prompt)


OpenSource = SentenceTransformerSource | KnownSource


def open_source(cache: Path, wanted: Wanted, load: Load) -> OpenSource:
    """Return a base model as noted in the cache; if it is not, load it and note it.

    load: returns the base model of `wanted`, without code of its own. Raises ModelError as that does.
    """
    stamp = _stamp(wanted)
    if stamp is None:
        return load()
    path = cache / _FOLDER / f"{_hash([*wanted, *stamp])[:24]}.json"
    if (facts := _read(path)) is not None:
        return KnownSource(wanted, facts, load)
    began = time.time_ns()
    source = load()
    settled = began - stamp.newest > _SETTLED_NS
    if settled and not has_routes(source.model) and not own_classes(source.model) and _stamp(wanted) == stamp:
        _write(path, _facts_of(source))
    return source


def _facts_of(source: SentenceTransformerSource) -> _Facts:
    alike, apart = source.prompts(False), source.prompts(True)
    remarks, note = source.remarks(alike), source.note(alike)
    return _Facts(source.dims, source.weights, source.fingerprint, alike, apart, remarks, note)


class _Stamp(NamedTuple):
    """Identifies files and libraries. newest: the latest change of a file, in nanoseconds since 1970."""

    files: str
    libraries: list[str]
    newest: int


def _stamp(wanted: Wanted) -> _Stamp | None:
    """Return the stamp of a base model; None if its files are not all known, as of hub models and adapters."""
    folders = _folders(wanted.name)
    if not folders or wanted.precision not in _PRECISIONS:
        return None
    try:
        files = [entry for folder in folders for entry in _files(folder.resolve())]
        code = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
        libraries = [version(name) for name in _LIBRARIES]
    except (OSError, PackageNotFoundError):
        return None
    libraries.append(hashlib.sha256(b"\0".join(code)).hexdigest())
    return _Stamp(_hash(files), libraries, max(max(entry[3:5]) for entry in files))


def model_folders(name: str) -> list[Path]:
    """Return the folders that a base model of this machine is loaded from; [] for any other.

    Raises ModelError as `local_folder` does.
    """
    if name in PACKAGED:
        found = importlib.util.find_spec(PACKAGED[name])
        return [Path(found.origin).parent / one for one in _LOADED_FROM[name]] if found and found.origin else []
    folder = local_folder(name)
    return [] if folder is None else [folder]


def _folders(name: str) -> list[Path]:
    """Return the folders that a base model is loaded from; [] if they are not known to be all of it."""
    return [] if name not in PACKAGED and adapter_folders(name) else model_folders(name)


def _files(folder: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield path, size, inode and both times of change of every file below a folder.

    Raises OSError for what cannot be looked at, a folder that is a link among it, and if there are too many.
    """
    count = 0
    for root, inner, names in os.walk(folder, onerror=_raise):
        inner.sort()
        if any(os.path.islink(os.path.join(root, name)) for name in inner):
            raise OSError(f"a link to a folder in {root}")
        for name in sorted(names):
            path = os.path.join(root, name)
            known = os.stat(path)
            yield path, known.st_size, known.st_ino, known.st_mtime_ns, known.st_ctime_ns
            count += 1
            if count > _MOST_FILES:
                raise OSError(f"too many files in {folder}")


def _raise(error: OSError) -> None:
    raise error


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _read(path: Path) -> _Facts | None:
    """Return the facts of a note; None if it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        values = content["facts"]
        if content["hash"] != _hash(values):
            return None
        pairs = {name: tuple(values[name]) for name in ("prompts", "query_document")}
        return _Facts(**{**values, **pairs})
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write(path: Path, facts: _Facts) -> None:
    values = json.loads(json.dumps(asdict(facts)))
    # Without a note the model is loaded, so nothing is lost.
    with contextlib.suppress(OSError):
        write_atomic(path, json.dumps({"facts": values, "hash": _hash(values)}) + "\n")
