"""The words that pairs share: how much each pair's two texts overlap, and pairs that nearly repeat each other.

Words are those of the normalised texts (clean.normalise), so case and punctuation do not count.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tune.data.clean import normalise
from tune.data.numbered import text_ids

NEAR = 0.8
"""Share of common words from which two texts nearly repeat each other."""
_BANDS, _ROWS = 10, 4
"""Of the hash: pairs of pairs that share 80% of their words meet in some band with a probability of 99.5%."""
_OF_A_BUCKET = 20
"""Pairs of each label of a bucket that are compared: a bucket of boilerplate would take forever."""
_MOST_COMPARED = 200_000
"""Pairs of pairs that are compared word by word, which takes seconds."""

Terms = Literal["words", "characters"]


@dataclass(frozen=True)
class Near:
    """A positive and a negative pair that nearly repeat each other, by index. share: of common words, in both texts."""

    positive: int
    negative: int
    share: float


@dataclass(frozen=True, eq=False)
class Words:
    """The words of n pairs: a, b [n], ids of normalised texts; of_text: the words of each text, as sorted numbers.

    count: how many different words there are.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    of_text: list[NDArray[np.int64]]
    count: int

    @classmethod
    def of(cls, text_a: Sequence[str], text_b: Sequence[str], terms: Terms = "words") -> Self:
        """Split the texts. terms: "characters" takes pairs of adjacent characters, for texts without spaces."""
        ids, texts = text_ids([normalise(text) for text in chain(text_a, text_b)])
        split = [_characters(text) if terms == "characters" else text.split() for text in texts]
        sizes = np.fromiter(map(len, split), np.int64, len(split))
        numbers, words = pd.factorize(np.array([*chain.from_iterable(split), None], dtype=object)[:-1])
        of_text = [np.unique(part) for part in np.split(numbers.astype(np.int64), np.cumsum(sizes)[:-1])]
        return cls(ids[: len(text_a)], ids[len(text_a) :], of_text, len(words))

    def overlap(self) -> NDArray[np.float64]:
        """Return the Jaccard index of each pair's two texts, [n]: common words over all words of either."""
        known: dict[tuple[int, int], float] = {}
        return np.array([self._shared(a, b, known) for a, b in zip(self.a.tolist(), self.b.tolist(), strict=True)])

    def near(self, label: NDArray[np.int8]) -> list[Near]:
        """Return positive and negative pairs that nearly repeat each other, the most similar first.

        Both texts of one share at least NEAR of their words (Jaccard index) with those of the other, in either order.
        Found by MinHash (Broder 1997, "On the resemblance and containment of documents"), so a few may be missed; the
        number of comparisons is bounded.
        """
        positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
        known: dict[tuple[int, int], float] = {}
        found = []
        for one, other in self._candidates(positive, negative):
            share = self._alike(one, other, known)
            if share >= NEAR:
                found.append(Near(one, other, share))
        return sorted(found, key=lambda near: (-near.share, near.positive, near.negative))

    def _alike(self, one: int, other: int, known: dict[tuple[int, int], float]) -> float:
        """Return the share of common words of the less similar texts, in the better order."""
        (a, b), (c, d) = ((int(self.a[row]), int(self.b[row])) for row in (one, other))
        straight = self._shared(a, c, known)
        if straight >= NEAR:
            straight = min(straight, self._shared(b, d, known))
        crossed = self._shared(a, d, known)
        if crossed >= NEAR:
            crossed = min(crossed, self._shared(b, c, known))
        return max(straight, crossed)

    def _shared(self, one: int, other: int, known: dict[tuple[int, int], float]) -> float:
        if one == other:
            return 1.0
        key = (one, other) if one < other else (other, one)
        if key not in known:
            first, second = self.of_text[one], self.of_text[other]
            common = len(set(first.tolist()).intersection(second.tolist()))
            known[key] = common / max(len(first) + len(second) - common, 1)
        return known[key]

    def _candidates(self, positive: NDArray[np.int64], negative: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
        """Return (positive, negative) pairs that are worth comparing, those that meet in most bands first."""
        keys = self._band_keys()
        met = []
        for band in range(_BANDS):
            sides = [
                pd.DataFrame({"key": keys[band, rows], name: rows}).groupby("key").head(_OF_A_BUCKET)
                for name, rows in (("one", positive), ("other", negative))
            ]
            met.append(sides[0].merge(sides[1], on="key")[["one", "other"]])
        counts = pd.concat(met).value_counts(sort=False).sort_values(ascending=False, kind="stable")
        return [(int(one), int(other)) for one, other in counts.index[:_MOST_COMPARED]]

    def _band_keys(self) -> NDArray[np.uint64]:
        """Return a key per band and pair, [_BANDS, n], equal for pairs whose smallest hashes of words are equal."""
        size = np.array([len(words) for words in self.of_text], dtype=np.int64)
        flat = np.concatenate([*self.of_text, np.zeros(1, np.int64)])
        start = np.concatenate([[0], np.cumsum(size)[:-1]]) if len(size) else np.zeros(0, np.int64)
        numbers = np.arange(self.count + 1, dtype=np.uint64)
        keys = np.zeros((_BANDS, len(self.a)), dtype=np.uint64)
        for band in range(_BANDS):
            for row in range(_ROWS):
                hashed = _mixed(numbers + np.uint64((band * _ROWS + row + 1) << 40))
                smallest = np.minimum.reduceat(hashed[flat], start)
                keys[band] = _mixed(keys[band] ^ np.minimum(smallest[self.a], smallest[self.b]))
        return keys


def _characters(text: str) -> list[str]:
    plain = "".join(text.split())
    return [plain[at : at + 2] for at in range(len(plain) - 1)] or [plain]


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return well-spread hashes of whole numbers: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
