"""Near copies: texts of val and test that train holds almost word for word, by the cosine of their vectors."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.embed.prepare import PreparedBase
from tune.embed.view import View

NEAR_COSINE = 0.95


_MOST_PRODUCTS = 4_000_000_000


def near_copies(train: NDArray[np.float32], others: NDArray[np.float32], seed: int) -> tuple[int, int]:
    """How many of `others` [m, dims] have a row of `train` [n, dims] with cosine >= NEAR_COSINE: (count, looked at).

    Looks at a seeded sample of `others` where all would take more than _MOST_PRODUCTS similarities.
    """
    most = max(1, _MOST_PRODUCTS // max(1, len(train)))
    if len(others) > most:
        others = others[np.sort(np.random.default_rng(seed).choice(len(others), most, replace=False))]
    corpus, others = _unit(train), _unit(others)
    near = 0
    for start in range(0, len(others), 512):
        near += int(((others[start : start + 512] @ corpus.T).max(axis=1) >= NEAR_COSINE).sum())
    return near, len(others)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-12)
    return unit


def near_copies_by_side(base: PreparedBase, sides: dict[str, LabelledPairs], cache: Path, seed: int) -> dict[str, Any]:
    counted: dict[str, Any] = {"base_model": base.name}
    view = View.open(base.view(cache))
    train = np.unique(np.concatenate([view.train.a, view.train.b]))
    corpus = view.vectors[train]
    for side in ("val", "test"):
        vectors, _ = base.rows(cache, sides[side])
        near, looked = near_copies(corpus, vectors, seed)
        counted[side] = {"near": near, "of": looked}
    return counted
