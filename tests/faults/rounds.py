"""One round: a search that something happens to, resumed until it ends, against the same search left alone."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.command import children, started, wait_for
from tests.helpers.disturbed import fill, numbers, runs, small_disk
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, save_tiny_model, write_topic_pairs

SECONDS = 150.0
"""How long a search of the campaign may take at most."""
MOST_RESUMES = 3
ENDS = (0, 75, 130, 143, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a disturbed search: done, paused, ended by a signal in good order or not."""

_COMMON = ("--split-column", "side", "--batch-size", 16, "--jobs", 2, "--guard", "none", "--report", "false")
_LAYER = ("--loss", "cosent,cosine", "--learning-rate", "1e-3:1e-1", "--dims", "8,16")
_WHOLE = ("--freeze", "false", "--search", "grid", "--dims", "none", "--loss", "cosent", "--epochs", 2)
KINDS: dict[str, tuple[object, ...]] = {
    "asha": ("--search", "asha", "--trials", 8, *_LAYER, "--epochs", 40),
    "optuna": ("--search", "optuna", "--trials", 5, *_LAYER, "--epochs", 20),
    "random": ("--search", "random", "--trials", 5, *_LAYER, "--epochs", 20),
    "folds": ("--search", "random", "--trials", 3, *_LAYER, "--epochs", 8, "--folds", 3),
    "whole": (*_WHOLE, "--learning-rate", "1e-3,3e-3"),
    "lora": (*_WHOLE, "--train", "lora", "--lora-rank", 4, "--learning-rate", "1e-3,3e-3"),
}
TARGETS = (
    "driver", "tree", "worker", "gcs_server", "raylet", "agent", "SIGINT", "SIGTERM", "SIGTERM twice", "full disk",
)  # fmt: skip
_PROCESSES = {"worker": "StreamTrainable", "gcs_server": "gcs_server", "raylet": "raylet/raylet", "agent": "Agent"}


@dataclass(frozen=True)
class Outcome:
    """What happened in a round. seconds: after the start. codes: of the search and of each resume.

    wrong: what differs from an undisturbed search, or was left behind; a round without any is right.
    """

    seed: int
    kind: str
    target: str
    seconds: float
    codes: tuple[int, ...]
    wrong: tuple[str, ...]


