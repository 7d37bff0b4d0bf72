"""Near copies: texts held out that occur almost word for word in train, judged by the cosine of their vectors."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import HELD_OUT, LabelledPairs
from tune.embed.near import has_near, share_between
from tune.embed.prepare import PreparedBase, keyed_rows
from tune.embed.snapshot import Snapshot
from tune.embed.view import View
from tune.events import Compared, Emit, Progress, ignore, paced

_MOST_PRODUCTS = 2_000_000_000


def near_copies_by_side(
    base: PreparedBase, sides: dict[str, LabelledPairs], cache: Path, seed: int, emit: Emit = ignore
) -> dict[str, Any]:
    """Return {"base_model": name, side: {"near": count, "of": texts checked}} for val and test.

    Texts of a column that the sides share by design are not checked. If all pairs are in folds, also `folds`: texts
    with a near copy in another fold. Checks a seeded sample if all texts would take more than _MOST_PRODUCTS
    similarities, and says so: sample_of, the number of texts; share [2], the interval of the share that is near.
    """
    view = View.open(base.view(cache))
    train = np.unique(np.concatenate([view.train.a, view.train.b]))
    snapshot = Snapshot.in_cache(cache, base.fingerprint, base.dims)
    found, texts = {}, {}
    for side in HELD_OUT:
        keys, rows = keyed_rows(sides[side], base.prompt_a, base.prompt_b)
        shared = sides[side].shared
        places = np.unique(rows.a if shared == "b" else rows.b) if shared else np.arange(len(keys))
        texts[side] = len(places)
        chosen = places[_checked(len(places), len(train), seed)]
        found[side] = snapshot.vectors(keys[chosen])
    progress = paced(emit, Compared)
    near = has_near(view.vectors, train, np.concatenate(list(found.values())), progress)
    parts = np.split(near, np.cumsum([len(vectors) for vectors in found.values()])[:-1])
    counted: dict[str, Any] = {"base_model": base.name}
    counted |= {side: _counted(part, texts[side]) for side, part in zip(found, parts, strict=True)}
    if base.folds and not len(view.val):
        counted["folds"] = _across_folds(view, view.folds(base.folds, base.seed), sides["train"].shared, seed, progress)
    return counted


def _checked(others: int, train: int, seed: int) -> NDArray[np.int64]:
    """Return the positions to check among `others`."""
    most = max(1, _MOST_PRODUCTS // max(1, train))
    if others <= most:
        return np.arange(others)
    return np.sort(np.random.default_rng(seed).choice(others, most, replace=False))


def _counted(near: NDArray[np.bool_], texts: int) -> dict[str, Any]:
    counted: dict[str, Any] = {"near": int(near.sum()), "of": len(near)}
    if len(near) < texts:
        counted |= {"sample_of": texts, "share": list(share_between(counted["near"], len(near)))}
    return counted


def _across_folds(
    view: View, fold: NDArray[np.int8], shared: str | None, seed: int, progress: Progress
) -> dict[str, Any]:
    """Count texts of each fold that have a near copy in the others. shared: the column that folds share."""
    columns = [rows for name, rows in (("a", view.train.a), ("b", view.train.b)) if name != shared]
    found, texts = [], 0
    for own in range(int(fold.max()) + 1):
        inside, outside = (
            np.unique(np.concatenate([rows[at] for rows in columns])) for at in (fold == own, fold != own)
        )
        checked = inside[_checked(len(inside), len(outside), seed)]
        found.append(has_near(view.vectors, outside, view.vectors[checked], progress))
        texts += len(inside)
    return _counted(np.concatenate(found), texts)
