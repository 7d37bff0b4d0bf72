"""Near copies: val and test texts that occur almost word for word in train, judged by the cosine of their vectors."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.embed.prepare import PreparedBase
from tune.embed.similarity import unit
from tune.embed.view import View

NEAR_COSINE = 0.95
"""Texts with at least this cosine count as near copies."""

_MOST_PRODUCTS = 4_000_000_000


def near_copies(train: NDArray[np.float32], others: NDArray[np.float32], seed: int) -> tuple[int, int]:
    """Return (near, checked): how many of the checked rows of `others` [m, dims] have a near copy in `train` [n, dims].

    Checks a seeded sample of `others` if all of them would take more than _MOST_PRODUCTS similarities.
    """
    most = max(1, _MOST_PRODUCTS // max(1, len(train)))
    if len(others) > most:
        others = others[np.sort(np.random.default_rng(seed).choice(len(others), most, replace=False))]
    corpus, others = unit(train), unit(others)
    near = 0
    for start in range(0, len(others), 512):
        near += int(((others[start : start + 512] @ corpus.T).max(axis=1) >= NEAR_COSINE).sum())
    return near, len(others)


def near_copies_by_side(base: PreparedBase, sides: dict[str, LabelledPairs], cache: Path, seed: int) -> dict[str, Any]:
    """Return {"base_model": name, side: {"near": count, "of": texts checked}} for val and test.

    Texts of a column that the sides share by design are not checked.
    """
    counted: dict[str, Any] = {"base_model": base.name}
    view = View.open(base.view(cache))
    train = np.unique(np.concatenate([view.train.a, view.train.b]))
    corpus = view.vectors[train]
    for side in ("val", "test"):
        vectors, rows = base.rows(cache, sides[side])
        if shared := sides[side].shared:
            vectors = vectors[np.unique(rows.a if shared == "b" else rows.b)]
        near, checked = near_copies(corpus, vectors, seed)
        counted[side] = {"near": near, "of": checked}
    return counted
