"""What turns texts into tokens, as a hash: equal weights with another tokenizer are another model."""

import hashlib
import json
from typing import Any


def tokenizer_hash(model: Any) -> str:
    """Return the hash of all tokenizers of a SentenceTransformer, in the order of its modules.

    Tokenizers that have no JSON form count by class, vocabulary and special tokens.
    """
    digest = hashlib.sha256()
    seen: set[int] = set()
    for module in model.modules():
        tokenizer = getattr(module, "tokenizer", None)
        if tokenizer is None or id(tokenizer) in seen:
            continue
        seen.add(id(tokenizer))
        digest.update(json.dumps(_facts(tokenizer), sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _facts(tokenizer: Any) -> Any:
    if hasattr(tokenizer, "to_str"):
        return json.loads(tokenizer.to_str())
    special = dict(getattr(tokenizer, "special_tokens_map", {}))
    sides = [getattr(tokenizer, name, None) for name in ("padding_side", "truncation_side")]
    if hasattr(tokenizer, "backend_tokenizer"):
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        # transformers sets these with every call, to the limit of tokens, which the fingerprint has from the model.
        del content["truncation"], content["padding"]
        return [content, special, sides]
    vocabulary = tokenizer.get_vocab() if callable(getattr(tokenizer, "get_vocab", None)) else None
    # sentence-transformers' own word tokenizers return a list.
    return [type(tokenizer).__name__, list(vocabulary) if isinstance(vocabulary, list) else vocabulary, special, sides]
