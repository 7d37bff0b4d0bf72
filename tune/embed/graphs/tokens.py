"""The tokenizer of a graph as one tokenizer.json that the tokenizers package reads, and what it does not say."""

import math
from pathlib import Path
from typing import Any

from tune.embed.graphs.network import Chain
from tune.embed.graphs.refusal import NotAGraph


def write_tokenizer(chain: Chain, file: Path) -> dict[str, Any]:
    """Write the tokenizer of a chain, with its limit of tokens; return the entries of its side in embedtune.json.

    Raises NotAGraph if it is not one that the tokenizers package knows.
    """
    from tokenizers import Tokenizer

    first: Any = chain.modules[0]
    static = type(first).__name__ == "StaticEmbedding"
    backend = first.tokenizer if static else getattr(first.tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise NotAGraph("its tokenizer is written in Python, so it cannot be loaded without transformers")
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    limit = first.max_seq_length
    if not static and limit is not None and math.isfinite(limit) and limit < 10**9:
        side = getattr(first.tokenizer, "truncation_side", "right")
        tokenizer.enable_truncation(int(limit), strategy="longest_first", direction=side)
    tokenizer.save(str(file))
    cut = tokenizer.truncation
    return {
        "tokenizer": file.name,
        "prompt": chain.prompt,
        "special_tokens": not static,
        "pad": 0 if static else int(first.tokenizer.pad_token_id),
        "pad_type": 0 if static else int(first.tokenizer.pad_token_type_id),
        "padding_side": "right" if static else str(first.tokenizer.padding_side),
        "max_tokens": int(cut["max_length"]) if isinstance(cut, dict) else None,
    }
