"""PreparedBase: a base model after all texts of a search are in its snapshot, and the view that trials read.

The view has train and val only. Test rows stay in the snapshot until test is opened.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tune.data.folds import fold_of
from tune.data.numbered import text_ids
from tune.data.sides import LabelledPairs
from tune.embed.known import OpenSource
from tune.embed.left_out import texts_without_vector
from tune.embed.snapshot import Batched, Snapshot, text_keys
from tune.embed.sources import EmbeddingSource
from tune.embed.view import PairRows, Stored, ViewTexts, is_sound, view_digest, write_folds, write_texts, write_view
from tune.events import Embedding, Emit, Progress, ignore, working


def embedding_progress(name: str, emit: Emit) -> Progress:
    """Return a callback that emits `Embedding`, with the rate since this call."""
    began = time.perf_counter()

    def report(done: int, total: int) -> None:
        emit(Embedding(name, done, total, done / max(time.perf_counter() - began, 1e-9)))

    return report


@dataclass(frozen=True)
class ViewOptions:
    """What a view holds besides vectors and pairs.

    texts: whether it holds the texts, for trials that train the base model, and with them max_length, the source's
    limit of tokens per text. folds: number of folds of train and val, drawn with `seed`; 0 for none.
    """

    texts: bool = False
    max_length: int | None = None
    folds: int = 0
    seed: int = 0


_NO_EXTRAS = ViewOptions()

_Keyed = tuple[NDArray[np.void], PairRows, NDArray[np.int64] | None]
"""What `keyed_rows` and `same_rows` return."""


@dataclass(frozen=True)
class PreparedBase:
    """A base model with all texts of a search in its snapshot, as plain data without the model itself.

    dims: of the base model. fingerprint: of its snapshot. test_fingerprint: of the snapshot that test is scored from,
    made with fp32 weights as in the exported model (weights: their hash). digest: the name of its view. embedded:
    number of texts embedded by this run, of `texts`; seconds: how long that took. closed: the ClosedOptions of a closed
    model as plain values. usd_per_million_texts: a closed model's price for texts of this mean length. folds, seed: of
    the folds that its trials are validated on; 0 folds for none. routed: whether its prompts begin with a route.
    trusted: whether it runs code of its own. note: what a reader of its results should know, "" for nothing. left_out:
    the `text_id`s of texts that it, or another base model of the search, has no vector for: pairs with them are in no
    view and not in test. cut_by_server: how many of its texts a server refused whole, so that only their beginnings
    were embedded, by this or an earlier run. revision: the commit of a hub model, "" for any other (or if unknown).
    """

    name: str
    dims: int
    fingerprint: str
    test_fingerprint: str
    weights: str
    prompt_a: str
    prompt_b: str
    digest: str
    embedded: int
    texts: int
    seconds: float
    closed: dict[str, Any] | None = None
    usd_per_million_texts: float | None = None
    folds: int = 0
    seed: int = 0
    routed: bool = False
    trusted: bool = False
    note: str = ""
    left_out: list[str] = field(default_factory=list)
    cut_by_server: int = 0
    revision: str = ""

    @property
    def bought_usd(self) -> float:
        """What this run bought of a closed model's vectors, in USD; 0 if nothing, or if the price is unknown."""
        return self.embedded * (self.usd_per_million_texts or 0.0) / 1e6

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild from the values of `to_json`."""
        return cls(**values)

    def view(self, cache: Path) -> Path:
        """Return the directory of the view that its trials read."""
        return _views(cache) / self.digest

    def rows(self, cache: Path, pairs: LabelledPairs) -> tuple[NDArray[np.float32], PairRows]:
        """Return the vectors [texts, dims] of the pairs' distinct texts, and the pairs as rows of them."""
        return self._rows(cache, pairs, self.fingerprint)

    def test_rows(self, cache: Path, pairs: LabelledPairs) -> tuple[NDArray[np.float32], PairRows]:
        """Return the same as `rows`, with the vectors of the exported model."""
        return self._rows(cache, pairs, self.test_fingerprint)

    def _rows(self, cache: Path, pairs: LabelledPairs, fingerprint: str) -> tuple[NDArray[np.float32], PairRows]:
        keys, rows = keyed_rows(pairs, self.prompt_a, self.prompt_b)
        return Snapshot.in_cache(cache, fingerprint, self.dims).vectors(keys), rows


def keyed_rows(pairs: LabelledPairs, prompt_a: str, prompt_b: str) -> tuple[NDArray[np.void], PairRows]:
    """Return the distinct text keys in order of first appearance, KEY_TYPE [texts], and the pairs as positions among
    them.
    """
    if prompt_a == prompt_b:
        ids, texts = text_ids(pairs.text_a, pairs.text_b)
        a, b = ids[: len(pairs)], ids[len(pairs) :]
        keys = text_keys(prompt_a, texts)
    else:
        (a, first), (b, second) = text_ids(pairs.text_a), text_ids(pairs.text_b)
        b += len(first)
        keys = np.concatenate([text_keys(prompt_a, first), text_keys(prompt_b, second)])
    return keys, PairRows(a, b, pairs.label, pairs.score)


def same_rows(pairs: LabelledPairs, prompts: tuple[str, str]) -> NDArray[np.int64] | None:
    """Return for each row of `keyed_rows` the first row with the same text, or None if the prompts are the same.

    As a query and as a document, a text has two rows with two prompts, but it is one text.
    """
    if prompts[0] == prompts[1]:
        return None
    first: dict[str, int] = {}
    rows = enumerate([*dict.fromkeys(pairs.text_a), *dict.fromkeys(pairs.text_b)])
    return np.array([first.setdefault(text, row) for row, text in rows], dtype=np.int64)


