"""What a person sees while a search runs, and at its end: plain lines, and a live table on a terminal."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tune.config.closed import provider_of
from tune.embed.adapted import is_adapted
from tune.embed.closed.prices import usd
from tune.events import Cost, Embedding, Event, Message, SearchStarted, TrialEvent
from tune.results.layout import ResultsFolder
from tune.results.leaderboard import read_leaderboard

_SHOWN_TRIALS = 8
_SHOWN_ROWS = 10
_QUIET_SECONDS = 5.0
_FILE_WIDTH = 160


def make_console(stderr: bool = False) -> Console:
    """A console on stdout (or stderr); where that is no terminal, wide enough for the tables."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    return console


class SearchDisplay:
    """Takes events. On a terminal a table is redrawn in place; elsewhere a line is printed every few seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or make_console()
        self.name = ""
        self._live: Live | None = None
        self._started: SearchStarted | None = None
        self._embedding: Embedding | None = None
        self._trials: dict[str, TrialEvent] = {}
        self._best: tuple[float, str] | None = None
        self._began = time.monotonic()
        self._last_line = 0.0
        self.extra = ""
        """The end of the status line: what the search costs, where it costs."""

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
        """How to ask the person at the terminal; None where there is none."""
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
        """Shows an event."""
        if isinstance(event, Message):
            self._embedding = None
            if event.text.startswith("results: "):
                self.name = event.text.rsplit("/", 1)[-1]
            self.console.print(event.text, markup=False)
        elif isinstance(event, Embedding):
            self._embedding = event
            self._line(self._embedding_text(), last=event.done >= event.total)
        elif isinstance(event, Cost):
            self.extra = f", {event.containers} containers at work, {event.seconds:.0f} container seconds paid"
        elif isinstance(event, SearchStarted):
            self._started = event
            self._began = time.monotonic()
            kept = f", {event.finished} of them finished before" if event.finished else ""
            self.console.print(f"search: {event.total} trials{kept}, {event.jobs} at a time")
        else:
            self._trial(event)

    def _trial(self, event: TrialEvent) -> None:
        if event.status == "lost":
            self.console.print(f"trial {event.trial}: its worker died; it goes on from its last state", markup=False)
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
            table = Table(box=None, pad_edge=False)
            for heading in (
                "trial",
                "status",
                "base model",
                "trains",
                "dims",
                "loss",
                "learning rate",
                "seen",
                "best AUC",
            ):
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
                    trained(axes.get("freeze", True), axes.get("train")),
                    _dims(axes),
                    axes["loss"],
                    f"{axes['learning_rate']:.2g}",
                    f"{trial.budget:.0%}",
                    "" if trial.best_auc is None else f"{trial.best_auc:.4f}",
                )
            parts += [table, Text(self._status())]
        return Group(*parts)


def trained(freeze: bool, train: str | None) -> str:
    """What a trial trains, in a word."""
    return "layer" if freeze else "LoRA" if train == "lora" else "whole"


def _dims(axes: dict[str, Any]) -> str:
    """The dims of a point; of a Matryoshka one all of them."""
    return ",".join("own" if dims is None else str(dims) for dims in (*axes.get("matryoshka", ()), axes["dims"]))


def short_name(base_model: str) -> str:
    """The last part of a hub name or path; a closed model's name as it is."""
    return base_model if provider_of(base_model) else base_model.rstrip("/").rsplit("/", 1)[-1]


def _as_it_is(base_model: str) -> str:
    return "closed" if provider_of(base_model) else "untouched"


