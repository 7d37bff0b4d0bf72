"""The split into train, val and test: no text is on two sides, and new rows move as few old rows as possible.

Pairs link texts; linked texts form a component. With --split queries, only the texts of one column link. `_assign`
holds the rules, `_shortage` refuses what leaves too little.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tune.config.data import SplitMode
from tune.data._arrow_texts import digests, hex_digits, numbers_of, sorted_order
from tune.data._assign import Column, Texts, all_train, assign, components
from tune.data._shortage import Search, check_enough
from tune.data.folds import fold_of
from tune.data.pairs import Pairs
from tune.data.sides import HELD_OUT, SIDES, LabelledPairs
from tune.errors import DataError
from tune.events import Emit, Progress, ignore, working
from tune.files import replace_atomic
from tune.machine import release_memory

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class Split:
    """n pairs with their sides: all rows that were split, except that cut mode drops crossing pairs."""

    pairs: Pairs
    side: NDArray[np.str_]
    """[n], each one of SIDES."""
    component: NDArray[np.int64]
    """[n], the row's component among these rows, 0..c-1 in order of first appearance."""
    row_hash: list[str]
    """[n], 32 hex digits of the row's two texts and label. Without the score: grading must not move any row."""
    counts: dict[str, Any]
    """Plain data. mode (a SplitMode, or given); out_of_fold (whether all rows are train, to be judged out of fold);
    rows, shares, positives and components per side; largest_component and its giant_share; large_components, large_rows
    (above LARGE); moved_to_train (rows of these that hashed to val or test); cut_from_train (sides missing from a given
    split); crossing_dropped; overlaps (texts of a given val and test that are also in train; otherwise zeros); queries
    (see `_query_counts`; None in the other modes)."""
    digest: str
    """Order-independent hash over all (row_hash, side, score if there is one); the split hash of the summary."""
    queries: Column | None = None
    """The column that is kept apart, if only one is; the texts of the other are shared by design."""
    links: tuple[NDArray[np.int64], NDArray[np.int64]] = field(kw_only=True)
    """The two texts that link each pair to others (`Texts.links`), [n] each."""
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)
    """`train_order` by seed: it hashes every row, and several phases ask for it."""

    @property
    def out_of_fold(self) -> bool:
        """Whether there is no test side: all pairs are cross-validated, and judged out of fold."""
        return bool(self.counts["out_of_fold"])


def split_pairs(
    pairs: Pairs, seed: int = 0, mode: SplitMode = "components", folds: int = 0, emit: Emit = ignore
) -> Split:
    """Split cleaned pairs 80/10/10, in expectation; a given split is kept.

    folds: of the cross-validation over train and val; 0 for none. With folds, val can be any size. If test would be too
    small, there is none: all pairs are train, if there are FOLDED_NEEDED of either class, no given test, no other mode
    that leaves enough, and no component with most of the pairs.

    components: side = u(sha256(seed, smallest text hash in the component)), u uniform in [0, 1). New rows move only the
    components they touch, and those that cross the limit LARGE, which grows with the number of rows.
    queries: the same, but only the texts of one column link pairs, so that the other column is a catalogue that all
    sides share: queries-a, queries-b name the column kept apart, queries takes the one with more distinct texts. See
    `Texts.links` on texts that are found in both.
    cut: each text gets its side this way; pairs with texts on two sides are dropped.
    given: sides in `pairs.side` are kept, except that a missing val or test is cut from train by the same rule, among
    train. This includes test, since a leak-free test is more useful than an error; `counts["cut_from_train"]` reports
    it.
    Raises DataError if val or test has fewer than NEEDED pairs of either class, train lacks a class, a given split
    has no train, or the folds cannot be made.
    """
    given = [name for name in SIDES if name in set(pairs.side or ())]
    missing = [name for name in HELD_OUT if name not in given]
    _check_given(pairs, given, missing, mode)
    texts = Texts.of(pairs, working(emit, "splitting: texts normalised", "texts"))
    search = Search(pairs, texts, seed, given, missing, folds)
    made = assign(pairs, texts, seed, mode, missing)
    out_of_fold = check_enough(search, made)
    made = all_train(made) if out_of_fold else made

    kept = np.flatnonzero(made.keep)
    remaining = pairs if len(kept) == len(pairs) else pairs.take(kept)
    side, first, second = made.side[kept], made.first[kept], made.second[kept]
    component = components(first, second)
    row_hash = row_hashes(remaining, working(emit, "splitting: rows hashed", "rows"))
    counts = {
        "mode": "given" if given else mode,
        "out_of_fold": out_of_fold,
        **_describe(remaining, side, component),
        **made.facts,
        "cut_from_train": missing if given and not out_of_fold else [],
        "crossing_dropped": len(pairs) - len(kept),
        "overlaps": _overlaps(first, second, side) if given else dict.fromkeys(HELD_OUT, 0),
        "queries": _query_counts(pairs, texts, side, made.queries) if made.queries else None,
    }
    digest = _digest(row_hash, side, remaining.score)
    split = Split(remaining, side, component, row_hash, counts, digest, made.queries, links=(first, second))
    if folds:
        check_folds(split, folds, seed)
    return split


