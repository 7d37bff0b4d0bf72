"""Run commands as a user does, in a separate process with a time limit, and read what a search leaves behind."""

import contextlib
import csv
import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tune.cli.main import main

TIMEOUT = 180


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """Return an environment that is offline and has a fixed terminal width."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def words(arguments: Sequence[object]) -> list[str]:
    """Return the words of a command. A search writes no report unless it says so, which saves seconds each."""
    typed = [str(argument) for argument in arguments]
    without = typed[:1] == ["search"] and "--report" not in typed
    return [*typed, "--report", "false"] if without else typed


def tune(*arguments: object, cwd: Path | None = None) -> Ran:
    """Run `python -m tune ARGUMENTS`."""
    done = subprocess.run(
        [sys.executable, "-m", "tune", *words(arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(),
        cwd=cwd,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def tune_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ran:
    """Run the command in this process, which saves the imports."""
    capsys.readouterr()
    code = main(words(arguments))
    captured = capsys.readouterr()
    return Ran(code, captured.out, captured.err)


def tune_inside(*arguments: object, **variables: str) -> Ran:
    """Run the command in this process without a test's capture, as fixtures of a module need it.

    variables: more of the environment. What libraries or Ray write to the process's own streams is in the answer too.
    """
    with pytest.MonkeyPatch.context() as patch, _own_streams() as streams:
        for name, value in {**environment(), **variables}.items():
            patch.setenv(name, value)
        # pytest's own handlers would keep warnings from stderr.
        patch.setattr(logging.getLogger(), "handlers", [])
        code = main(words(arguments))
    out, err = (stream.getvalue() for stream in streams)
    return Ran(code, out, err)


@contextlib.contextmanager
def _own_streams() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Take what is written to stdout and stderr, by Python or below it; filled when the block ends."""
    taken = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in taken]
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(number) for number in (1, 2)]
        try:
            for number, file in enumerate(files, start=1):
                os.dup2(file.fileno(), number)
            with contextlib.redirect_stdout(files[0]), contextlib.redirect_stderr(files[1]):
                yield taken
        finally:
            for number, (file, original) in enumerate(zip(files, kept, strict=True), start=1):
                file.flush()
                os.dup2(original, number)
                os.close(original)
            for file, text in zip(files, taken, strict=True):
                file.seek(0)
                text.write(file.read())


@contextlib.contextmanager
def background(
    command: list[str], environment: dict[str, str], log: Path, cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in the background; on exit, kill it and its children if they still run."""
    with open(log, "w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            # Children of a shell that runs the tests in the background ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def started(*arguments: object, log: Path) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Run `python -m tune ARGUMENTS` in the background."""
    return background([sys.executable, "-m", "tune", *words(arguments)], environment(), log)


def wait_for(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Return the first truthy value of `condition`. Raises AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {condition}")


def leaderboard(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a search's leaderboard."""
    with open(folder / "leaderboard.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def untouched(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the untouched base models: without TF-IDF, which is in every leaderboard."""
    return [row for row in leaderboard(folder) if row["status"] == "baseline" and row["base_model"] != "tf-idf"]


def summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a search."""
    return dict(json.loads((folder / "summary.json").read_text()))


def done_trials(folder: Path) -> list[Path]:
    """Return the directories of finished trials."""
    return sorted(path.parent for path in (folder / "trials").glob("*/done"))


def children(pid: int, name: str) -> list[int]:
    """Return the ids of processes below `pid` with `name` in their command line."""
    found = []
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                titles[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    for child, title in titles.items():
        ancestor: int | None = child
        while ancestor and ancestor != pid:
            ancestor = parents.get(ancestor)
        if ancestor == pid and child != pid and name in title:
            found.append(child)
    return found