@dataclass
class Campaign:
    """The pairs, base models and cache of all rounds, and the undisturbed search of each kind, made when needed.

    kinds: of searches. seconds: kind -> how long it takes undisturbed.
    """

    root: Path
    kinds: Sequence[str] = tuple(KINDS)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pairs = write_topic_pairs(self.root / "topics.csv", {"train": 700, "val": 300, "test": 300})
        self._static = save_tiny_model(self.root / "static", words=TOPIC_WORDS)
        self._bert = save_tiny_bert(self.root / "bert")

    def command(self, kind: str, results: Path, name: str) -> list[object]:
        """Return the words of a search of a kind."""
        base = self._bert if kind in ("whole", "lora") else self._static
        own = ("--data", self._pairs, "--base-model", base, *KINDS[kind])
        return ["search", *_COMMON, *own, *self.options(results), "--name", name]

    def options(self, results: Path) -> list[object]:
        """Return where a search finds its results and the cache."""
        return ["--results", results, "--cache", self.root / "cache"]

    def undisturbed(self, kind: str) -> Path:
        """Return the results of a search that was left alone."""
        folder = self.root / "undisturbed" / kind
        if kind not in self.seconds:
            began = time.monotonic()
            code, said = self.run(self.command(kind, folder.parent, kind))
            assert code == 0, said
            self.seconds[kind] = time.monotonic() - began
        return folder

    def run(self, command: list[object]) -> tuple[int, str]:
        """Run a search to its end; return its exit code and all that it printed."""
        log = self.root / "log"
        with started(*command, log=log) as process:
            code = process.wait(SECONDS)
        return code, log.read_text()

    def play(self, seed: int) -> Outcome:
        """Play the round of a seed."""
        chance = random.Random(seed)
        kind, target = chance.choice(self.kinds), chance.choice(TARGETS)
        expected = self.undisturbed(kind)
        seconds = chance.uniform(0.0, self.seconds[kind])
        results = self.root / "disk"
        with small_disk(results, megabytes=64) as failed:
            # Without a disk of its own, the machine's would be filled.
            filler = None if failed else results / "filler"
            folder = results / "disturbed"
            command = self.command(kind, results, folder.name)
            code, said, below = self._disturbed(command, target, seconds, filler)
            codes = [code]
            wrong = [] if _fine(code, target, said) else [f"exit code {code}: {said[-300:]}"]
            while codes[-1] != 0 and len(codes) <= MOST_RESUMES:
                code, more = self.run(self._again(command, folder))
                codes.append(code)
                said += more
            wrong += [f"{bad} was printed" for bad in ("Traceback", "*** SIG") if bad in said]
            if codes[-1] == 0:
                wrong += different(folder, expected)
            else:
                wrong.append(f"not resumed: {said[-300:]}")
            wrong += [f"{left.name} was left" for left in folder.rglob(".*.part")]
            wrong += [f"{left.name} was left" for left in folder.glob(".best.*")]
        shutil.rmtree(results)
        with contextlib.suppress(AssertionError):
            # Ray's agents end within a minute of a killed Ray.
            wait_for(lambda: not any(runs(process) for process in below), 90)
        wrong += [f"process {process} was left" for process in below if runs(process)]
        return Outcome(seed, kind, target, round(seconds, 1), tuple(codes), tuple(wrong))

    def _again(self, command: list[object], folder: Path) -> list[object]:
        if (folder / "search.toml").is_file():
            return ["search", "--resume", folder.name, *self.options(folder.parent)]
        # Ended before there was anything to resume.
        shutil.rmtree(folder, ignore_errors=True)
        return command

    def _disturbed(
        self, command: list[object], target: str, seconds: float, filler: Path | None
    ) -> tuple[int, str, list[int]]:
        """Run a search and disturb it; return its exit code, what it printed, and the processes that it had."""
        log = self.root / "log"
        with started(*command, log=log) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            below = [process.pid, *children(process.pid, "")]
            if process.poll() is None:
                hit(process.pid, target, filler)
            code = process.wait(SECONDS)
        if filler is not None:
            filler.unlink(missing_ok=True)
        return code, log.read_text(), below


def _fine(code: int, target: str, said: str) -> bool:
    """Return whether a disturbed search ended as it should.

    Hit while it starts, Ray's start fails, which is an error in one line. Ray's own code may end the driver, with code
    1, before the driver can say a word: if an agent dies, and while the driver joins a cluster that has just died.
    """
    if code == 2:
        return "error: Ray did not start" in said
    return code in ENDS or (code == 1 and (target == "agent" or "Failed to register worker" in said))


def hit(pid: int, target: str, filler: Path | None) -> None:
    """Do to a running search what the target says.

    filler: a file that can fill the disk of its results; None if that is the machine's, which is not to be filled.
    """
    with contextlib.suppress(ProcessLookupError):
        if target == "full disk":
            if filler is not None:
                fill(filler)
        elif target.startswith("SIG"):
            number = signal.Signals[target.split()[0]]
            os.kill(pid, number)
            if target.endswith("twice"):
                time.sleep(0.2)
                os.kill(pid, number)
        elif target in _PROCESSES:
            for victim in children(pid, _PROCESSES[target])[:1]:
                os.kill(victim, signal.SIGKILL)
        else:
            for victim in [*(children(pid, "") if target == "tree" else []), pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)


def different(folder: Path, expected: Path) -> list[str]:
    """Return what differs between the results of two searches but for times."""
    found = [] if numbers(folder) == numbers(expected) else ["the leaderboard differs"]
    for name in ("winner", "finalists", "trials"):
        mine, theirs = (
            timeless(json.loads((one / "summary.json").read_text()).get(name)) for one in (folder, expected)
        )
        if mine != theirs:
            found.append(f"{name} differs: {mine} for {theirs}")
    mine, theirs = (timeless(json.loads((one / "test.json").read_text())) for one in (folder, expected))
    return found if mine == theirs else [*found, "the scores on test differ"]


def timeless(value: Any) -> Any:
    """Return a JSON value without the times in it."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name not in ("fixed", "opened", "seconds")}
    return [timeless(one) for one in value] if isinstance(value, list) else value