def check_folds(split: Split, folds: int, seed: int) -> None:
    """Raise DataError if the folds of train and val cannot be made as `fold_of` will."""
    sides = labelled_sides(split, seed)
    parts = [sides[name] for name in ("train", "val")]
    component = np.concatenate([part.component for part in parts if part.component is not None])
    otherwise = "add pairs of other texts" if split.out_of_fold else "leave --folds out"
    try:
        fold_of(component, folds, seed, np.concatenate([part.label for part in parts]), otherwise)
    except DataError as error:
        raise DataError(f"{split.pairs.source}: {error}") from None


def write_split(split: Split, path: Path) -> None:
    """Write split.parquet atomically: row, row_hash, component, side; no texts."""
    replace_atomic(path, lambda part: pq.write_table(_table(split), part))
    # Arrow keeps what the table took, and trials are about to need memory.
    release_memory()


def _table(split: Split) -> pa.Table:
    return pa.table(
        {
            "row": split.pairs.row,
            "row_hash": split.row_hash,
            "component": split.component,
            "side": split.side.tolist(),
        }
    )


def is_split_of(path: Path, split: Split) -> bool:
    """Return whether a split.parquet is there, whole, and holds the rows of this split, in any order."""
    rows = read_split_rows(path)
    return rows is not None and sorted(rows.row_hash) == sorted(split.row_hash)


@dataclass(frozen=True, eq=False)
class SplitRows:
    """The rows of split.parquet, [n] each: row number in the source, hash of texts and label, component."""

    row: NDArray[np.int64]
    row_hash: list[str]
    component: NDArray[np.int64]


def read_split_rows(path: Path) -> SplitRows | None:
    """Read split.parquet; None if it is missing or damaged."""
    try:
        table = pq.read_table(path, columns=["row", "row_hash", "component"])
    except (OSError, pa.ArrowException):
        return None
    return SplitRows(table["row"].to_numpy(), table["row_hash"].to_pylist(), table["component"].to_numpy())


def stored_digest(path: Path) -> str:
    """Return the digest of the split in a split.parquet, as `Split.digest` is for pairs without scores.

    "" if the file is missing or damaged.
    """
    try:
        table = pq.read_table(path)
        return _digest(table["row_hash"].to_pylist(), np.array(table["side"].to_pylist(), np.str_), None)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return ""


def text_overlaps(split: Split) -> dict[str, int]:
    """Return for val and test how many of their distinct normalised texts are also in train. The first leak counter.

    Texts that are shared by design (--split queries) do not count.
    """
    return _overlaps(*split.links, split.side)


def _query_counts(pairs: Pairs, texts: Texts, side: NDArray[np.str_], queries: Column) -> dict[str, Any]:
    """Return what --split queries kept apart and what it shared, as plain data.

    apart, shared: the columns. apart_texts, shared_texts: their distinct texts. in_train: for val and test, how many
    of the shared column's distinct texts train holds too ("seen"), "of" all of them.
    """
    names = {"a": pairs.columns.text_a, "b": pairs.columns.text_b}
    other: Column = "b" if queries == "a" else "a"
    apart, shared = (texts.a, texts.b) if queries == "a" else (texts.b, texts.a)
    on = {name: np.unique(shared[side == name]) for name in SIDES}
    return {
        "apart": names[queries],
        "shared": names[other],
        "apart_texts": len(np.unique(apart)),
        "shared_texts": len(np.unique(shared)),
        "in_train": {
            name: {"seen": int(np.isin(on[name], on["train"]).sum()), "of": len(on[name])} for name in HELD_OUT
        },
    }


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def row_hashes(pairs: Pairs | LabelledPairs, progress: Progress | None = None) -> list[str]:
    """Return a hash of each row's two texts and label, [n]: 32 hex digits."""
    found = list[str]()
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        rows = zip(pairs.text_a[part], pairs.text_b[part], pairs.label[part].tolist(), strict=True)
        # The length comes first because the boundary between the two texts is part of the row.
        hashes = digests(f"{len(a)}:{a}{b}:{label}".encode() for a, b, label in rows)
        found += hex_digits(hashes[:, :16])
        if progress is not None:
            progress(len(found), len(pairs))
    return found


