"""The rules of --split: which texts link pairs, and the side that each pair goes to.

Two texts are the same if their normalised forms are equal (clean.normalise). Hashes of the texts decide everything, so
a side depends neither on row order nor on the process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tune.config.data import SplitMode
from tune.data._arrow_texts import digests, numbers_of
from tune.data.clean import normalised_ids
from tune.data.pairs import Pairs
from tune.events import Progress

VAL_FROM, TEST_FROM = 0.8, 0.9
"""u below 0.8 is train, below 0.9 val, otherwise test."""
HELD_OUT_SHARE = 0.1
LARGE = 0.005
"""A component with more than this share of all rows goes to train: in val or test it would dominate the result."""
CATALOGUE = 10
"""Of texts in both columns: a query that happens to be worded like a popular article must not link all its pairs."""

Column = Literal["a", "b"]


@dataclass(frozen=True, eq=False)
class Texts:
    """The normalised texts of n pairs: a, b [n], ids of both sides; hashes [texts], 64 bits of sha256 by id."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    hashes: NDArray[np.uint64]

    @classmethod
    def of(cls, pairs: Pairs, progress: Progress | None = None) -> "Texts":
        """Normalise and hash the texts of these pairs. progress: of texts normalised."""
        ids, found = normalised_ids(pairs.text_a, pairs.text_b, progress=progress)
        return cls(ids[: len(pairs)], ids[len(pairs) :], numbers_of(found))

    def links(self, queries: Column | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the two texts that link each pair to others, [n] each; equal if only one does.

        queries: the column that is kept apart; None for both, so that all texts link. Texts of the other column are
        the catalogue and do not link, but one that is found in both columns does, unless the catalogue holds it
        more than CATALOGUE times as often.
        """
        if queries is None:
            return self.a, self.b
        query, other = (self.a, self.b) if queries == "a" else (self.b, self.a)
        as_query, as_other = (np.bincount(ids, minlength=len(self.hashes)) for ids in (query, other))
        links = (as_query > 0) & (as_other <= CATALOGUE * as_query)
        return query, np.where(links[other], other, query)


@dataclass(frozen=True, eq=False)
class Assignment:
    """n pairs with the side that a mode assigns to each, before cut mode drops any.

    queries: the column that is kept apart. side: [n], of SIDES. keep: [n], false if the pair is dropped. first, second:
    [n], the texts that link it (Texts.links). placeable: [n], whether the rule could put the pair in val or test.
    share: how much of the placeable pairs each of them gets, in expectation. largest: rows of the largest component.
    facts: for the counts of the split.
    """

    mode: SplitMode
    queries: Column | None
    side: NDArray[np.str_]
    keep: NDArray[np.bool_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    placeable: NDArray[np.bool_]
    share: float
    largest: int
    facts: dict[str, int]


def assign(pairs: Pairs, texts: Texts, seed: int, mode: SplitMode, missing: Sequence[str]) -> Assignment:
    """Return the sides of all pairs. missing: the sides to draw, of val and test; others are given and kept."""
    n = len(pairs)
    side = np.array(pairs.side if pairs.side is not None else ["train"] * n, dtype="<U5")
    free = np.flatnonzero(side == "train")  # without a given split: all rows
    queries = query_column(texts, mode)
    first, second = texts.links(queries)
    keep, placeable = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    facts, largest = {"large_components": 0, "large_rows": 0, "moved_to_train": 0}, 0
    share = HELD_OUT_SHARE
    most = max(LARGE * n, 1)
    if mode == "cut":
        by_text = _sides_of(texts.hashes, seed, missing)
        side[free] = by_text[first[free]]
        keep[free] = by_text[first[free]] == by_text[second[free]]
        often = _occurrences(texts)
        placeable[free] = np.maximum(often[first[free]], often[second[free]]) <= most
        share = share**2
    elif missing:
        component = components(first[free], second[free])
        size = np.bincount(component)
        smallest = _smallest(np.minimum(texts.hashes[first], texts.hashes[second])[free], component)
        of_component = _sides_of(smallest, seed, missing)
        large = size > most
        facts = {
            "large_components": int(large.sum()),
            "large_rows": int(size[large].sum()),
            "moved_to_train": int(size[large & (of_component != "train")].sum()),
        }
        side[free] = np.where(large, "train", of_component)[component]
        placeable[free] = ~large[component]
        largest = int(size.max(initial=0))
    return Assignment(mode, queries, side, keep, first, second, placeable, share, largest, facts)


def all_train(made: Assignment) -> Assignment:
    """Return the assignment without sides held out: every pair is train, and none is dropped."""
    facts = {**made.facts, "large_components": 0, "large_rows": 0, "moved_to_train": 0}
    return replace(made, side=np.full(len(made.side), "train", "<U5"), keep=np.ones_like(made.keep), facts=facts)


def query_column(texts: Texts, mode: SplitMode) -> Column | None:
    """Return the column that a mode keeps apart; `queries` picks the one whose texts repeat less, a on a tie."""
    if mode == "queries":
        return "a" if len(np.unique(texts.a)) >= len(np.unique(texts.b)) else "b"
    if mode == "queries-a":
        return "a"
    return "b" if mode == "queries-b" else None


def components(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the component of each pair, [n], 0..c-1 in order of first appearance; pairs are edges between texts."""
    texts = int(max(first.max(initial=-1), second.max(initial=-1))) + 1
    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(texts, texts))
    of_text = connected_components(graph, directed=False)[1]
    number: NDArray[np.int64] = pd.factorize(of_text[first])[0].astype(np.int64)
    return number


def hash64(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each text's sha256."""
    return numbers_of(digests(text.encode() for text in texts))


def most_frequent(texts: Texts) -> tuple[float, Column]:
    """Return the largest share of the pairs that one text is in, and the column where that text is more often."""
    often = _occurrences(texts)
    top = int(often.argmax())
    column: Column = "a" if int((texts.a == top).sum()) >= int((texts.b == top).sum()) else "b"
    return int(often[top]) / max(len(texts.a), 1), column


def _occurrences(texts: Texts) -> NDArray[np.int64]:
    """Number of pairs that each text is in, [texts]."""
    count = len(texts.hashes)
    both: NDArray[np.int64] = np.bincount(texts.a, minlength=count) + np.bincount(texts.b, minlength=count)
    return both - np.bincount(texts.a[texts.a == texts.b], minlength=count)


def _smallest(hashes: NDArray[np.uint64], component: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Smallest hash of each component's pairs, [components]."""
    smallest = np.full(int(component.max(initial=-1)) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, component, hashes)
    return smallest


def _sides_of(hashes: NDArray[np.uint64], seed: int, sides: Sequence[str]) -> NDArray[np.str_]:
    """Sides by u(sha256(seed, hash)), [k]; a side that is not in `sides` becomes train."""
    digits, before = hashes.astype(">u8").tobytes().hex().encode(), f"split:{seed}:".encode()
    found = digests(before + digits[start : start + 16] for start in range(0, len(digits), 16))
    u = numbers_of(found) / np.float64(2**64)
    out = np.full(len(hashes), "train", dtype="<U5")
    if "val" in sides:
        out[(u >= VAL_FROM) & (u < TEST_FROM)] = "val"
    if "test" in sides:
        out[u >= TEST_FROM] = "test"
    return out
