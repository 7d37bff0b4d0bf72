"""Similarity of pairs when vectors are stored as float32, float16, int8 or single bits: numbers over vectors and pairs.

By sentence-transformers' `quantize_embeddings`, on normalised vectors, as an exported model returns them.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tune.embed.similarity import unit
from tune.embed.view import PairRows

Precision = Literal["float32", "float16", "int8", "binary"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8", "binary")

_BITS: dict[Precision, int] = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}
_CHUNK = 4_096
"""Texts or pairs at a time, so that no second float array of all texts is in memory."""

Vectors = NDArray[np.float32]
Side = tuple[Vectors, PairRows]
"""Vectors [texts, dims], of any length, and pairs as rows of them."""


def bytes_per_vector(dims: int, precision: Precision) -> int:
    """Return the bytes that a vector takes: 4, 2 or 1 per component, or one bit, filled up to whole bytes."""
    return -(-dims * _BITS[precision] // 8)


def int8_ranges(train: Vectors, dims: int) -> Vectors:
    """Return the smallest and the largest value of each component of train texts' normalised vectors, [2, dims].

    train: [texts, at least dims]. The same as `quantize_embeddings` computes from its `calibration_embeddings`.
    """
    lowest, highest = np.full(dims, np.inf, np.float32), np.full(dims, -np.inf, np.float32)
    for rows in _slices(len(train)):
        normalised = unit(train[rows, :dims])
        lowest = np.minimum(lowest, normalised.min(axis=0))
        highest = np.maximum(highest, normalised.max(axis=0))
    return np.stack([lowest, highest])


def quantised_scores(side: Side, dims: int, precision: Precision, ranges: Vectors | None = None) -> NDArray[np.float64]:
    """Return the similarity of each pair, float64 [pairs], by vectors in this precision.

    dims: how many leading components are kept; vectors are normalised after that. ranges: of `int8_ranges`, for int8.

    float32 and float16: the cosine. int8: the cosine of the codes, which is all that a vector database can compute from
    int8 vectors, since it does not know the ranges. Unlike the vectors, codes differ in length, and their inner
    product would favour long ones. binary: 1 - 2 * hamming / dims, the cosine of the vectors' signs as -1 and 1.
    """
    vectors, pairs = side
    codes = _codes(vectors, dims, precision, ranges)
    scores = np.empty(len(pairs))
    for rows in _slices(len(pairs)):
        a, b = codes[pairs.a[rows]], codes[pairs.b[rows]]
        if precision == "binary":
            scores[rows] = 1 - 2 * np.bitwise_count(a ^ b).sum(axis=1, dtype=np.int64) / dims
        else:
            # In float64, sums of products of int8 are exact.
            scores[rows] = _cosine(a.astype(np.float64), b.astype(np.float64))
    return scores


def _codes(vectors: Vectors, dims: int, precision: Precision, ranges: Vectors | None) -> NDArray[Any]:
    """Return the quantised vectors: [texts, dims]; of single bits, uint8 [texts, bytes]."""
    from sentence_transformers.util import quantize_embeddings

    kinds = {"float32": np.float32, "float16": np.float16, "int8": np.int8, "binary": np.uint8}
    width = bytes_per_vector(dims, precision) if precision == "binary" else dims
    codes = np.empty((len(vectors), width), kinds[precision])
    # It has no float16; and "ubinary" has the bits of "binary", which are offset by -128.
    known: Any = {"float16": "float32", "binary": "ubinary"}.get(precision, precision)
    for rows in _slices(len(vectors)):
        codes[rows] = quantize_embeddings(unit(vectors[rows, :dims]), known, ranges=ranges)
    return codes


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    cosine: NDArray[np.float64] = np.einsum("ij,ij->i", a, b) / np.maximum(lengths, 1e-12)
    return cosine


def _slices(length: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, length, _CHUNK))