def _digest(row_hash: Sequence[str], side: NDArray[np.str_], score: NDArray[np.float64] | None) -> str:
    """Return the hash of the lines "ROW_HASH SIDE SCORE", sorted; without a score, it and its space are left out."""
    if score is None and len(row_hash):
        lines = _sorted_lines(row_hash, side)
        if lines is not None:
            return hashlib.sha256(lines).hexdigest()[:32]
    scores = [""] * len(row_hash) if score is None else [f" {value!r}" for value in score.tolist()]
    rows = sorted(f"{row} {name}{grade}\n" for row, name, grade in zip(row_hash, side.tolist(), scores, strict=True))
    return _digest_of("".join(rows))


def _sorted_lines(row_hash: Sequence[str], side: NDArray[np.str_]) -> bytes | None:
    """Return the sorted lines without scores; None if two rows agree in the first half of their hashes."""
    rows = np.frombuffer("".join(row_hash).encode(), dtype="S32")
    # Lower-case hex digits sort as the bytes that they are.
    digits = rows.view(np.uint8).reshape(-1, 32)
    first = [numbers_of(digits, place) for place in (0, 1)]
    order = sorted_order(*first)
    one, two = (column[order] for column in first)
    if ((one[1:] == one[:-1]) & (two[1:] == two[:-1])).any():
        return None
    names = np.char.add(np.char.add(b" ", side.astype("S5")), b"\n")
    lines = np.concatenate([rows[order, None].view(np.uint8), names[order, None].view(np.uint8)], axis=1)
    joined: bytes = lines[lines != 0].tobytes()
    return joined


def _overlaps(a: NDArray[np.int64], b: NDArray[np.int64], side: NDArray[np.str_]) -> dict[str, int]:
    texts = int(max(a.max(initial=-1), b.max(initial=-1))) + 1
    on = {name: np.zeros(texts, dtype=bool) for name in SIDES}
    for name, held in on.items():
        rows = side == name
        held[a[rows]] = held[b[rows]] = True
    return {name: int((on[name] & on["train"]).sum()) for name in HELD_OUT}


def _describe(pairs: Pairs, side: NDArray[np.str_], component: NDArray[np.int64]) -> dict[str, Any]:
    n = max(len(pairs), 1)
    at = {name: side == name for name in SIDES}
    rows = {name: int(at[name].sum()) for name in SIDES}
    largest = int(np.bincount(component).max()) if len(component) else 0
    return {
        "rows": rows,
        "shares": {name: rows[name] / n for name in SIDES},
        "positives": {name: int((pairs.label[at[name]] == 1).sum()) for name in SIDES},
        "components": {name: int(np.count_nonzero(np.bincount(component[at[name]]))) for name in SIDES},
        "largest_component": largest,
        "giant_share": largest / n,
    }


def _check_given(pairs: Pairs, given: Sequence[str], missing: Sequence[str], mode: str) -> None:
    if given and "train" not in given:
        raise DataError(
            f"{pairs.source}: the given split has only {' and '.join(given)}, no train rows: add train rows"
        )
    if given and not missing and mode != "components":
        raise DataError(
            f"{pairs.source}: a given train, val and test are kept unchanged, so --split {mode} has no effect:"
            f" leave out --split {mode} or the given split"
        )


def labelled_sides(split: "Split", seed: int) -> dict[str, LabelledPairs]:
    """Return the pairs of each side; train in its seeded order."""
    index = {side: np.flatnonzero(split.side == side) for side in HELD_OUT}
    index["train"] = train_order(split, seed)
    return {side: _labelled(split, index[side]) for side in SIDES}


def train_order(split: "Split", seed: int) -> NDArray[np.int64]:
    """Return the indices of all train rows in one seeded order, of which every train size is a prefix.

    Sorted by sha256(seed, row hash): new rows are inserted in between, old rows keep their relative order.
    """
    if (known := split._orders.get(seed)) is not None:
        return known
    index = np.flatnonzero(split.side == "train")
    hashes, before = "".join(split.row_hash).encode(), f"order:{seed}:".encode()
    keys = digests(before + hashes[32 * row : 32 * row + 32] for row in index.tolist())
    order = index[sorted_order(*(numbers_of(keys, place) for place in range(4)))]
    split._orders[seed] = order
    return order


def _labelled(split: "Split", index: NDArray[np.int64]) -> LabelledPairs:
    taken = split.pairs.take(index)
    shared: Column | None = None if split.queries is None else "b" if split.queries == "a" else "a"
    return LabelledPairs(
        taken.text_a, taken.text_b, taken.label, split.component[index], shared, taken.score, taken.row
    )
