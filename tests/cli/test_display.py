"""What a search shows while it runs: the live table of a terminal, and the lines of a file."""

import io

import pytest
from rich.console import Console

from tune.cli.display import SearchDisplay
from tune.cli.progress import Progress, duration
from tune.events import Bought, Compared, Cost, Embedding, Message, SearchNamed, SearchStarted, TrialEvent, Working


def axes(dims: int) -> dict[str, object]:
    return {"base_model": "org/minilm", "dims": dims, "loss": "cosent", "learning_rate": 0.00123, "freeze": True}


def trial(name: str, status: str, auc: float | None = None, budget: float = 1.0, reason: str = "") -> TrialEvent:
    return TrialEvent(name, status, axes(int(name)), budget, auc, reason)


def screen(display: SearchDisplay, file: io.StringIO) -> list[str]:
    """Return the lines that the table has now."""
    file.truncate(0)
    file.seek(0)
    display.console.print(display)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_table(width: int) -> None:
    file = io.StringIO()
    display = SearchDisplay(Console(file=file, force_terminal=True, color_system=None, width=width, highlight=False))
    display.emit(Embedding("openai:small", 500, 2000, 250.0))
    assert screen(display, file) == ["openai:small: 500 of 2000 texts embedded, 250 texts/s, 6 s left"]
    display.emit(Compared(500, 2000, 250.0))
    assert screen(display, file) == ["near copies: 500 of 2,000 train texts searched, 250 texts/s, 6 s left"]
    display.emit(Working("reading pairs.parquet", "rows", 500, 2000, 250.0))
    assert screen(display, file) == ["reading pairs.parquet: 500 of 2,000 rows, 250 rows/s, 6 s left"]
    display.emit(Working("scoring test", "models", 1, 5, 0.5))
    assert screen(display, file) == ["scoring test: 1 of 5 models, 0.5 models/s, 8 s left"]
    display.emit(Message("openai:small: 2000 texts"))
    display.emit(Bought("openai:small", 0.5))
    display.emit(Bought("openai:large", 1.25))
    display.emit(SearchStarted(total=40, finished=4, jobs=2))
    assert screen(display, file) == ["waiting for the first trial, 0 s"]
    for number in range(10, 22):
        display.emit(trial(str(number), "stopped", auc=number / 100, budget=1 / 16))
    display.emit(trial("32", "done", auc=0.9123))
    display.emit(trial("33", "failed", reason="a learning rate without measure"))
    display.emit(trial("64", "running", auc=0.8, budget=0.25))
    display.emit(Cost(3, 421.4, usd=0.07))
    lines = screen(display, file)
    assert max(map(len, lines)) <= width
    shown = [line.split() for line in lines if "cosent" in line and "org" not in line]
    assert [row[:2] for row in shown[:2]] == [["64", "running"], ["32", "done"]], "running first, then the best"
    assert len([row for row in shown if row[1] in ("running", "done", "stopped", "failed")]) == 8
    text = " ".join(" ".join(lines).split())
    assert "trials 1 done, 12 stopped early, 1 failed, 1 running, of 36" in text
    assert "best AUC 0.9123 on validation: minilm, layer, 32 dims, cosent, learning rate 0.0012" in text
    assert "trials/min, about" in text and "left" in text
    paid = "421 container seconds paid (about 0.07 USD), about 1.75 USD of vectors bought"
    assert f"cost 3 containers running, {paid}" in text


def test_the_time_left_follows_from_ended_trials() -> None:
    now = [100.0]
    progress = Progress(lambda: now[0])
    now[0] = 130.0
    progress.start(SearchStarted(total=12, finished=2, jobs=2))
    progress.add(trial("1", "running", budget=0.0))
    now[0] = 160.0
    progress.add(trial("1", "running", auc=0.6, budget=0.5))
    assert progress.pace() is None and progress.seconds_left() is None, "nothing is known before the first has ended"
    assert progress.line() == (
        "trials: 0 done, 0 stopped early, 0 failed, 1 running, of 10, best validation AUC 0.6000 (1), 30 s"
    )
    now[0] = 190.0
    progress.add(trial("1", "done", auc=0.7))
    progress.add(trial("2", "stopped", auc=0.6))
    assert progress.pace() == 2.0 and progress.seconds_left() == 240.0
    assert progress.line().endswith("best validation AUC 0.7000 (1), 60 s, 2 trials/min, about 4 min left")
    for number in range(3, 11):
        progress.add(trial(str(number), "done"))
    assert progress.over and progress.seconds_left() is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7130, "119 min"), (7200, "2 h 0 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_quiet_shows_warnings_and_failures_alone() -> None:
    file = io.StringIO()
    display = SearchDisplay(Console(file=file, width=80), quiet=True)
    with display:
        display.emit(SearchNamed("tickets", "results/tickets"))
        display.emit(Message("split: train 80 pairs"))
        display.emit(Message("Warning: the labels look inverted"))
        display.emit(SearchStarted(total=2))
        display.emit(trial("1", "lost"))
        display.emit(trial("2", "failed", reason="too large"))
    assert file.getvalue().splitlines() == [
        "Warning: the labels look inverted",
        "trial 1: its worker died; resuming from its last state",
        "trial 2 failed: too large",
    ]
    assert (display.name, display.folder) == ("tickets", "results/tickets")
