"""The split into train, val and test: no text is on two sides, and new rows move as few old rows as possible.

Two texts are the same if their normalised forms are equal (clean.normalise). Pairs link texts; linked texts form a
component. Hashes of the texts decide everything, so the split depends neither on row order nor on the process.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tune.data.clean import normalise, text_ids
from tune.data.pairs import Pairs
from tune.data.sides import CLASS_NAMES, HELD_OUT, SIDES, LabelledPairs
from tune.errors import DataError
from tune.files import replace_atomic

VAL_FROM, TEST_FROM = 0.8, 0.9
"""u below 0.8 is train, below 0.9 val, otherwise test."""
LARGE = 0.005
"""A component with more than this share of all rows goes to train: in val or test it would dominate the result."""
NEEDED = 100
"""Pairs of either class that val and test must each hold."""


@dataclass(frozen=True, eq=False)
class Split:
    """n pairs with their sides: all rows that were split, except that cut mode drops crossing pairs."""

    pairs: Pairs
    side: NDArray[np.str_]
    """[n], each one of SIDES."""
    component: NDArray[np.int64]
    """[n], the row's component among these rows, 0..c-1 in order of first appearance."""
    row_hash: list[str]
    """[n], 32 hex digits of the row's two texts and label."""
    counts: dict[str, Any]
    """Plain data. mode (components, cut or given); rows, shares, positives and components per side; largest_component
    and its giant_share; large_components, large_rows (above LARGE); moved_to_train (rows of these that hashed to val or
    test); cut_from_train (sides missing from a given split); crossing_dropped; overlaps (texts of a given val and test
    that are also in train; otherwise zeros)."""
    digest: str
    """Order-independent hash over all (row_hash, side); the split hash of the summary."""


def split_pairs(pairs: Pairs, seed: int = 0, mode: Literal["components", "cut"] = "components") -> Split:
    """Split cleaned pairs 80/10/10, in expectation; a given split is kept.

    components: side = u(sha256(seed, smallest text hash in the component)), u uniform in [0, 1). New rows move only the
    components they touch, and those that cross the limit LARGE, which grows with the number of rows.
    cut: each text gets its side this way; pairs with texts on two sides are dropped.
    given: sides in `pairs.side` are kept, except that a missing val or test is cut from train by components of train
    (by texts in cut mode). This includes test, since a leak-free test is more useful than an error;
    `counts["cut_from_train"]` reports it.
    Raises DataError if val or test has fewer than NEEDED pairs of either class, train lacks a class, or a given split
    has no train.
    """
    n = len(pairs)
    text, hashes = _texts(pairs)
    a, b = text[:n], text[n:]
    side = np.array(pairs.side if pairs.side is not None else ["train"] * n, dtype="<U5")
    given = [name for name in SIDES if pairs.side is not None and bool((side == name).any())]
    missing = [name for name in HELD_OUT if name not in given]
    _check_given(pairs, given, missing, mode)

    keep = np.ones(n, dtype=bool)
    free = np.flatnonzero(side == "train")  # without a given split: all rows
    facts: dict[str, int] = {"large_components": 0, "large_rows": 0, "moved_to_train": 0}
    if mode == "cut":
        by_text = _sides_of(hashes, seed, missing)
        side[free] = by_text[a[free]]
        keep[free] = by_text[a[free]] == by_text[b[free]]
    elif missing:
        side[free], facts = _split_components(a[free], b[free], hashes, seed, missing, limit=LARGE * n)

    kept = np.flatnonzero(keep)
    remaining = pairs if len(kept) == n else pairs.take(kept)
    side, a, b = side[kept], a[kept], b[kept]
    component = pd.factorize(_components(a, b, len(hashes)))[0].astype(np.int64)
    row_hash = _row_hashes(remaining)
    overlaps = _overlaps(a, b, side) if given else dict.fromkeys(HELD_OUT, 0)
    counts = {
        "mode": "given" if given else mode,
        **_describe(remaining, side, component),
        **facts,
        "cut_from_train": missing if given else [],
        "crossing_dropped": n - len(kept),
        "overlaps": overlaps,
    }
    split = Split(remaining, side, component, row_hash, counts, _digest(row_hash, side))
    _check_enough(split, pairs, seed, given)
    return split


