"""Unit vectors, and the cosine similarity of pairs that are rows of a matrix of vectors."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tune.embed.maps import gathered
from tune.embed.view import PairRows

if TYPE_CHECKING:
    import torch

_PAIRS_AT_ONCE = 1 << 15
"""Pairs whose unit vectors are in memory at once."""


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of `vectors` [n, dims] scaled to length 1; rows of zeros stay zero."""
    scaled: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def cosine(vectors: NDArray[np.float32], pairs: PairRows) -> NDArray[np.float64]:
    """Return the cosine similarity of each pair's rows of `vectors`, float64 [pairs]. Copies few of them at a time."""
    import torch

    scores = np.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs.take(slice(start, start + _PAIRS_AT_ONCE))
        used, (a, b) = used_rows(some)
        scores[start : start + len(some)] = pair_cosine(torch.from_numpy(gathered(vectors, used)), a, b)
    return scores


def used_rows(pairs: PairRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct rows that the pairs use, and the pairs as positions among them, [2, pairs]."""
    used, inverse = np.unique(np.concatenate([pairs.a, pairs.b]), return_inverse=True)
    return used, inverse.reshape(2, -1)


def rows_by_side(pairs: PairRows) -> tuple[NDArray[np.int64], NDArray[np.int64], PairRows]:
    """Return the distinct rows of first texts, those of second texts, and the pairs as rows of the one over the other.

    A row that is a first and a second text is in both, so that the two sides can be mapped differently.
    """
    first, a = np.unique(pairs.a, return_inverse=True)
    second, b = np.unique(pairs.b, return_inverse=True)
    return first, second, PairRows(a.reshape(-1), len(first) + b.reshape(-1), pairs.label, pairs.score)


def pair_cosine(vectors: "torch.Tensor", a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosine similarity of rows a[i] and b[i] of `vectors` [n, dims], float64 [pairs], computed by torch."""
    import torch

    scores = np.empty(len(a))
    # As torch's `normalize` does it, but a copy of all unit vectors would be as large as the vectors.
    lengths = vectors.norm(2.0, 1, keepdim=True).clamp_min(1e-12)
    for start in range(0, len(a), _PAIRS_AT_ONCE):
        rows = [torch.from_numpy(side[start : start + _PAIRS_AT_ONCE]).to(vectors.device) for side in (a, b)]
        first, second = (vectors[side] / lengths[side] for side in rows)
        scores[start : start + _PAIRS_AT_ONCE] = (first * second).sum(1).double().cpu().numpy()
    return scores
