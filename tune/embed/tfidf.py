"""TF-IDF: cosines of word counts, the bar that any embedding model should clear.

Fitted on texts alone: no label and no weights take part, and the same texts give the same cosines.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

TFIDF = "tf-idf"
"""Its name, where a base model's would stand."""

MOST_TEXTS = 250_000
MOST_CHARACTERS = {"words": 20_000_000, "characters": 4_000_000}
"""Fit on a sample of at most this many texts, with at most this many characters. The fit then takes seconds and a few
hundred MB, however many pairs there are, and only the rarest terms are missed."""

_UNSPACED = 1 / 20
"""Fewer white spaces per character mean texts that do not mark words. English has about 1 in 6, Finnish 1 in 8, Thai
1 in 30, Chinese and Japanese almost none."""
_CHUNK = 2_000
"""Pairs whose vectors are in memory at once."""


@dataclass(frozen=True)
class Tfidf:
    """A fitted TF-IDF. terms: what is counted. texts: how many distinct texts it was fitted on."""

    terms: Literal["words", "characters"]
    texts: int
    _vectorizer: "TfidfVectorizer"

    @classmethod
    def fit(cls, texts: Iterable[str], seed: int = 0) -> Self:
        """Fit IDF on the distinct texts, or on a seeded sample of them (see MOST_TEXTS). Raises ValueError without any.

        Terms are lower-cased words; where texts are written without spaces, characters and pairs of adjacent
        characters, as search engines do for Chinese and Japanese. Term frequencies are sublinear: 1 + log(count).
        """
        # Late: scikit-learn takes a second to import, and the terminal and reports want only the name above.
        from sklearn.feature_extraction.text import TfidfVectorizer

        drawn = _drawn(texts, seed)
        if not drawn:
            raise ValueError("no texts to fit TF-IDF on")
        words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
        sample = _beginning(drawn, MOST_CHARACTERS["words"])
        if not _unspaced(sample) and any(map(words.build_tokenizer(), sample)):
            return cls("words", len(sample), words.fit(sample))
        sample = _beginning(sample, MOST_CHARACTERS["characters"])
        characters = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)
        return cls("characters", len(sample), characters.fit(sample))

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
            a, b = (self._vectorizer.transform(texts[part]) for texts in (text_a, text_b))
            scores[part] = np.asarray(a.multiply(b).sum(axis=1)).ravel()
        return np.minimum(scores, 1).astype(np.float64)


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
