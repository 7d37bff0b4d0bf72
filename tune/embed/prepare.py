"""PreparedBase: a base model's part of a search, after its texts are embedded: the snapshot's rows of every side.

The view (train and val) is what trials read. Test rows stay in the snapshot until test is opened.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tune.data.folds import fold_of
from tune.data.sides import LabelledPairs
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.snapshot import Batched, Snapshot, text_key
from tune.embed.sources import EmbeddingSource
from tune.embed.view import PairRows, ViewTexts, is_sound, view_digest, write_folds, write_texts, write_view

EmbedProgress = Callable[[str, int, int, float], None]
"""Called with (base model, texts embedded, texts to embed, texts per second)."""


def with_rate(name: str, progress: EmbedProgress | None) -> Callable[[int, int], None]:
    """Takes (done, total) and tells the progress of the model `name`, at the rate since now."""
    began = time.perf_counter()

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(name, done, total, done / max(time.perf_counter() - began, 1e-9))

    return report


@dataclass(frozen=True)
class PreparedBase:
    """A base model whose texts are in the snapshot. Plain data: the model itself is not held.

    dims: of the base. fingerprint: of its snapshot; test_fingerprint: of the snapshot that test is scored from, with
    fp32 weights as the exported model has them (weights: their hash). embedded: texts that had to be embedded now.
    digest: names its view. closed: how a closed model was asked (ClosedOptions, plain); None for open ones.
    usd_per_million_texts: of a closed model, for texts as long as these are.
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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From plain values."""
        return cls(**values)

    def view(self, cache: Path) -> Path:
        """The directory of what its trials read."""
        return cache / "views" / self.digest

    def rows(self, cache: Path, pairs: LabelledPairs) -> tuple[NDArray[np.float32], PairRows]:
        """Vectors [texts, dims] of the pairs' distinct texts, and the pairs as rows of them."""
        return self._rows(cache, pairs, self.fingerprint)

    def test_rows(self, cache: Path, pairs: LabelledPairs) -> tuple[NDArray[np.float32], PairRows]:
        """The same, as the exported model gives them."""
        return self._rows(cache, pairs, self.test_fingerprint)

    def _rows(self, cache: Path, pairs: LabelledPairs, fingerprint: str) -> tuple[NDArray[np.float32], PairRows]:
        keys, rows = keyed_rows(pairs, self.prompt_a, self.prompt_b)
        return Snapshot(cache / "snapshots", fingerprint, self.dims).vectors(keys), rows


def keyed_rows(pairs: LabelledPairs, prompt_a: str, prompt_b: str) -> tuple[list[bytes], PairRows]:
    """The distinct text keys in order of first appearance, and the pairs as positions in them."""
    place: dict[bytes, int] = {}
    a = [place.setdefault(text_key(prompt_a, text), len(place)) for text in pairs.text_a]
    b = [place.setdefault(text_key(prompt_b, text), len(place)) for text in pairs.text_b]
    return list(place), PairRows(np.array(a, dtype=np.int64), np.array(b, dtype=np.int64), pairs.label)


def texts_by_prompt(sides: Iterable[LabelledPairs], prompts: tuple[str, str]) -> dict[str, list[str]]:
    """The distinct texts under each distinct prompt, in order of first appearance."""
    found: dict[str, dict[str, None]] = {}
    for pairs in sides:
        found.setdefault(prompts[0], {}).update(dict.fromkeys(pairs.text_a))
        found.setdefault(prompts[1], {}).update(dict.fromkeys(pairs.text_b))
    return {prompt: list(texts) for prompt, texts in found.items()}


def prepare_base(
    source: EmbeddingSource,
    sides: dict[str, LabelledPairs],
    cache: Path,
    prompts: tuple[str, str],
    progress: EmbedProgress | None = None,
    *,
    texts: bool = False,
    max_length: int | None = None,
    folds: int = 0,
    seed: int = 0,
) -> PreparedBase:
    """Embeds every text of `sides` (train, val, test) that the snapshot lacks and writes the view of train and val.

    train must be in its seeded order. texts: the view gets its texts too, for trials that train the base itself.
    max_length: tokens per text at most, as the source was told. folds: where not 0, the view gets so many folds of
    train and val, by `seed`; train and val then need their components (else ValueError). DataError, before anything is
    embedded, where such folds cannot be made.
    """
    began = time.perf_counter()
    fold = _folds(sides, folds, seed) if folds else None
    snapshot = Snapshot(cache / "snapshots", source.fingerprint, source.known_dims)
    by_prompt = texts_by_prompt(sides.values(), prompts)
    report = with_rate(source.name, progress)
    embedded = sum(snapshot.embed(source, prompt, texts, report) for prompt, texts in by_prompt.items())
    both = LabelledPairs(
        sides["train"].text_a + sides["val"].text_a,
        sides["train"].text_b + sides["val"].text_b,
        np.concatenate([sides["train"].label, sides["val"].label]),
    )
    keys, rows = keyed_rows(both, *prompts)
    cut = len(sides["train"])
    train = PairRows(rows.a[:cut], rows.b[:cut], rows.label[:cut])
    val = PairRows(rows.a[cut:], rows.b[cut:], rows.label[cut:])
    # What is bought again under the same name may be other vectors: a provider's model can change.
    bought = snapshot.vectors(keys) if isinstance(source, Batched) else None
    digest = view_digest(source.fingerprint, keys, train, val, bought)
    if not is_sound(cache / "views" / digest):
        write_view(cache / "views", digest, snapshot.vectors(keys) if bought is None else bought, train, val)
    if texts:
        write_texts(cache / "views" / digest, view_texts(source.name, both, prompts, max_length))
    if fold is not None:
        write_folds(cache / "views" / digest, fold, folds, seed)
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
    )


def _folds(sides: dict[str, LabelledPairs], folds: int, seed: int) -> NDArray[np.int8]:
    train, val = sides["train"], sides["val"]
    if train.component is None or val.component is None:
        raise ValueError("folds need the components of the split")
    label = np.concatenate([train.label, val.label])
    return fold_of(np.concatenate([train.component, val.component]), folds, seed, label)


def view_texts(base_model: str, pairs: LabelledPairs, prompts: tuple[str, str], max_length: int | None) -> ViewTexts:
    """The texts of a view's rows: in the order of `keyed_rows`."""
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
    exact: SentenceTransformerSource,
    test: LabelledPairs,
    cache: Path,
    progress: EmbedProgress | None = None,
) -> PreparedBase:
    """The base with its test texts embedded by `exact`, the same model with the weights that an export has."""
    snapshot = Snapshot(cache / "snapshots", exact.fingerprint, exact.dims)
    report = with_rate(exact.name, progress)
    for prompt, texts in ((base.prompt_a, test.text_a), (base.prompt_b, test.text_b)):
        snapshot.embed(exact, prompt, texts, report)
    return replace(base, test_fingerprint=exact.fingerprint, weights=exact.weights)
