"""Run: one run of a command over pairs, and what all of its phases share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tune.config.search import SearchConfig
from tune.data.guards import Guard
from tune.data.sides import SIDES, LabelledPairs
from tune.data.split import Split, labelled_sides
from tune.embed.left_out import without
from tune.embed.prepare import PreparedBase
from tune.events import Emit, Message
from tune.pipeline.backend import Backend
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary
from tune.train.trained import Models


@dataclass(frozen=True)
class Run:
    """Handed from phase to phase. facts: what the summary says about the data; phases add to it.

    guards: pairs that are scored beside those of the split; see `tune.pipeline.guard`.
    """

    config: SearchConfig
    folder: ResultsFolder
    split: Split
    facts: dict[str, Any]
    summary: Summary
    clock: Clock
    emit: Emit
    backend: Backend
    guards: Sequence[Guard] = ()

    @property
    def cache(self) -> Path:
        """The directory of embedded texts."""
        return self.config.search.cache.expanduser()

    def say(self, text: str) -> None:
        """Emit a line for people."""
        self.emit(Message(text))

    def sides(self, bases: dict[str, PreparedBase]) -> dict[str, LabelledPairs]:
        """Return the pairs of each side, train in its seeded order, without those that a base model has no vector for.

        These are the pairs of the base models' views, and of test.
        """
        return without(self._sides, _without_vector(bases))

    @cached_property
    def _sides(self) -> dict[str, LabelledPairs]:
        # Every phase asks for them, and train is sorted by the hash of each row.
        return labelled_sides(self.split, self.config.search.seed)

    def left_out(self, bases: dict[str, PreparedBase]) -> dict[str, Any]:
        """Return the number of texts that a base model has no vector for, and of pairs left out by side; {} if none."""
        texts = _without_vector(bases)
        kept = {side: len(pairs) for side, pairs in self.sides(bases).items()}
        pairs = {side: int((self.split.side == side).sum()) - kept[side] for side in SIDES}
        return {"texts": len(texts), "pairs": pairs} if texts else {}

    def models(self, bases: dict[str, PreparedBase]) -> Models:
        """Return the models of trials on these base models."""
        config = self.config
        return Models(bases, self.cache, config.data.max_length, config.search.trust_remote_code)


def _without_vector(bases: dict[str, PreparedBase]) -> set[str]:
    return {text for base in bases.values() for text in base.left_out}
