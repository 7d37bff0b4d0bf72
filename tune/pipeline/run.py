"""Run: one run of a command over pairs, and what all of its phases share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.config.search import SearchConfig
from tune.data.split import Split
from tune.embed.prepare import PreparedBase
from tune.events import Emit, Message
from tune.pipeline.backend import Backend
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary
from tune.train.trained import Models


@dataclass(frozen=True)
class Run:
    """Handed from phase to phase. facts: what the summary says about the data; phases add to it."""

    config: SearchConfig
    folder: ResultsFolder
    split: Split
    facts: dict[str, Any]
    summary: Summary
    clock: Clock
    emit: Emit
    backend: Backend

    @property
    def cache(self) -> Path:
        """The directory of embedded texts."""
        return self.config.search.cache.expanduser()

    def say(self, text: str) -> None:
        """Emit a line for people."""
        self.emit(Message(text))

    def models(self, bases: dict[str, PreparedBase]) -> Models:
        """Return the models of trials on these base models."""
        return Models(bases, self.cache, self.config.data.max_length)
