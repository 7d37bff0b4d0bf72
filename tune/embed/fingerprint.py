"""Fingerprints of sources: folder names that identify everything their vectors depend on."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any


def fingerprint(model: str, facts: Sequence[Any], *, ascii_only: bool = False) -> str:
    """Return SLUG-HASH: the model's name as at most 40 safe characters, and 16 hex digits of the hash of `facts`.

    facts: JSON values. ascii_only: replace letters outside ASCII in the slug too.
    """
    kept = "".join(c if c in "-_." or (c.isalnum() and (c.isascii() or not ascii_only)) else "-" for c in model)
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return f"{kept[-40:].lstrip('-.') or 'model'}-{digest}"
