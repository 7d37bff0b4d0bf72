"""Unit vectors, and the cosine similarity of pairs that are rows of a matrix of vectors."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tune.embed.maps import gathered
from tune.embed.view import PairRows

if TYPE_CHECKING:
    import torch


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of `vectors` [n, dims] scaled to length 1; rows of zeros stay zero."""
    scaled: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def cosine(vectors: NDArray[np.float32], pairs: PairRows) -> NDArray[np.float64]:
    """Return the cosine similarity of each pair's rows of `vectors`, float64 [pairs]."""
    import torch

    used, (a, b) = used_rows(pairs)
    return pair_cosine(torch.from_numpy(gathered(vectors, used)), a, b)


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

    normalized = torch.nn.functional.normalize(vectors, dim=1)
    scores: NDArray[np.float64] = (
        (normalized[torch.from_numpy(a)] * normalized[torch.from_numpy(b)]).sum(1).double().cpu().numpy()
    )
    return scores
