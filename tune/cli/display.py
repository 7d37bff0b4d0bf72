"""What a person sees while a search runs: plain lines, and a live table on a terminal."""

import heapq
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tune.cli.progress import Progress, configuration, dims_of, duration
from tune.cli.tables import make_console
from tune.events import (
    Bought,
    Compared,
    Cost,
    Embedding,
    Event,
    Mapped,
    Message,
    SearchNamed,
    SearchStarted,
    TrialEvent,
    Working,
)
from tune.results.naming import short_name
from tune.train.kinds import kind_by_axes

_SHOWN_TRIALS = 8
_QUIET_SECONDS = 5.0
_NARROW = 100
"""Columns below which the table leaves out what the line on the best trial says."""


class SearchDisplay:
    """Shows events: on a terminal a table redrawn in place, elsewhere a line every few seconds.

    quiet: show warnings and failures only. name, folder: of the search, once it has some.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or make_console()
        self.name = ""
        self.folder = ""
        self._quiet = quiet
        self._live: Live | None = None
        self._embedding: Embedding | Mapped | Compared | Working | None = None
        self._progress = Progress()
        self._lost: set[str] = set()
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self._quiet:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def asker(self) -> Callable[[str], bool] | None:
        """Return a way to ask the person at the terminal, or None if there is no terminal."""
        return self._ask if self.console.is_terminal and sys.stdin is not None and sys.stdin.isatty() else None

    def _ask(self, question: str) -> bool:
        if self._live is not None:
            # It would draw over the question.
            self._live.stop()
        try:
            self.console.print(question, end="", markup=False, soft_wrap=True)
            return sys.stdin.readline().strip().casefold() in ("y", "yes")
        finally:
            if self._live is not None:
                self._live.start(refresh=True)

    def emit(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Message):
            self._embedding = None
            self._say(event.text, warning=event.text.startswith("Warning"))
        elif isinstance(event, SearchNamed):
            self.name, self.folder = event.name, event.folder
            self._say(f"results: {event.folder}")
        elif isinstance(event, Embedding | Mapped | Compared | Working):
            self._embedding = event
            self._line(self._embedding_text(), last=event.done >= event.total)
        elif isinstance(event, Cost | Bought):
            self._progress.pay(event)
        elif isinstance(event, SearchStarted):
            self._progress.start(event)
            kept = f", {event.finished} already finished" if event.finished else ""
            self._say(f"search: {event.total} trials{kept}, {event.jobs} at a time")
        else:
            self._trial(event)

    def _trial(self, event: TrialEvent) -> None:
        if event.status == "lost" and event.trial not in self._lost:
            self._lost.add(event.trial)
            self._say(f"trial {event.trial}: its worker died; resuming from its last state", warning=True)
        if event.status == "failed":
            self._say(f"trial {event.trial} failed: {event.reason}", warning=True)
        self._progress.add(event)
        self._line(self._progress.line(), last=self._progress.over)

    def _say(self, text: str, warning: bool = False) -> None:
        if warning or not self._quiet:
            self.console.print(text, markup=False)

    def _line(self, text: str, last: bool = False) -> None:
        now = time.monotonic()
        if self._live is None and (last or now - self._last_line >= _QUIET_SECONDS):
            self._last_line = now
            self._say(text)

    def _embedding_text(self) -> str:
        event = self._embedding
        if event is None:
            return ""
        left = (event.total - event.done) / event.per_second if event.per_second else 0.0
        if isinstance(event, Mapped):
            return (
                f"{event.done:,} of {event.total:,} vectors mapped, {event.per_second:,.0f} vectors/s, "
                f"{duration(left)} left"
            )
        if isinstance(event, Compared):
            return (
                f"near copies: {event.done:,} of {event.total:,} train texts searched, "
                f"{event.per_second:,.0f} texts/s, {duration(left)} left"
            )
        if isinstance(event, Working):
            rate = f"{event.per_second:,.0f}" if event.per_second >= 1 else f"{event.per_second:.2g}"
            return (
                f"{event.what}: {event.done:,} of {event.total:,} {event.unit}, {rate} {event.unit}/s, "
                f"{duration(left)} left"
            )
        return (
            f"{event.base_model}: {event.done} of {event.total} texts embedded, "
            f"{event.per_second:.0f} texts/s, {duration(left)} left"
        )

    def __rich__(self) -> Group:
        progress, parts = self._progress, list[Any]()
        if self._embedding is not None:
            parts.append(Text(self._embedding_text()))
        if progress.started and not progress.trials:
            parts.append(Text(f"waiting for the first trial, {duration(progress.seconds)}"))
        if progress.trials:
            parts += [Text(), self._table(), Text(), self._facts()]
        return Group(*parts)

    def _facts(self) -> Table:
        """Return the lines below the trials: counts, the best trial, time and money."""
        progress, facts = self._progress, Table.grid(padding=(0, 2))
        facts.add_column(style="bold", no_wrap=True)
        facts.add_column()
        facts.add_row("trials", Text(progress.counts()))
        if (best := progress.best) is not None:
            facts.add_row("best", Text(f"AUC {best.best_auc:.4f} on validation: {configuration(best.axes)}"))
        facts.add_row("time", Text(progress.timing()))
        if money := progress.money():
            facts.add_row("cost", Text(money))
        return facts

    def _table(self) -> Table:
        wide = self.console.width >= _NARROW
        table = Table(box=None, pad_edge=False)
        headings = ["trial", "status", "base model", *(["trains"] if wide else []), "dims", "loss", "learning rate"]
        for heading in (*headings, "seen", "best AUC"):
            right = heading in ("dims", "learning rate", "seen", "best AUC")
            table.add_column(heading, justify="right" if right else "left", no_wrap=True)
        running = [trial for trial in self._progress.trials.values() if trial.status in ("running", "lost")]
        others = [trial for trial in self._progress.trials.values() if trial.status not in ("running", "lost")]
        best = heapq.nsmallest(_SHOWN_TRIALS, others, key=lambda trial: -(trial.best_auc or 0.0))
        for trial in [*running, *best][:_SHOWN_TRIALS]:
            axes = trial.axes
            kind = kind_by_axes(axes.get("freeze", True), axes.get("train"), axes.get("side")).label
            table.add_row(
                trial.trial[:8],
                Text(trial.status, style="red" if trial.status == "failed" else ""),
                Text(short_name(axes["base_model"]), overflow="ellipsis"),
                *([kind] if wide else []),
                dims_of(axes),
                axes["loss"],
                f"{axes['learning_rate']:.2g}",
                f"{trial.budget:.0%}",
                "" if trial.best_auc is None else f"{trial.best_auc:.4f}",
            )
        return table
