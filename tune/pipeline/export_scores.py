"""Scores and times an export by its own runtime, beside the fp32 model in the same run on the same texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.embed.adapted import Side
from tune.embed.exported import Exported
from tune.embed.latency import encoder, measure
from tune.embed.prepare import embedding_progress
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.similarity import cosine, unit
from tune.embed.view import PairRows
from tune.evaluate.quantised import Precision, int8_ranges, quantised_scores
from tune.events import Emit
from tune.metrics.score import roc_auc, score_pairs

SECONDS = 1.0
"""About how long each batch size of each model is timed."""
TIMED = 256
"""The most distinct texts that are timed."""
_AT_ONCE = 1_024
"""Texts between two reports of progress."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Runtime:
    """What encodes. encode: texts of a side to unit vectors [n, dims]. batch: first texts in one batch, to be timed."""

    name: str
    encode: Callable[[Sequence[str], Side], Vectors]
    batch: Callable[[list[str]], object]

    @classmethod
    def of_model(cls, source: SentenceTransformerSource, prompts: tuple[str, str]) -> "Runtime":
        """Return sentence-transformers with a model."""
        return cls(
            "the fp32 model",
            lambda texts, side: unit(source.embed(texts, prompts["ab".index(side)])),
            encoder(source, prompts[0]),
        )

    @classmethod
    def of_export(cls, model: Exported, name: str) -> "Runtime":
        """Return an exported model's own runtime."""
        return cls(name, model.encode, model.encode)


def pair_vectors(runtime: Runtime, pairs: LabelledPairs, emit: Emit) -> tuple[Vectors, PairRows]:
    """Return the vectors of the pairs' distinct texts, first texts over second ones, and the pairs as rows of them."""
    found, rows, begun = [], [], 0
    distinct = {side: list(dict.fromkeys(texts)) for side, texts in _texts(pairs)}
    total = sum(map(len, distinct.values()))
    progress = embedding_progress(runtime.name, emit)
    for side, texts in _texts(pairs):
        own = distinct[side]
        place = {text: begun + at for at, text in enumerate(own)}
        for start in range(0, len(own), _AT_ONCE):
            found.append(runtime.encode(own[start : start + _AT_ONCE], side))
            progress(begun + min(start + _AT_ONCE, len(own)), total)
        rows.append(np.array([place[text] for text in texts], np.int64))
        begun += len(own)
    return np.concatenate(found), PairRows(rows[0], rows[1], pairs.label)


def _texts(pairs: LabelledPairs) -> Sequence[tuple[Side, list[str]]]:
    return (("a", pairs.text_a), ("b", pairs.text_b))


def scores_of(vectors: Vectors, pairs: PairRows, threshold: float | None) -> dict[str, Any]:
    """Return auc, and accuracy at a threshold that was fitted before; None without one."""
    scores = cosine(vectors, pairs)
    accuracy = None if threshold is None else score_pairs(scores, pairs.label, threshold).accuracy
    return {"auc": roc_auc(scores, pairs.label), "accuracy": accuracy}


def times_of(runtime: Runtime, pairs: LabelledPairs) -> dict[str, float]:
    """Return ms_1 and ms_64: milliseconds per text of the pairs' first texts in batches of 1 and 64."""
    texts = list(dict.fromkeys(pairs.text_a))[:TIMED]
    return asdict(measure(runtime.batch, texts, SECONDS))


def stored_scores(found: tuple[Vectors, PairRows], precision: Precision, ranges: Vectors | None) -> dict[str, Any]:
    """Return the AUC of vectors stored in a precision, and that of the same vectors as float32."""
    vectors, pairs = found
    dims = vectors.shape[1]
    return {
        "auc": roc_auc(quantised_scores(found, dims, precision, ranges), pairs.label),
        "float32_auc": roc_auc(quantised_scores(found, dims, "float32"), pairs.label),
    }


def ranges_of(runtime: Runtime, texts: tuple[list[str], list[str]]) -> Vectors:
    """Return the range of each component over the vectors of training texts, [2, dims]."""
    vectors = np.concatenate([runtime.encode(texts[0], "a"), runtime.encode(texts[1], "b")])
    return int8_ranges(vectors, vectors.shape[1])


def lost(before: float, after: float, test: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """Return how much AUC is lost, half the width of the test interval, and a sentence if more is lost than that.

    test: the trial's scores on test, with its interval; without one there is no sentence.
    """
    ends = (test or {}).get("auc_low"), (test or {}).get("auc_high")
    half = None if ends[0] is None or ends[1] is None else (ends[1] - ends[0]) / 2
    warning = None
    if half is not None and before - after > half:
        warning = (
            f"{what} loses {before - after:.4f} AUC ({before:.4f} to {after:.4f}), more than half the width of the "
            f"95% interval of the test AUC ({half:.4f})"
        )
    return {"lost": before - after, "half_width": half, "warning": warning}
