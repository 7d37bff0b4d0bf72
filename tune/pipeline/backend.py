"""Where a search runs: the port, with one class per place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.config.search import SearchConfig
from tune.embed.orders import EmbedOrder
from tune.embed.prepare import PreparedBase
from tune.embed.purchase import Agree
from tune.events import Emit
from tune.results.layout import ResultsFolder


@dataclass(frozen=True)
class Backend:
    """Where a search runs. The local one is `tune.pipeline.local`; the cloud brings its own.

    jobs: trials at the same time where the configuration does not say. search: (config, folder, bases, jobs, emit) ->
    why it was interrupted, or "". embed: (orders, cache, emit) -> the base models, in the same order; None: here, in
    turn. kept: called whenever a phase has ended. facts: what the place has to add to the summary. agree: has what
    closed models cost agreed to, before anything is made; None: that was done elsewhere.
    """

    jobs: int
    search: Callable[[SearchConfig, ResultsFolder, dict[str, PreparedBase], int, Emit], str]
    embed: Callable[[Sequence[EmbedOrder], Path, Emit], list[PreparedBase]] | None = None
    kept: Callable[[], None] = lambda: None
    facts: Callable[[], dict[str, Any]] = dict
    agree: Agree | None = None
