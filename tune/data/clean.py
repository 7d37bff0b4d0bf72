"""Drops the rows that would mislead a search, counts every reason, and says when two texts are the same text.

Pure: nothing is read or written, the order of the remaining rows is kept.
"""

import sys
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tune.data._columns import UNLABELLED
from tune.data.pairs import Pairs, require_both_classes

_KEEP_FIRST = {"test": 0, "val": 1, "train": 2}


def clean_pairs(pairs: Pairs) -> tuple[Pairs, dict[str, int]]:
    """The rows to search on, in their order, and how many rows each reason took.

    A row is counted under the first reason that fits: `unlabelled`; `empty` (a side of white space only);
    `contradicting` (same unordered pair of raw texts with both labels: all of them); `identical_dropped`
    (both sides equal, label 0); `repeated` (same unordered pair before it; with a given split test goes
    before val before train). `read` = `kept` + these five. `identical_kept` counts kept rows with equal sides
    (label 1).
    DataError if no row, or one class only, remains.
    """
    n = len(pairs)
    counts = {"read": n}
    keep = np.ones(n, dtype=bool)

    def drop(reason: str, rows: NDArray[np.bool_]) -> None:
        counts[reason] = int((keep & rows).sum())
        keep[rows] = False

    drop("unlabelled", pairs.label == UNLABELLED)
    drop(
        "empty",
        np.array([not (a.strip() and b.strip()) for a, b in zip(pairs.text_a, pairs.text_b, strict=True)], bool),
    )

    text, _ = text_ids([*pairs.text_a, *pairs.text_b])
    low, high = np.minimum(text[:n], text[n:]), np.maximum(text[:n], text[n:])
    pair = pd.factorize(low * np.int64(2 * n) + high)[0]
    seen = np.zeros((2, n), dtype=bool)
    for label in (0, 1):
        seen[label, pair[keep & (pairs.label == label)]] = True
    drop("contradicting", (seen[0] & seen[1])[pair])
    drop("identical_dropped", (low == high) & (pairs.label == 0))

    kept = np.flatnonzero(keep)
    if pairs.side is not None:  # stable, so within a side the first stays first
        kept = kept[np.argsort([_KEEP_FIRST[pairs.side[i]] for i in kept], kind="stable")]
    first = np.zeros(n, dtype=bool)
    first[kept[np.unique(pair[kept], return_index=True)[1]]] = True
    drop("repeated", ~first)
    counts["kept"] = int(keep.sum())
    counts["identical_kept"] = int((keep & (low == high)).sum())

    cleaned = pairs.take(np.flatnonzero(keep))
    require_both_classes(cleaned.label, f"{pairs.source} (after cleaning)")
    return cleaned, counts


def normalise(text: str) -> str:
    """The text case-folded, each run of white space and punctuation (Unicode P*, and `) one space, none at
    the ends.

    The raw text where nothing else remains ("?!"). Symbols stay: C++ is not C, and an emoji is a text.
    """
    # Translating and splitting is 8 times as fast as a regular expression: 116,000 questions in 0.2 s.
    return " ".join(text.casefold().translate(_punctuation()).split()) or text


@cache
def _punctuation() -> dict[int, str]:
    codes = (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P"))
    return {**dict.fromkeys(codes, " "), ord("`"): " "}


def text_ids(texts: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """[n] ids of equal texts, dense and in order of first appearance, and the distinct texts by id."""
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    ids, distinct = pd.factorize(column)
    return ids.astype(np.int64), list(distinct)