def write_split(split: Split, path: Path) -> None:
    """Write split.parquet atomically: row, row_hash, component, side; no texts."""
    table = pa.table(
        {
            "row": split.pairs.row,
            "row_hash": split.row_hash,
            "component": split.component,
            "side": split.side.tolist(),
        }
    )
    replace_atomic(path, lambda part: pq.write_table(table, part))


def text_overlaps(split: Split) -> dict[str, int]:
    """Return for val and test how many of their distinct normalised texts are also in train. The first leak counter."""
    n = len(split.pairs)
    text, _ = _texts(split.pairs)
    return _overlaps(text[:n], text[n:], split.side)


def _texts(pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Ids of the normalised texts, [2n], all of a then all of b, and the first 64 bits of their sha256 by id."""
    ids, distinct = text_ids([normalise(text) for texts in (pairs.text_a, pairs.text_b) for text in texts])
    return ids, _hash64(distinct)


def _hash64(texts: Sequence[str]) -> NDArray[np.uint64]:
    hashes = (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts)
    return np.fromiter(hashes, np.uint64, len(texts))


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _row_hashes(pairs: Pairs) -> list[str]:
    # The length comes first because the boundary between the two texts is part of the row.
    rows = zip(pairs.text_a, pairs.text_b, pairs.label.tolist(), strict=True)
    return [_digest_of(f"{len(a)}:{a}{b}:{label}") for a, b, label in rows]


def _digest(row_hash: Sequence[str], side: NDArray[np.str_]) -> str:
    rows = sorted(f"{row} {name}\n" for row, name in zip(row_hash, side.tolist(), strict=True))
    return _digest_of("".join(rows))


def _sides_of(hashes: NDArray[np.uint64], seed: int, sides: Sequence[str]) -> NDArray[np.str_]:
    """Sides by u(sha256(seed, hash)), [k]; a side that is not in `sides` becomes train."""
    u = _hash64([f"split:{seed}:{value:016x}" for value in hashes.tolist()]) / np.float64(2**64)
    out = np.full(len(hashes), "train", dtype="<U5")
    if "val" in sides:
        out[(u >= VAL_FROM) & (u < TEST_FROM)] = "val"
    if "test" in sides:
        out[u >= TEST_FROM] = "test"
    return out


def _components(a: NDArray[np.int64], b: NDArray[np.int64], texts: int) -> NDArray[np.int64]:
    """Component of each pair, [n], with pairs as edges between texts."""
    graph = coo_matrix((np.ones(len(a), dtype=bool), (a, b)), shape=(texts, texts))
    of_text: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return of_text[a]


def _split_components(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    seed: int,
    sides: Sequence[str],
    limit: float,
) -> tuple[NDArray[np.str_], dict[str, int]]:
    component = pd.factorize(_components(a, b, len(hashes)))[0]
    size = np.bincount(component)
    smallest = np.full(len(size), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, component, np.minimum(hashes[a], hashes[b]))
    side = _sides_of(smallest, seed, sides)
    large = size > limit
    facts = {
        "large_components": int(large.sum()),
        "large_rows": int(size[large].sum()),
        "moved_to_train": int(size[large & (side != "train")].sum()),
    }
    side[large] = "train"
    return side[component], facts


def _overlaps(a: NDArray[np.int64], b: NDArray[np.int64], side: NDArray[np.str_]) -> dict[str, int]:
    texts = {name: np.unique(np.concatenate([a[side == name], b[side == name]])) for name in SIDES}
    return {name: len(np.intersect1d(texts[name], texts["train"], assume_unique=True)) for name in HELD_OUT}


def _describe(pairs: Pairs, side: NDArray[np.str_], component: NDArray[np.int64]) -> dict[str, Any]:
    n = max(len(pairs), 1)
    at = {name: side == name for name in SIDES}
    rows = {name: int(at[name].sum()) for name in SIDES}
    largest = int(np.bincount(component).max()) if len(component) else 0
    return {
        "rows": rows,
        "shares": {name: rows[name] / n for name in SIDES},
        "positives": {name: int((pairs.label[at[name]] == 1).sum()) for name in SIDES},
        "components": {name: len(np.unique(component[at[name]])) for name in SIDES},
        "largest_component": largest,
        "giant_share": largest / n,
    }


def _check_given(pairs: Pairs, given: Sequence[str], missing: Sequence[str], mode: str) -> None:
    if given and "train" not in given:
        raise DataError(
            f"{pairs.source}: the given split has only {' and '.join(given)}, no train rows: add train rows"
        )
    if given and not missing and mode == "cut":
        raise DataError(
            f"{pairs.source}: a given train, val and test are kept unchanged, so --split cut has no effect:"
            " leave out --split cut or the given split"
        )


def _shortage(split: Split) -> tuple[int, str, int]:
    """Smallest class in val or test: number of pairs, side, label."""
    rows, positives = split.counts["rows"], split.counts["positives"]
    return min(
        (positives[name] if label else rows[name] - positives[name], name, label)
        for name in HELD_OUT
        for label in CLASS_NAMES
    )


def _check_enough(split: Split, pairs: Pairs, seed: int, given: Sequence[str]) -> None:
    found, name, label = _shortage(split)
    counts, source = split.counts, pairs.source
    if found >= NEEDED:
        if counts["positives"]["train"] in (0, counts["rows"]["train"]):
            raise DataError(f"{source}: train has pairs of one class only: add pairs of the other")
        return
    short = f"only {found} {CLASS_NAMES[label]} pairs in {name}, but {NEEDED} of either class are needed"
    if name in given:
        raise DataError(
            f"{source}: the given split has {short}: add pairs there, or leave the given split out"
            " (no --split-column, one file) for a new split"
        )
    total = f"about {_needed(split, found):,} pairs like these should be enough (there are {len(pairs):,})"
    if counts["mode"] == "cut" or not counts["large_rows"]:
        raise DataError(f"{source}: {short}: add pairs; {total}")
    giant = (
        f"{source}: shared texts link {counts['giant_share']:.1%} of the pairs into one component and"
        f" {counts['large_rows'] / len(pairs):.1%} into components too large for val or test, which leaves {short}"
    )
    try:
        split_pairs(pairs, seed, "cut")
    except DataError:
        raise DataError(f"{giant}: {total}; --split cut, which splits by text, also needs more pairs") from None
    raise DataError(f"{giant}: use --split cut, which splits by text and drops crossing pairs")


def _needed(split: Split, found: int) -> int:
    """Total pairs that would bring the scarce class to NEEDED with some margin; two digits, rounded up."""
    n = len(split.pairs)
    positives: int = sum(split.counts["positives"].values())
    by_share = NEEDED / (1 - TEST_FROM) / max(min(positives, n - positives), 1) * n
    total: float = 1.3 * max(by_share, NEEDED / found * n if found else 0.0)
    unit = int(10 ** max(int(math.log10(total)) - 1, 0))
    return math.ceil(total / unit) * unit


def labelled_sides(split: "Split", seed: int) -> dict[str, LabelledPairs]:
    """Return the pairs of each side; train in its seeded order."""
    index = {side: np.flatnonzero(split.side == side) for side in HELD_OUT}
    index["train"] = train_order(split, seed)
    return {side: _labelled(split, index[side]) for side in SIDES}


def train_order(split: "Split", seed: int) -> NDArray[np.int64]:
    """Return the indices of all train rows in one seeded order, of which every train size is a prefix.

    Sorted by sha256(seed, row hash): new rows are inserted in between, old rows keep their relative order.
    """
    index = np.flatnonzero(split.side == "train")
    keys = [hashlib.sha256(f"order:{seed}:{split.row_hash[i]}".encode()).digest() for i in index.tolist()]
    return index[sorted(range(len(keys)), key=keys.__getitem__)].astype(np.int64)


def _labelled(split: "Split", index: NDArray[np.int64]) -> LabelledPairs:
    taken = split.pairs.take(index)
    return LabelledPairs(taken.text_a, taken.text_b, taken.label, split.component[index])
