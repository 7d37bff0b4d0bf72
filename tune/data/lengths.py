"""Lengths of texts, in words and characters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tune.data.numbered import text_ids

_MOST = 200_000
"""Distinct texts that are measured, evenly spread over all: enough for any quantile, and a second of work."""


def text_lengths(text_a: Sequence[str], text_b: Sequence[str]) -> dict[str, Any]:
    """Return plain values: `texts` (distinct ones measured), and for `words` and `characters` what `spread` returns.

    Words are divided by white space.
    """
    _, texts = text_ids(text_a, text_b)
    texts = texts[:: -(-len(texts) // _MOST)] if texts else []
    return {
        "texts": len(texts),
        "words": spread([len(text.split()) for text in texts]),
        "characters": spread([len(text) for text in texts]),
    }


def spread(lengths: ArrayLike) -> dict[str, int]:
    """Return the median, the 95th percentile (p95) and the longest of some lengths [n]; {} if there are none."""
    values = np.asarray(lengths, dtype=np.int64)
    if not len(values):
        return {}
    median, p95 = np.quantile(values, (0.5, 0.95), method="inverted_cdf")
    return {"median": int(median), "p95": int(p95), "longest": int(values.max())}
