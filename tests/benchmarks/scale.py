"""Searches of 100,000 pairs to 10 million: seconds and peak memory of every phase.

The pairs are made up by seed, with lengths and repeats like those of questions that people ask. A search runs as users
run it, `python -m tune search` with a static base model (wordllama) and four short trials, in a process of its own with
an empty cache. A phase begins with the line that announces it. Memory is the proportional set size (PSS) of the command
and all processes that it started, sampled four times a second, so that what several processes share counts once. CPU
seconds are those of all of them.

`--pairs 3000000,10000000` chooses the sizes; without it, 100,000 and 1 million. 10 million pairs need some 40 GB of
disk.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.benchmarks.common import Options, Result, Stopwatch, Target

TITLE = "searches of 100,000 pairs to 10 million: seconds and peak memory of every phase"
SIZES = (100_000, 1_000_000)
MILLION = 1_000_000
MOST_SECONDS, MOST_DATA_SECONDS, MOST_GIGABYTES = 90.0, 8.0, 2.5
"""Targets at a million pairs."""
TIMEOUT = 3 * 3600
_CHUNK = 100_000
_WORDS, _LEAST, _MOST = 30_000, 6, 16
_REPEATED, _POSITIVE, _ACCENTED = 0.15, 0.37, 0.001
"""Shares: of second texts that an earlier pair has too, of positive pairs, of words with a letter beyond ASCII."""


def run(options: Options) -> Result:
    """Make the pairs of each size, search on them, and compare a million pairs with the targets."""
    result = Result()
    for pairs in [5000] if options.quick else options.pairs or SIZES:
        with tempfile.TemporaryDirectory(prefix="embedtune-scale-") as folder:
            figures = searched(Path(folder), pairs)
        result.figures[f"{pairs:,} pairs"] = figures
        if pairs == MILLION:
            data = figures["seconds of the summary"]["data"]
            result.targets += [
                Target("seconds of a million pairs", figures["seconds"]["whole"], most=MOST_SECONDS),
                Target("data seconds of a million pairs", data, most=MOST_DATA_SECONDS),
                Target("peak PSS of a million pairs, GB", figures["peak_pss_gb"]["whole"], most=MOST_GIGABYTES),
            ]
    return result


def write_pairs(path: Path, pairs: int, seed: int = 0) -> None:
    """Write made-up pairs, text1, text2 and label, to a parquet file; holds no more than one chunk of them."""
    rng = np.random.default_rng(seed)
    words = _vocabulary(rng)
    schema = pa.schema({"text1": pa.string(), "text2": pa.string(), "label": pa.int8()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, pairs, _CHUNK):
            count = min(_CHUNK, pairs - start)
            first = _sentences(rng, words, count)
            label = (rng.random(count) < _POSITIVE).astype(np.int8)
            other = _sentences(rng, words, count)
            # A positive has half of the words of its first text, in another order.
            second = [
                " ".join([*reversed(a.rstrip("?").split()[::2]), *b.split()[-3:]]) if positive else b
                for a, b, positive in zip(first, other, label.tolist(), strict=True)
            ]
            for place in np.flatnonzero(rng.random(count) < _REPEATED).tolist():
                second[place] = second[int(rng.integers(place + 1))]
            writer.write_table(pa.table([first, second, label], schema=schema))


def _vocabulary(rng: np.random.Generator) -> NDArray[np.object_]:
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    drawn = (len(letters) * rng.random((_WORDS, 9)) ** 1.5).astype(int)
    lengths = rng.integers(2, 9, _WORDS).tolist()
    words = ["".join(row[:length]) for row, length in zip(letters[drawn], lengths, strict=True)]
    accented = (rng.random(_WORDS) < _ACCENTED).tolist()
    return np.array([word + "é" if yes else word for word, yes in zip(words, accented, strict=True)], dtype=object)


def _sentences(rng: np.random.Generator, words: NDArray[np.object_], count: int) -> list[str]:
    """Return questions of _LEAST to _MOST words, frequent ones far more often than rare ones."""
    chosen = words[(len(words) * rng.random((count, _MOST)) ** 3).astype(int)].tolist()
    lengths = rng.integers(_LEAST, _MOST + 1, count).tolist()
    return [" ".join(row[:length]).capitalize() + "?" for row, length in zip(chosen, lengths, strict=True)]


_MARKS = (
    ("start", ""),
    ("data", ""),
    ("Ray", "starting Ray"),
    ("embedding", ": loading"),
    ("search", "search: "),
    ("test and export", "opening test"),
    ("latency and report", "measuring milliseconds"),
)
"""Phases, and what is in the line with which they begin. What comes before Ray is imports and data."""


@dataclass
class _Watched:
    """A running command. lines: (seconds since its start, line of its output).

    samples: (seconds, bytes, CPU seconds so far).
    """

    samples: list[tuple[float, int, float]] = field(default_factory=list)
    lines: list[tuple[float, str]] = field(default_factory=list)
    cpu: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0

    def peak(self, begins: float = 0.0, ends: float = float("inf")) -> float:
        """Return the largest sample between two times, in GB."""
        return max((size for at, size, _ in self.samples if begins <= at <= ends), default=0) / 1e9

    def cpu_seconds(self, begins: float, ends: float) -> float:
        """Return the CPU seconds between two times, up to a sample more or less."""
        before, until = ([cpu for at, _, cpu in self.samples if at <= time] for time in (begins, ends))
        return max(until, default=0.0) - max(before, default=0.0)

    def sample(self, at: float, root: int) -> None:
        """Add up what a process and its descendants take now."""
        found = 0
        for pid in _family(root):
            try:
                found += _pss(pid)
                self.cpu[pid] = _cpu_seconds(pid)
            except (OSError, IndexError):
                # It has ended since.
                continue
        self.samples.append((at, found, sum(self.cpu.values())))

    def phases(self, data_seconds: float) -> dict[str, tuple[float, float]]:
        """Return when each phase begins and ends. data_seconds: of the summary; they end with a line on the pairs."""
        begins: dict[str, float] = {}
        for phase, text in _MARKS:
            if text:
                begins[phase] = next((at for at, line in self.lines if text in line), self.seconds)
        read = next((at for at, line in self.lines if " pairs read, " in line), self.seconds)
        begins = {"start": 0.0, "data": max(read - data_seconds, 0.0), **begins}
        ends = [*list(begins.values())[1:], self.seconds]
        return {phase: (begin, end) for (phase, begin), end in zip(begins.items(), ends, strict=True)}


def searched(root: Path, pairs: int) -> dict[str, Any]:
    """Return seconds and peak memory by phase of a search on made-up pairs in `root`."""
    data, out = root / "pairs.parquet", root / "results"
    with Stopwatch() as making:
        write_pairs(data, pairs)
    command = [sys.executable, "-m", "tune", "search", "--data", str(data), "--base-model", "wordllama"]
    command += ["--dims", "64", "--trials", "4", "--epochs", "1", "--jobs", "2"]
    command += ["--train-size", str(min(16_000, pairs // 2))]
    command += ["--results", str(root), "--name", "results", "--cache", str(root / "cache")]
    watched = _watched(command)
    summary = json.loads((out / "summary.json").read_text())
    phases = watched.phases(summary["seconds"]["data"])
    return {
        "texts": summary["bases"]["wordllama"]["texts"],
        "validation AUC of the winner": summary["winner"]["val_auc"],
        "seconds": {"whole": watched.seconds, **{phase: end - begin for phase, (begin, end) in phases.items()}},
        "seconds of the summary": summary["seconds"],
        "cpu_seconds": {
            "whole": sum(watched.cpu.values()),
            **{phase: watched.cpu_seconds(*times) for phase, times in phases.items()},
        },
        "peak_pss_gb": {"whole": watched.peak(), **{phase: watched.peak(*times) for phase, times in phases.items()}},
        "load_average_1min": os.getloadavg()[0],
        "making_seconds": making.seconds,
        "file_mb": data.stat().st_size / 1e6,
    }


def _watched(command: list[str]) -> _Watched:
    """Run a command to its end. Raises RuntimeError if it fails, TimeoutError after TIMEOUT."""
    watched, began = _Watched(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout

    def read() -> None:
        for line in output:
            watched.lines.append((time.perf_counter() - began, line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            at = time.perf_counter() - began
            watched.sample(at, process.pid)
            if at > TIMEOUT:
                raise TimeoutError(f"the search took more than {TIMEOUT} seconds")
            time.sleep(0.25)
    finally:
        process.kill()
        process.wait()
    watched.seconds = time.perf_counter() - began
    reader.join(10)
    if process.returncode:
        raise RuntimeError(f"the search failed: {''.join(line for _, line in watched.lines)[-2000:]}")
    return watched


def _family(root: int) -> list[int]:
    """Return a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, waiting = list[int](), [root]
    while waiting:
        found.append(waiting.pop())
        waiting += parents.get(found[-1], [])
    return found


def _pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in rollup if line.startswith("Pss:")).split()[1])


def _cpu_seconds(pid: int) -> float:
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")
