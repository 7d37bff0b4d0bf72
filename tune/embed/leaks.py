"""Near copies: texts held out that occur almost word for word in train, judged by the cosine of their vectors."""

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

    Texts of a column that the sides share by design are not checked. If all pairs are in folds, also `folds`: texts
    with a near copy in another fold.
    """
    counted: dict[str, Any] = {"base_model": base.name}
    view = View.open(base.view(cache))
    train = np.unique(np.concatenate([view.train.a, view.train.b]))
    corpus = view.vectors[train]
    for side in ("val", "test"):
        if not len(sides[side]):
            counted[side] = {"near": 0, "of": 0}
            continue
        vectors, rows = base.rows(cache, sides[side])
        if shared := sides[side].shared:
            vectors = vectors[np.unique(rows.a if shared == "b" else rows.b)]
        near, checked = near_copies(corpus, vectors, seed)
        counted[side] = {"near": near, "of": checked}
    if base.folds and not len(view.val):
        counted["folds"] = _across_folds(view, view.folds(base.folds, base.seed), sides["train"].shared, seed)
    return counted


def _across_folds(view: View, fold: NDArray[np.int8], shared: str | None, seed: int) -> dict[str, int]:
    """Return how many texts of each fold have a near copy in the others. shared: the column that folds share."""
    columns = [rows for name, rows in (("a", view.train.a), ("b", view.train.b)) if name != shared]
    found, checked = 0, 0
    for own in range(int(fold.max()) + 1):
        inside, outside = (
            np.unique(np.concatenate([rows[at] for rows in columns])) for at in (fold == own, fold != own)
        )
        near, of = near_copies(view.vectors[outside], view.vectors[inside], seed)
        found, checked = found + near, checked + of
    return {"near": found, "of": checked}
