"""TF-IDF: cosines of word counts, the bar that any embedding model should clear.

Fitted on texts alone: no label and no weights take part, and the same texts give the same cosines.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

TFIDF = "tf-idf"
"""Its name, where a base model's would stand."""

MOST_TEXTS = 250_000
MOST_CHARACTERS = {"words": 20_000_000, "characters": 4_000_000}
"""Fit on a sample of at most this many texts, with at most this many characters. The fit then takes seconds and a few
hundred MB, however many pairs there are, and only the rarest terms are missed."""

_UNSPACED = 1 / 20
"""Fewer white spaces per character mean texts that do not mark words. English has about 1 in 6, Finnish 1 in 8, Thai
1 in 30, Chinese and Japanese almost none."""
_CHUNK = 4_000
"""Texts whose terms are counted at once, and pairs whose vectors are in memory at once."""

Terms = Literal["words", "characters"]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Tfidf:
    """A fitted TF-IDF. terms: what is counted. texts: how many distinct texts it was fitted on.

    The numbers are those of scikit-learn's TfidfVectorizer to the last bit, which spends most of its time text by text.
    """

    terms: Terms
    texts: int
    _numbers: dict[str, int]
    """By term; in the order of the terms."""
    _weights: NDArray[np.float64]
    """Inverse document frequency by number."""

    @classmethod
    def fit(cls, texts: Iterable[str], seed: int = 0) -> Self:
        """Fit IDF on the distinct texts, or on a seeded sample of them (see MOST_TEXTS). Raises ValueError without any.

        Terms are lower-cased words; where texts are written without spaces, characters and pairs of adjacent
        characters, as search engines do for Chinese and Japanese. Term frequencies are sublinear: 1 + log(count).
        """
        drawn = _drawn(texts, seed)
        if not drawn:
            raise ValueError("no texts to fit TF-IDF on")
        sample = _beginning(drawn, MOST_CHARACTERS["words"])
        if not _unspaced(sample) and any(map(_words, sample)):
            return cls("words", len(sample), *_fitted(sample, _words))
        sample = _beginning(sample, MOST_CHARACTERS["characters"])
        return cls("characters", len(sample), *_fitted(sample, _characters))

    @property
    def note(self) -> str:
        """How it was made, in a few words."""
        terms = "words" if self.terms == "words" else "characters and pairs of characters (the texts have few spaces)"
        return f"cosine of counted {terms}, weighted by {self.texts:,} train texts, without labels"

    def cosine(self, text_a: Sequence[str], text_b: Sequence[str]) -> NDArray[np.float64]:
        """Return the cosine similarity of text_a[i] and text_b[i], float64 [n] in [0, 1].

        0 where a text has no known term. Rounded to float32, so that pairs of the same terms tie.
        """
        scores = np.zeros(len(text_a), np.float32)
        for start in range(0, len(text_a), _CHUNK):
            part = slice(start, start + _CHUNK)
            (a, of_a), (b, of_b) = (self._vectors(texts[part]) for texts in (text_a, text_b))
            both, in_a, in_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
            text = both // len(self._weights)
            first = np.flatnonzero(np.diff(text, prepend=-1))
            if len(first):
                scores[start + text[first]] = np.add.reduceat(of_a[in_a] * of_b[in_b], first)
        return np.minimum(scores, 1).astype(np.float64)

    def _vectors(self, texts: Sequence[str]) -> tuple[Ids, NDArray[np.float64]]:
        """Return where the texts' unit vectors are not 0, ascending: text * terms + term; and their values there."""
        text, terms = _terms(texts, _words if self.terms == "words" else _characters)
        number = np.fromiter(map(self._numbers.get, terms, repeat(-1)), np.int64, len(text))
        known = number >= 0
        size = len(self._weights)
        cell, count = np.unique(text[known] * size + number[known], return_counts=True)
        value = (np.log(count.astype(np.float64)) + 1.0) * self._weights[cell % size]
        row = cell // size
        length = np.sqrt(np.bincount(row, weights=value * value, minlength=len(texts)))
        return cell, value / length[row]


def _fitted(texts: Sequence[str], terms_of: Callable[[str], list[str]]) -> tuple[dict[str, int], NDArray[np.float64]]:
    """Return a number per term, in the order of the terms, and the inverse document frequencies by number."""
    seen: dict[str, int] = {}
    texts_with: list[NDArray[np.int64]] = []
    for start in range(0, len(texts), _CHUNK):
        text, terms = _terms(texts[start : start + _CHUNK], terms_of)
        for term in terms:
            if term not in seen:
                seen[term] = len(seen)
        number = np.fromiter(map(seen.__getitem__, terms), np.int64, len(text))
        texts_with.append(np.unique(text * len(seen) + number) % len(seen))
    frequency = np.bincount(np.concatenate(texts_with), minlength=len(seen)).astype(np.float64)
    ordered = sorted(seen)
    place = np.fromiter(map(seen.__getitem__, ordered), np.int64, len(ordered))
    weights = np.log((len(texts) + 1) / (frequency[place] + 1.0)) + 1.0
    return {term: number for number, term in enumerate(ordered)}, weights


def _terms(texts: Sequence[str], terms_of: Callable[[str], list[str]]) -> tuple[Ids, list[str]]:
    """Return the terms of all texts, one after the other, and the place of each one's text, [terms]."""
    found = [terms_of(text) for text in texts]
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    return np.repeat(np.arange(len(found)), lengths), list(chain.from_iterable(found))


_word, _spaces = re.compile(r"\w+").findall, re.compile(r"\s\s+")


def _words(text: str) -> list[str]:
    return _word(text.lower())


def _characters(text: str) -> list[str]:
    plain = _spaces.sub(" ", text.lower())
    return [*plain, *map("".join, pairwise(plain))]


def _drawn(texts: Iterable[str], seed: int) -> list[str]:
    """Return at most MOST_TEXTS of the distinct texts in a seeded order, whatever the order of the rows."""
    distinct = sorted(set(texts))
    order = np.random.default_rng(seed).permutation(len(distinct))[:MOST_TEXTS]
    return [distinct[at] for at in order.tolist()]


def _beginning(texts: list[str], characters: int) -> list[str]:
    """Return the first texts, one at least, with at most this many characters."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    return texts[: max(int(np.searchsorted(ends, characters, side="right")), 1)]


def _unspaced(texts: Sequence[str]) -> bool:
    spaces = sum(len(text.split()) - 1 for text in texts)
    return spaces < _UNSPACED * sum(map(len, texts))
