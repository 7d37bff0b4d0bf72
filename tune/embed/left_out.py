"""Pairs that are left out because a closed model found nothing in one of their texts: its vector is all zeros.

They are left out for all base models of a search, so that all are compared on the same pairs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tune.data.sides import LabelledPairs
from tune.embed.snapshot import TEXTS_PER_SHARD, Snapshot, text_key
from tune.errors import ModelError

MOST = 0.05
"""The largest share of a side's pairs that may be left out; with more, the model or its server is at fault."""


def text_id(text: str) -> str:
    """Return what identifies a text under any prompt, without showing it."""
    return text_key("", text).hex()


def texts_without_vector(snapshot: Snapshot, by_prompt: Mapping[str, list[str]]) -> list[str]:
    """Return the `text_id`s of the texts that have a vector of zeros under one of their prompts, sorted."""
    found = set()
    for prompt, texts in by_prompt.items():
        for start in range(0, len(texts), TEXTS_PER_SHARD):
            part = texts[start : start + TEXTS_PER_SHARD]
            some = snapshot.vectors([text_key(prompt, text) for text in part]).any(axis=1)
            found |= {text_id(part[at]) for at in np.flatnonzero(~some).tolist()}
    return sorted(found)


def without(sides: Mapping[str, LabelledPairs], ids: Iterable[str]) -> dict[str, LabelledPairs]:
    """Return the pairs of each side without those that have one of the texts."""
    gone = frozenset(ids)
    if not gone:
        return dict(sides)
    kept = {}
    for side, pairs in sides.items():
        texts = zip(pairs.text_a, pairs.text_b, strict=True)
        kept[side] = pairs.take(np.flatnonzero([gone.isdisjoint((text_id(a), text_id(b))) for a, b in texts]))
    return kept


@dataclass(frozen=True)
class LeftOut:
    """What was left out. models: the base models without a vector. pairs, of: those left out, and all, by side."""

    models: tuple[str, ...]
    texts: int
    first: str
    pairs: dict[str, int]
    of: dict[str, int]

    @classmethod
    def count(cls, sides: Mapping[str, LabelledPairs], by_model: Mapping[str, Iterable[str]]) -> "LeftOut | None":
        """Count what the texts without a vector, by base model, leave out of all pairs; None if nothing.

        Raises ModelError if it is more than MOST of a side.
        """
        gone = frozenset().union(*by_model.values())
        if not gone:
            return None
        texts = [text for pairs in sides.values() for column in (pairs.text_a, pairs.text_b) for text in column]
        kept = without(sides, gone)
        left = cls(
            tuple(name for name, ids in by_model.items() if list(ids)),
            len(gone),
            next(text for text in texts if text_id(text) in gone),
            {side: len(pairs) - len(kept[side]) for side, pairs in sides.items()},
            {side: len(pairs) for side, pairs in sides.items()},
        )
        for side, pairs in left.pairs.items():
            if pairs > MOST * left.of[side]:
                raise ModelError(
                    f"{left._what()}, which would leave out {pairs} of {left.of[side]} {side} pairs; check the server, "
                    "or leave these texts out of the data (all other vectors are kept)"
                )
        return left

    def _what(self) -> str:
        texts = "1 text" if self.texts == 1 else f"{self.texts} texts"
        first = "it begins" if self.texts == 1 else "the first begins"
        return f"base model {', '.join(self.models)}: vectors of zeros for {texts} ({first} {self.first[:40]!r})"

    def sentence(self) -> str:
        """Return the line that reports it."""
        counted = ", ".join(f"{side} {self.pairs[side]} of {self.of[side]}" for side in self.pairs)
        return f"{self._what()}; pairs left out, for all base models: {counted}"
