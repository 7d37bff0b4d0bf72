"""Which rows have a near copy among many others: exactly, in bounded memory.

A few leading components and the norm of the rest bound a cosine from above: u.v <= Pu.Pv + |u - Pu| |v - Pv|, by
Cauchy and Schwarz. With 32 of 256 components, about one pair in 30,000 of Quora's questions by wordllama passes the
bound, and only those are multiplied in full.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.maps import gathered, unmap
from tune.embed.similarity import unit
from tune.events import Progress

NEAR_COSINE = 0.95
"""Texts with at least this cosine count as near copies."""

_COMPONENTS = 32
_CORPUS_ROWS, _OTHER_ROWS = 8192, 1024
_LARGE = 200_000_000
"""From this number of pairs on, the bound is worth finding components for."""
_FEW = 1 / 500
"""With a larger share of pairs that pass the bound, whole blocks are multiplied."""
_ROUNDING = 1e-5

Vectors = NDArray[np.float32]


def has_near(
    vectors: Vectors, rows: NDArray[np.int64], others: Vectors, progress: Progress | None = None
) -> NDArray[np.bool_]:
    """Return for each row of `others` [m, dims] whether one of `vectors[rows]` has a cosine >= NEAR_COSINE to it, [m].

    vectors [n, dims] may be a map of a file; it is read in chunks. progress: of rows searched.
    """
    near, others = np.zeros(len(others), dtype=np.bool_), unit(others)
    worthwhile = len(rows) * len(others) >= _LARGE and vectors.shape[1] >= 3 * _COMPONENTS
    some = rows[:: max(1, len(rows) // _CORPUS_ROWS)]
    bound = _Bound.of(unit(gathered(vectors, some))) if worthwhile else _Bound(None)
    others_short, left = bound.short(others), np.arange(len(others))
    for start in range(0, len(rows) if len(others) else 0, _CORPUS_ROWS):
        block = unit(vectors[rows[start : start + _CORPUS_ROWS]])
        unmap(vectors)
        short = bound.short(block)
        for at in range(0, len(left), _OTHER_ROWS):
            part = left[at : at + _OTHER_ROWS]
            found = bound.near((others[part], others_short[part]), (block, short))
            near[part[found]] = True
        left = np.flatnonzero(~near)
        if progress is not None:
            progress(min(start + _CORPUS_ROWS, len(rows)), len(rows))
    return near


class _Bound:
    """Leading components as a basis [dims, k]; None to multiply in full."""

    def __init__(self, basis: Vectors | None) -> None:
        self._basis = basis

    @classmethod
    def of(cls, some: Vectors) -> "_Bound":
        """Take the components of some unit vectors [n, dims]."""
        return cls(np.ascontiguousarray(np.linalg.eigh(some.T @ some)[1][:, -_COMPONENTS:]))

    def short(self, units: Vectors) -> Vectors:
        """Return unit vectors' leading components and the norms of their rests, [n, k + 1]."""
        if self._basis is None:
            return units
        leading = units @ self._basis
        rest = np.einsum("nd,nd->n", units, units) - np.einsum("nk,nk->n", leading, leading)
        # The square root would magnify a rounding below zero.
        return np.column_stack([leading, np.sqrt(np.maximum(rest, 0) + _ROUNDING / 10)])

    def near(self, a: tuple[Vectors, Vectors], b: tuple[Vectors, Vectors]) -> NDArray[np.bool_]:
        """Return for each of a whether one of b is near it; each as unit vectors and as `short` returns them."""
        products = a[1] @ b[1].T
        if self._basis is None:
            return _reached(products)
        hits = np.flatnonzero(products.max(axis=1) >= NEAR_COSINE - _ROUNDING)
        near = np.zeros(len(products), dtype=np.bool_)
        row, column = np.nonzero(products[hits] >= NEAR_COSINE - _ROUNDING)
        if len(row) > _FEW * products.size:
            near[hits] = _reached(a[0][hits] @ b[0].T)
        else:
            cosines = np.einsum("nd,nd->n", a[0][hits[row]], b[0][column])
            near[hits[row[cosines >= NEAR_COSINE]]] = True
        return near


def _reached(cosines: Vectors) -> NDArray[np.bool_]:
    reached: NDArray[np.bool_] = cosines.max(axis=1) >= NEAR_COSINE
    return reached


def share_between(near: int, of: int) -> tuple[float, float]:
    """Return the 95% interval of the share of near copies from a sample (Wilson, 1927)."""
    z = 1.96
    middle, half = near + z * z / 2, z * np.sqrt(near * (of - near) / of + z * z / 4)
    return float((middle - half) / (of + z * z)), float((middle + half) / (of + z * z))


def counted_text(counted: dict[str, Any]) -> str:
    """Return a count for people: near, of and, if it is of a sample, of how many, with the share's interval."""
    text = f"{counted['near']:,} of {counted['of']:,}"
    if "sample_of" not in counted:
        return text
    low, high = counted["share"]
    return f"{text} (a sample of {counted['sample_of']:,} texts: {low:.2%} to {high:.2%} of them)"
