"""What a person sees while a search runs: plain lines, and a live table on a terminal."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tune.cli.tables import make_console
from tune.events import Cost, Embedding, Event, Message, SearchNamed, SearchStarted, TrialEvent
from tune.results.naming import short_name
from tune.train.kinds import kind_by_axes

_SHOWN_TRIALS = 8
_QUIET_SECONDS = 5.0


class SearchDisplay:
    """Shows events: on a terminal a table redrawn in place, elsewhere a line every few seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or make_console()
        self.name = ""
        self._live: Live | None = None
        self._started: SearchStarted | None = None
        self._embedding: Embedding | None = None
        self._trials: dict[str, TrialEvent] = {}
        self._lost: set[str] = set()
        self._best: tuple[float, str] | None = None
        self._began = time.monotonic()
        self._last_line = 0.0
        self.extra = ""
        """End of the status line: what a search on Modal has cost so far."""

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
            self.console.print(event.text, markup=False)
        elif isinstance(event, SearchNamed):
            self.name = event.name
            self.console.print(f"results: {event.folder}", markup=False)
        elif isinstance(event, Embedding):
            self._embedding = event
            self._line(self._embedding_text(), last=event.done >= event.total)
        elif isinstance(event, Cost):
            self.extra = f", {event.containers} containers at work, {event.seconds:.0f} container seconds paid"
        elif isinstance(event, SearchStarted):
            self._started = event
            self._began = time.monotonic()
            kept = f", {event.finished} already finished" if event.finished else ""
            self.console.print(f"search: {event.total} trials{kept}, {event.jobs} at a time")
        else:
            self._trial(event)

    def _trial(self, event: TrialEvent) -> None:
        if event.status == "lost" and event.trial not in self._lost:
            self._lost.add(event.trial)
            self.console.print(f"trial {event.trial}: its worker died; resuming from its last state", markup=False)
        if event.status == "failed":
            self.console.print(f"trial {event.trial} failed: {event.reason}", markup=False)
        self._trials[event.trial] = event
        if event.best_auc is not None and (self._best is None or event.best_auc > self._best[0]):
            self._best = (event.best_auc, event.trial)
        ended = self._count("done", "stopped", "failed")
        self._line(self._status(), last=self._started is not None and ended == self._left())

    def _left(self) -> int:
        return self._started.total - self._started.finished if self._started else 0

    def _line(self, text: str, last: bool = False) -> None:
        now = time.monotonic()
        if self._live is None and (last or now - self._last_line >= _QUIET_SECONDS):
            self._last_line = now
            self.console.print(text, markup=False)

    def _count(self, *statuses: str) -> int:
        return sum(trial.status in statuses for trial in self._trials.values())

    def _status(self) -> str:
        left = self._left()
        best = f", best validation AUC {self._best[0]:.4f} ({self._best[1]})" if self._best else ""
        return (
            f"trials: {self._count('done')} done, {self._count('stopped')} stopped early, "
            f"{self._count('failed')} failed, {self._count('running', 'lost')} running, of {left}{best}, "
            f"{time.monotonic() - self._began:.0f} s{self.extra}"
        )

    def _embedding_text(self) -> str:
        event = self._embedding
        if event is None:
            return ""
        left = (event.total - event.done) / event.per_second if event.per_second else 0.0
        return (
            f"{event.base_model}: {event.done} of {event.total} texts embedded, "
            f"{event.per_second:.0f} texts/s, {left:.0f} s left"
        )

    def __rich__(self) -> Group:
        parts: list[Any] = []
        if self._embedding is not None:
            parts.append(Text(self._embedding_text()))
        if self._started is not None and not self._trials:
            parts.append(Text(f"waiting for the first trial, {time.monotonic() - self._began:.0f} s"))
        if self._trials:
            parts += [self._table(), Text(self._status())]
        return Group(*parts)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        headings = (
            "trial", "status", "base model", "trains", "dims", "loss", "learning rate", "seen", "best AUC",
        )  # fmt: skip
        for heading in headings:
            table.add_column(heading, justify="right" if heading in ("dims", "seen", "best AUC") else "left")
        running = [trial for trial in self._trials.values() if trial.status in ("running", "lost")]
        others = [trial for trial in self._trials.values() if trial.status not in ("running", "lost")]
        others.sort(key=lambda trial: -(trial.best_auc or 0.0))
        for trial in [*running, *others][:_SHOWN_TRIALS]:
            axes = trial.axes
            table.add_row(
                trial.trial,
                trial.status,
                short_name(axes["base_model"]),
                kind_by_axes(axes.get("freeze", True), axes.get("train")).label,
                _dims(axes),
                axes["loss"],
                f"{axes['learning_rate']:.2g}",
                f"{trial.budget:.0%}",
                "" if trial.best_auc is None else f"{trial.best_auc:.4f}",
            )
        return table


def _dims(axes: dict[str, Any]) -> str:
    """Return the dims of a point; all of them for Matryoshka."""
    return ",".join("own" if dims is None else str(dims) for dims in (*axes.get("matryoshka", ()), axes["dims"]))
