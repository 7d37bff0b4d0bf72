"""Token estimates without a tokenizer (those of closed models are not available offline), and batches of texts.

Estimates are meant to be high, so that the bill does not exceed the price that was approved before buying.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

_HIGH = bytes(range(128, 256))
_WORDS = b" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Limits(Protocol):
    """The most texts and estimated tokens in one request."""

    @property
    def texts(self) -> int: ...

    @property
    def tokens(self) -> int: ...


def utf8(text: str) -> bytes:
    """Encode a text as it is sent: what UTF-8 cannot hold (half a surrogate pair) becomes a question mark."""
    return text.encode("utf-8", "replace")


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a byte-level or word-piece tokenizer splits the text into; at least 1.

    Counts a third of a token per ASCII letter or space (English has 4 to 5 letters per token), half a token per byte of
    other scripts (a Chinese character has 3 bytes and 1 to 1.5 tokens), and one per digit, sign or line break. High by
    a fifth to a half for ordinary text; random letters can have up to three times the estimate.
    """
    data = utf8(text)
    words = len(data) - len(data.translate(None, _WORDS))
    high = len(data) - len(data.translate(None, _HIGH))
    return max(1, math.ceil(words / 3 + high / 2) + len(data) - words - high)


def cut(text: str, tokens: int) -> str:
    """Return the longest prefix of the text with an estimate of at most `tokens`."""
    if estimate_tokens(text) <= tokens:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_tokens(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def batches(texts: Sequence[str], limits: Limits) -> Iterator[list[int]]:
    """Yield the positions of the texts, in order, in batches within the limits; a text above them goes alone.

    The limits are read for each batch, so they may change in between.
    """
    batch: list[int] = []
    held = 0
    for position, text in enumerate(texts):
        tokens = estimate_tokens(text)
        if batch and (len(batch) >= limits.texts or held + tokens > limits.tokens):
            yield batch
            batch, held = [], 0
        batch.append(position)
        held += tokens
    if batch:
        yield batch