def show_results(folder: ResultsFolder, console: Console | None = None) -> bool:
    """The leaderboard's head, the verdict, and where to look. False where no trial gave a model."""
    console = console or make_console()
    summary = json.loads(folder.summary.read_text())
    rows = read_leaderboard(folder.leaderboard)
    trials = [row for row in rows if row["status"] != "baseline" and row["val_auc"]]
    failed = [row for row in rows if row["status"] == "failed"]
    table = Table(title=f"{folder.name}: ranked by validation AUC", title_justify="left", box=None, pad_edge=False)
    headings = (
        "rank", "trial", "base model", "trains", "dims", "loss", "rate", "seen", "val AUC", "test AUC [95% interval]",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("rank", "dims", "seen") else "left", no_wrap=True)
    for row in [*trials[:_SHOWN_ROWS], *(row for row in rows if row["status"] == "baseline")]:
        table.add_row(
            row["rank"],
            row["trial"][:8] if row["rank"] else _as_it_is(row["base_model"]),
            short_name(row["base_model"]) + ("*" if row["note"] else ""),
            trained(row["freeze"] == "true", row["train"]) if row["rank"] else "",
            row["dims"],
            row["loss"],
            f"{float(row['learning_rate']):.2g}" if row["learning_rate"] else "",
            f"{float(row['budget']):.0%}" if row["budget"] else "",
            f"{float(row['val_auc']):.4f}" + ("" if _on_all_of_val(row, rows) else "~"),
            _interval(row),
        )
    console.print()
    console.print(table)
    if not all(_on_all_of_val(row, rows) for row in trials):
        console.print("~ on a part of validation (--eval-pairs); val_pairs in the leaderboard says how many")
    _show_notes(rows, console)
    if len(trials) > _SHOWN_ROWS:
        console.print(f"  ... and {len(trials) - _SHOWN_ROWS} more trials in the leaderboard")
    if failed:
        console.print(f"{len(failed)} trials failed, such as {failed[0]['trial']}: {failed[0]['error']}", markup=False)
    if summary.get("interrupted"):
        console.print(f"The search ended before its plan: {summary['interrupted']}.")
    console.print()
    if summary.get("verdict"):
        synthetic = " (synthetic data)" if summary["data"]["synthetic"] else ""
        sentence = summary["verdict"]["sentence"]
        console.print(f"Verdict{synthetic}: {sentence[0].upper()}{sentence[1:]}.", markup=False)
        for other in (summary.get("verdicts") or [])[1:]:
            console.print(f"{other[0].upper()}{other[1:]}.", markup=False)
        if summary.get("correction"):
            console.print(f"{summary['correction'][0].upper()}{summary['correction'][1:]}.", markup=False)
        console.print("The winner was fixed on validation; the test side was opened once, after that.")
        for entry in summary.get("comparisons") or []:
            if entry["kind"] == "frozen":
                console.print(f"Of what was trained: {entry['sentence']}.", markup=False)
    if not summary.get("winner"):
        console.print("No trial gave a model; the leaderboard says why. The test side was not opened.")
    console.print(f"leaderboard  {folder.leaderboard}", markup=False, soft_wrap=True)
    if folder.best.exists():
        loader = "AdaptedEmbedder.load" if is_adapted(folder.best) else "SentenceTransformer"
        console.print(
            f"best model   {folder.best}   {loader}({str(folder.best)!r})",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"TensorBoard  tensorboard --logdir {folder.experiment}", markup=False, soft_wrap=True)
    return bool(summary.get("winner"))


def _on_all_of_val(row: dict[str, str], rows: list[dict[str, str]]) -> bool:
    return not row["rank"] or int(row["val_pairs"]) == max(int(one["val_pairs"]) for one in rows if one["val_pairs"])


def _show_notes(rows: list[dict[str, str]], console: Console) -> None:
    for note in dict.fromkeys(f"* {short_name(row['base_model'])}: {row['note']}" for row in rows if row["note"]):
        console.print(note, markup=False)


def _interval(row: dict[str, str]) -> str:
    if not row["test_auc"]:
        return ""
    low, high = float(row["test_auc_low"]), float(row["test_auc_high"])
    return f"{float(row['test_auc']):.4f} [{low:.4f}, {high:.4f}]"


def show_baselines(folder: ResultsFolder, console: Console | None = None) -> None:
    """The table of base models as they are, and where it lies."""
    console = console or make_console()
    summary = json.loads(folder.summary.read_text())
    rows = read_leaderboard(folder.leaderboard)
    test, synthetic = summary["test"], " (synthetic data)" if summary["data"]["synthetic"] else ""
    title = f"{folder.name}{synthetic}: ordered by validation AUC"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    headings = (
        "base model", "dims", "test AUC [95% interval]", "accuracy", "precision", "recall", "hard AUC",
        "USD per M texts", "GB per M vectors",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "base model" or "[" in heading else "right")
    for row in rows:
        shares = (row[f"test_{name}"] for name in ("accuracy", "precision", "recall", "hard_auc_logistic"))
        table.add_row(
            short_name(row["base_model"]) + ("*" if row["note"] else ""),
            row["dims"],
            _interval(row),
            *(f"{float(share):.4f}" for share in shares),
            usd(float(row["usd_per_million_texts"])) if row["usd_per_million_texts"] else "",
            f"{float(row['bytes_per_million_vectors']) / 1e9:.3g}",
        )
    console.print()
    console.print(table)
    _show_notes(rows, console)
    console.print(
        f"On {test['pairs']} test pairs, with thresholds fitted on validation. hard AUC (hard_auc_logistic) is that of "
        "hard 0/1 predictions.",
        soft_wrap=True,
    )
    console.print(f"leaderboard  {folder.leaderboard}", markup=False, soft_wrap=True)


def show_presets(presets: Sequence[tuple[str, str, int, str]], console: Console | None = None) -> None:
    """Name, algorithm, number of trials and purpose of every preset."""
    table = Table(box=None, pad_edge=False)
    for heading in ("preset", "search", "trials", "what for"):
        table.add_column(heading, justify="right" if heading == "trials" else "left")
    for name, algorithm, trials, purpose in presets:
        table.add_row(name, algorithm, str(trials), purpose)
    (console or make_console()).print(table)


def show_score(result: dict[str, Any], console: Console | None = None) -> None:
    """The figures of `score`, a line each."""
    console = console or make_console()
    for name, value in result.items():
        if value is not None:
            console.print(
                f"{name:<18} {value:.6f}" if isinstance(value, float) else f"{name:<18} {value}", markup=False
            )
    if "threshold" not in result:
        console.print("No threshold is known: give one with --threshold for accuracy, precision and recall.")
