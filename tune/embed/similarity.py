"""Cosine similarity of pairs that are rows of a matrix of vectors."""

import numpy as np
import torch
from numpy.typing import NDArray

from tune.embed.view import PairRows


def cosine(vectors: NDArray[np.float32], pairs: PairRows) -> NDArray[np.float64]:
    """Cosine similarity of the pairs' rows of `vectors` as they are; float64 [pairs]."""
    used, (a, b) = used_rows(pairs)
    return pair_cosine(torch.from_numpy(np.array(vectors[used])), a, b)


def used_rows(pairs: PairRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows of the pairs, and the pairs' places among them, [2, pairs]."""
    used, inverse = np.unique(np.concatenate([pairs.a, pairs.b]), return_inverse=True)
    return used, inverse.reshape(2, -1)


def pair_cosine(vectors: torch.Tensor, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    unit = torch.nn.functional.normalize(vectors, dim=1)
    scores: NDArray[np.float64] = (unit[torch.from_numpy(a)] * unit[torch.from_numpy(b)]).sum(1).double().cpu().numpy()
    return scores
