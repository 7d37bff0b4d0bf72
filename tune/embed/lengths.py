"""Lengths of texts in tokens, by a base model's own tokenizer; without its weights where a package brings the file."""

import importlib.resources
import importlib.util
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.base_models import PACKAGED
from tune.embed.routes import first_modules, has_routes, split_route

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CHUNK = 4096
_USUAL_LIMIT = 256
USUAL = "minilm"
"""Its tokenizer is that of most small English models (WordPiece, BERT's vocabulary)."""


@dataclass(frozen=True, eq=False)
class TokenLengths:
    """Tokens of each text, [n], with the tokens that a model adds. limit: tokens from which texts are cut, or None."""

    tokens: NDArray[np.int64]
    limit: int | None

    @property
    def cut(self) -> int:
        """How many of the texts are longer than the limit."""
        return 0 if self.limit is None else int((self.tokens > self.limit).sum())


class TokenCounter:
    """Counts the tokens that a SentenceTransformer reads of each text; keeps its own copy of the tokenizer."""

    def __init__(self, tokenizer: "Tokenizer", limit: int | None, routed: bool) -> None:
        self._tokenizer, self._limit, self._routed = tokenizer, limit, routed

    @classmethod
    def of(cls, model: Any) -> "TokenCounter | None":
        """Return the counter of a model; None if its tokenizer has no form that counts without cutting."""
        module = first_modules(model)[0]
        tokenizer = _uncut(getattr(module, "tokenizer", None))
        return None if tokenizer is None else cls(tokenizer, _limit(module), has_routes(model))

    def count(self, texts: Sequence[str], prompt: str = "") -> list[int]:
        """Return the tokens of each text, with prompt and special tokens, at most the model's limit."""
        before = split_route(prompt, self._routed)[1]
        tokens = _counts(self._tokenizer, [before + text for text in texts])
        counts: list[int] = (tokens if self._limit is None else np.minimum(tokens, self._limit)).tolist()
        return counts


def lengths_by_model(model: Any, by_prompt: Iterable[tuple[str, Sequence[str]]]) -> TokenLengths | None:
    """Return the lengths of texts under their prompts, as a SentenceTransformer reads them.

    None if its tokenizer has no form that counts without cutting.
    """
    module = first_modules(model)[0]
    tokenizer = _uncut(getattr(module, "tokenizer", None))
    if tokenizer is None:
        return None
    routed = has_routes(model)
    texts = [split_route(prompt, routed)[1] + text for prompt, some in by_prompt for text in some]
    return TokenLengths(_counts(tokenizer, texts), _limit(module))


def usual_lengths(texts: Sequence[str], max_length: int | None = None) -> TokenLengths | None:
    """Return the lengths by the tokenizer of USUAL, cut at its own 256 tokens; None if its package is not installed."""
    if importlib.util.find_spec(PACKAGED[USUAL]) is None:
        return None
    from tokenizers import Tokenizer

    file = importlib.resources.files(PACKAGED[USUAL]) / "model" / "tokenizer.json"
    with importlib.resources.as_file(file) as path:
        tokenizer = _uncut(Tokenizer.from_file(str(path)))
    assert tokenizer is not None
    return TokenLengths(_counts(tokenizer, texts), min(max_length or _USUAL_LIMIT, _USUAL_LIMIT))


def _uncut(tokenizer: Any) -> "Tokenizer | None":
    """Return a copy of a tokenizer that neither cuts nor pads; None if it is of another kind."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return None
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _counts(tokenizer: "Tokenizer", texts: Sequence[str]) -> NDArray[np.int64]:
    counts: list[int] = []
    for start in range(0, len(texts), _CHUNK):
        counts += map(len, tokenizer.encode_batch_fast(list(texts[start : start + _CHUNK])))
    return np.array(counts, dtype=np.int64)


def _limit(module: Any) -> int | None:
    """Return the tokens at which a model cuts texts."""
    limit = getattr(module, "max_seq_length", None)
    if limit is not None and not math.isinf(limit):
        return int(limit)
    # Static vectors have no limit, but --max-length makes their tokenizer cut.
    cut = getattr(getattr(module, "tokenizer", None), "truncation", None)
    return int(cut["max_length"]) if cut else None