def texts_by_prompt(sides: Iterable[LabelledPairs], prompts: tuple[str, str]) -> dict[str, list[str]]:
    """Return the distinct texts under each distinct prompt, in order of first appearance."""
    found: dict[str, list[Sequence[str]]] = {}
    for pairs in sides:
        found.setdefault(prompts[0], []).append(pairs.text_a)
        found.setdefault(prompts[1], []).append(pairs.text_b)
    return {prompt: text_ids(*columns)[1] for prompt, columns in found.items()}


def prepare_base(
    source: EmbeddingSource,
    sides: dict[str, LabelledPairs],
    cache: Path,
    prompts: tuple[str, str],
    view: ViewOptions = _NO_EXTRAS,
    emit: Emit = ignore,
) -> PreparedBase:
    """Embed every text of `sides` (train, val, test) that the snapshot lacks and write the view of train and val.

    train must be in its seeded order; with folds, train and val need their components (else ValueError). Raises
    DataError, before anything is embedded, if the folds cannot be made, and ModelError if the source fails.
    """
    began = time.perf_counter()
    fold = _folds(sides, view) if view.folds else None
    snapshot = Snapshot.in_cache(cache, source.fingerprint, source.known_dims)
    by_prompt = texts_by_prompt(sides.values(), prompts)
    progress = embedding_progress(source.name, emit)
    embedded = sum(snapshot.embed(source, prompt, texts, progress) for prompt, texts in by_prompt.items())
    both = sides["train"].joined(sides["val"])
    keyed, same = keyed_rows(both, *prompts), same_rows(both, prompts)
    writing = working(emit, f"{source.name}: writing vectors for trials", "texts")
    digest = _write_vectors(source, snapshot, (*keyed, same), len(sides["train"]), _views(cache), writing)
    if view.texts:
        write_texts(_views(cache) / digest, view_texts(source.name, both, prompts, view.max_length))
    if fold is not None:
        write_folds(_views(cache) / digest, fold, view.folds, view.seed)
    return PreparedBase(
        name=source.name,
        dims=snapshot.dims,
        fingerprint=source.fingerprint,
        test_fingerprint=source.fingerprint,
        weights=source.weights,
        prompt_a=prompts[0],
        prompt_b=prompts[1],
        digest=digest,
        embedded=embedded,
        texts=sum(map(len, by_prompt.values())),
        seconds=time.perf_counter() - began,
        folds=view.folds,
        seed=view.seed,
        left_out=texts_without_vector(snapshot, by_prompt) if isinstance(source, Batched) else [],
        cut_by_server=sum(len(snapshot.cut_by_server(prompt, texts)) for prompt, texts in by_prompt.items()),
    )


def _views(cache: Path) -> Path:
    return cache / "views"


def _write_vectors(
    source: EmbeddingSource, snapshot: Snapshot, keyed: _Keyed, train_pairs: int, views: Path, progress: Progress
) -> str:
    """Write the view of keyed pairs, train before val, unless it exists intact; return its digest."""
    keys, rows, same = keyed
    train, val = rows.take(slice(train_pairs)), rows.take(slice(train_pairs, None))
    # A provider's model can change, so vectors that are bought again under the same name may differ.
    bought = snapshot.vectors(keys) if isinstance(source, Batched) else None
    digest = view_digest(source.fingerprint, keys, train, val, bought, same)
    if not is_sound(views / digest):
        stored = Stored(len(keys), snapshot.dims, lambda rows: snapshot.vectors(keys[rows]), progress)
        write_view(views, digest, stored if bought is None else bought, train, val, same)
    return digest


def _folds(sides: dict[str, LabelledPairs], view: ViewOptions) -> NDArray[np.int8]:
    train, val = sides["train"], sides["val"]
    if train.component is None or val.component is None:
        raise ValueError("folds need the components of the split")
    label = np.concatenate([train.label, val.label])
    return fold_of(np.concatenate([train.component, val.component]), view.folds, view.seed, label)


def view_texts(base_model: str, pairs: LabelledPairs, prompts: tuple[str, str], max_length: int | None) -> ViewTexts:
    """Return the texts of a view's rows, in the order of `keyed_rows`."""
    known = list(dict.fromkeys(prompts))
    rows = dict.fromkeys((prompts[0], text) for text in pairs.text_a)
    rows |= dict.fromkeys((prompts[1], text) for text in pairs.text_b)
    return ViewTexts(
        base_model=base_model,
        max_length=max_length,
        prompts=known,
        prompt_of=[known.index(prompt) for prompt, _ in rows],
        texts=[text for _, text in rows],
    )


def with_exact_test(
    base: PreparedBase,
    exact: OpenSource,
    scored: Sequence[LabelledPairs],
    cache: Path,
    emit: Emit = ignore,
) -> PreparedBase:
    """Embed the texts of test, and of guard sets, with `exact`: the same model in the precision of an export.

    Return the updated base.
    """
    base = replace(base, test_fingerprint=exact.fingerprint, weights=exact.weights)
    embed_pairs(base, exact, scored, cache, emit)
    return base


def embed_pairs(
    base: PreparedBase,
    source: OpenSource,
    scored: Sequence[LabelledPairs],
    cache: Path,
    emit: Emit = ignore,
) -> None:
    """Embed what the source's snapshot lacks of pairs that no trial sees, with the base model's prompts."""
    snapshot = Snapshot.in_cache(cache, source.fingerprint, source.dims)
    progress = embedding_progress(source.name, emit)
    for prompt, texts in texts_by_prompt(scored, (base.prompt_a, base.prompt_b)).items():
        snapshot.embed(source, prompt, texts, progress)
