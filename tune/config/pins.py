"""Pinned base models: `NAME@REVISION`, a hub model at a commit, tag or branch. Names alone; nothing is looked up.

Closed models (`openai:MODEL@DIMS`) and paths are not pinned, whatever they contain.
"""

import re

from tune.config.closed import provider_of

_PINNED = re.compile(r"([A-Za-z0-9][\w.-]*(?:/[\w.-]+)?)@(.*)", flags=re.S)
"""The hub allows no @ in names, so the first one ends the name; branches may contain a slash."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHOWN = 7
"""Digits of a commit in tables."""


def split_pin(base_model: str) -> tuple[str, str | None]:
    """Return a base model's name and its revision, None if it is not pinned. A revision may be "" (`NAME@`)."""
    found = None if provider_of(base_model) else _PINNED.fullmatch(base_model)
    return (base_model, None) if found is None else (found[1], found[2])


def short_pin(revision: str) -> str:
    """Return a revision as tables show it: a commit by its first digits, a tag or branch whole."""
    return revision[:_SHOWN] if _COMMIT.fullmatch(revision) else revision
