"""Drop rows that would mislead a search, count every reason, and decide when two texts are the same.

Reads and writes nothing; the remaining rows keep their order.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tune.data._arrow_texts import Ids, digests, encoded, ids_of_digests, normalised
from tune.data._label_values import UNLABELLED
from tune.data.numbered import NumberedTexts, text_ids
from tune.data.pairs import Pairs, require_both_classes
from tune.data.sides import SIDES
from tune.events import Emit, Progress, ignore, working

_INVISIBLE = dict.fromkeys([
    *map(ord, "\u00ad\u180e\u200b\u200c\u200d\u2060\ufeff"),  # soft hyphen, zero-width spaces, joiners, byte order mark
    *range(0x2061, 0x2065),  # invisible operators
    0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # marks of the direction of writing
    0xFE0E, 0xFE0F,  # whether an emoji is drawn as a symbol or in colour
])  # fmt: skip
"""What cannot be seen, or changes no more than how a character is drawn."""

_KEEP_FIRST = {side: rank for rank, side in enumerate(reversed(SIDES))}
"""Of a pair on several sides, the row on test is kept, else on val, else on train."""


_TEXTS_AT_ONCE = 1 << 16


def clean_pairs(pairs: Pairs, emit: Emit = ignore) -> tuple[Pairs, dict[str, int]]:
    """Return the rows to search on, in order, and how many rows were dropped for each reason.

    Two texts are equal if they differ only in how Unicode writes them (`canonical`). A row is counted under the first
    reason that applies: `unlabelled`; with graded scores, `unscored`; `empty` (nothing in a text can be seen);
    `contradicting` (the unordered pair of texts has both labels: all its rows are dropped); `identical_dropped` (both
    texts equal, label 0); `repeated` (the unordered pair occurs before; with a given split, test goes before val and
    val before train). `read` = `kept` + these. Beside them, `identical_kept` counts kept rows with equal texts (label
    1) and, with graded scores, `other_score` the repeated rows with another score than the row that is kept. Raises
    DataError if no rows or only one class remain.
    """
    n = len(pairs)
    counts = {"read": n}
    keep = np.ones(n, dtype=bool)

    def drop(reason: str, rows: NDArray[np.bool_]) -> None:
        counts[reason] = int((keep & rows).sum())
        keep[rows] = False

    drop("unlabelled", pairs.label == UNLABELLED)
    if pairs.score is not None:
        drop("unscored", np.isnan(pairs.score))
    raw, distinct = text_ids(pairs.text_a, pairs.text_b)
    texts = _canonical(distinct, working(emit, "cleaning", "texts"))
    empty = np.array([not text.strip() for text in texts], dtype=bool)[raw]
    drop("empty", empty[:n] | empty[n:])

    text = _first_equal(texts, distinct)[raw]
    low, high = np.minimum(text[:n], text[n:]), np.maximum(text[:n], text[n:])
    pair = pd.factorize(low * np.int64(2 * n) + high)[0]
    seen = np.zeros((2, n), dtype=bool)
    for label in (0, 1):
        seen[label, pair[keep & (pairs.label == label)]] = True
    drop("contradicting", (seen[0] & seen[1])[pair])
    drop("identical_dropped", (low == high) & (pairs.label == 0))

    rows = np.flatnonzero(keep)
    first = _first_of_pair(rows, pair, pairs.side)
    repeated = np.zeros(n, dtype=bool)
    repeated[rows[rows != first]] = True
    drop("repeated", repeated)
    counts["kept"] = int(keep.sum())
    counts["identical_kept"] = int((keep & (low == high)).sum())
    if pairs.score is not None:
        counts["other_score"] = int((pairs.score[rows] != pairs.score[first]).sum())

    numbered = replace(pairs, text_a=NumberedTexts(raw[:n], distinct), text_b=NumberedTexts(raw[n:], distinct))
    cleaned = numbered if keep.all() else numbered.take(np.flatnonzero(keep))
    require_both_classes(cleaned.label, f"{pairs.source} (after cleaning)")
    return cleaned, counts


def _canonical(texts: list[str], progress: Progress) -> list[str]:
    found: list[str] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = texts[start : start + _TEXTS_AT_ONCE]
        found += [text if text.isascii() else canonical(text) for text in part]
        progress(len(found), len(texts))
    return found


def _first_equal(texts: list[str], distinct: list[str]) -> NDArray[np.int64]:
    """Return for each canonical text the position of the first that equals it, [n]. distinct: the same as read."""
    first = np.arange(len(texts))
    # Texts that stayed as they were are distinct already, so only what equals a changed one needs a look.
    changed = {text for text, read in zip(texts, distinct, strict=True) if text is not read and text != read}
    found: dict[str, int] = {}
    for place, text in enumerate(texts) if changed else ():
        if text in changed:
            first[place] = found.setdefault(text, place)
    return first


def _first_of_pair(rows: NDArray[np.int64], pair: NDArray[np.int64], side: list[str] | None) -> NDArray[np.int64]:
    """Return for each of these rows the one row of the same pair that is kept. pair: [n], by row of the source."""
    if side is not None:  # stable: within a side the first row stays first
        order = np.argsort([_KEEP_FIRST[side[i]] for i in rows], kind="stable")
    else:
        order = np.arange(len(rows))
    _, first, number = np.unique(pair[rows[order]], return_index=True, return_inverse=True)
    found = np.empty_like(rows)
    found[order] = rows[order][first][number]
    return found


def canonical(text: str) -> str:
    """Return the text in one of the ways in which Unicode can write it: NFKC, without what cannot be seen.

    Composed and decomposed accents, full-width and half-width forms are then equal; zero-width characters and soft
    hyphens are gone. Only for comparing: what is embedded is the text as it was read.
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_INVISIBLE)


def normalise(text: str) -> str:
    """Return the canonical text case-folded, with runs of white space and punctuation as one space, stripped.

    Punctuation is Unicode P*, and `. Returns the raw text if nothing remains ("?!"). Symbols stay: C++ is not C, and an
    emoji is a text.
    """
    # Bytes are translated several times as fast as text, and most texts are ASCII.
    if text.isascii():
        words = text.encode().translate(_ascii_table()).decode()
    else:
        words = canonical(text).casefold().translate(_punctuation)
    return " ".join(words.split()) or text


class _Table(dict[int, int | str]):
    """What becomes of each character in `str.translate`: punctuation is a space. Filled in as characters occur, since
    to look at all of Unicode takes a quarter of a second.
    """

    def __missing__(self, code: int) -> int | str:
        character = chr(code)
        punctuation = character == "`" or unicodedata.category(character).startswith("P")
        found: int | str = " " if punctuation else code
        self[code] = found
        return found


_punctuation = _Table()


@cache
def _ascii_table() -> bytes:
    """Return what each byte becomes: letters are case-folded, and punctuation is a space."""
    table = "".join(map(chr, range(128))).casefold().translate(_punctuation).encode()
    return table + bytes(range(128, 256))


def normalised_ids(*columns: Sequence[str], progress: Progress | None = None) -> tuple[Ids, NDArray[np.uint8]]:
    """Return an id per text of all columns, one after the other, [n], equal for equal normalised texts, dense and in
    order of first appearance; and the sha256 of the normalised texts by id, [ids, 32]. Each text is normalised once.
    """
    ids, distinct = text_ids(*columns)
    names = normalised(pa.array(distinct, pa.large_string()), normalise, _ascii_table(), progress)
    found = digests(encoded(names))
    again, first = ids_of_digests(found)
    return again[ids], found[first]
