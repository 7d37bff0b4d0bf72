"""Tokens of a text, estimated without a tokenizer (those of closed models are not at hand offline), and batches.

The estimate is meant to be high: a price that is asked for before buying should not be exceeded by the bill.
"""

import math
from collections.abc import Iterator, Sequence

from tune.embed.closed.names import RequestLimits

_HIGH = bytes(range(128, 256))
_WORDS = b" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def utf8(text: str) -> bytes:
    """The text as it is sent: what no UTF-8 can hold (half a surrogate pair) becomes a question mark."""
    return text.encode("utf-8", "replace")


def estimate_tokens(text: str) -> int:
    """About how many tokens a byte-level or word-piece tokenizer makes of the text; at least 1.

    A third of a token per ASCII letter or blank (English words have 4 to 5 letters to a token), half a token per byte
    of other scripts (3 bytes to a Chinese character of 1 to 1.5 tokens), one per digit, sign or line break. High by
    a fifth to a half for ordinary text; random letters can exceed it, up to three times.
    """
    data = utf8(text)
    words = len(data) - len(data.translate(None, _WORDS))
    high = len(data) - len(data.translate(None, _HIGH))
    return max(1, math.ceil(words / 3 + high / 2) + len(data) - words - high)


def cut(text: str, tokens: int) -> str:
    """The longest beginning of the text whose estimate is at most `tokens`."""
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


def batches(texts: Sequence[str], limits: RequestLimits) -> Iterator[list[int]]:
    """Positions of the texts, in order, in batches that a request may hold; a text above the limit goes alone."""
    batch: list[int] = []
    held = 0
    for position, text in enumerate(texts):
        tokens = estimate_tokens(text)
        if batch and (len(batch) == limits.texts or held + tokens > limits.tokens):
            yield batch
            batch, held = [], 0
        batch.append(position)
        held += tokens
    if batch:
        yield batch
