"""Searches of 100,000 pairs to 10 million: seconds and peak memory of every phase.

The pairs are made up by seed, with lengths and repeats like those of questions that people ask. A search runs as users
run it, `python -m tune search` with a static base model and four short trials, in a process of its own with an empty
cache. Seconds are those of its summary; memory is the resident set of the command and all processes that it started,
sampled ten times a second. Pages of a file that several processes map count once for each of them.

Sizes: EMBEDTUNE_BENCH_SIZES, such as 1000000,3000000; without it, 100,000 and 1 million. 10 million pairs need some
40 GB of disk.
"""

import json
import os
import subprocess
import sys
import tempfile
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
SIZES = "100000,1000000"
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
    sizes = [int(size) for size in os.environ.get("EMBEDTUNE_BENCH_SIZES", SIZES).split(",")]
    for pairs in [5000] if options.quick else sizes:
        with tempfile.TemporaryDirectory(prefix="embedtune-scale-") as folder:
            figures = searched(Path(folder), pairs)
        result.figures[f"{pairs:,} pairs"] = figures
        if pairs == MILLION:
            result.targets += [
                Target("seconds of a million pairs", figures["seconds"]["whole"], most=MOST_SECONDS),
                Target("data seconds of a million pairs", figures["seconds"]["data"], most=MOST_DATA_SECONDS),
                Target("peak memory of a million pairs, GB", figures["peak_gb"]["whole"], most=MOST_GIGABYTES),
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


@dataclass
class _Memory:
    """Samples of (seconds since the start of the process, resident bytes of it and its descendants)."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    def peak(self, begins: float = 0.0, ends: float = float("inf")) -> float:
        """Return the largest sample between two times, in GB."""
        return max((size for at, size in self.samples if begins <= at <= ends), default=0) / 1e9


def searched(root: Path, pairs: int) -> dict[str, Any]:
    """Return seconds and peak memory by phase of a search on made-up pairs in `root`."""
    data, out = root / "pairs.parquet", root / "results"
    with Stopwatch() as making:
        write_pairs(data, pairs)
    command = [sys.executable, "-m", "tune", "search", "--data", str(data), "--base-model", "wordllama"]
    command += ["--dims", "64", "--trials", "4", "--epochs", "1", "--jobs", "2"]
    command += ["--train-size", str(min(16_000, pairs // 2))]
    command += ["--results", str(root), "--name", "results", "--cache", str(root / "cache"), "--quiet"]
    memory, began = _Memory(), time.perf_counter()
    with open(root / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                at = time.perf_counter() - began
                memory.samples.append((at, _resident(process.pid)))
                if at > TIMEOUT:
                    raise TimeoutError(f"{pairs} pairs took more than {TIMEOUT} seconds")
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    whole = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"the search of {pairs} pairs failed: {(root / 'log').read_text()[-2000:]}")
    summary = json.loads((out / "summary.json").read_text())
    return _figures(summary, memory, whole) | {"making_seconds": making.seconds, "file_mb": data.stat().st_size / 1e6}


def _figures(summary: dict[str, Any], memory: _Memory, whole: float) -> dict[str, Any]:
    """Phases follow each other and end with the command, so what comes before the first is its start."""
    seconds: dict[str, float] = summary["seconds"]
    at = max(whole - sum(seconds.values()), 0.0)
    peaks = {"start": memory.peak(0.0, at)}
    for phase, took in seconds.items():
        peaks[phase] = memory.peak(at, at + took)
        at += took
    return {
        "texts": summary["data"]["lengths"]["texts"],
        "seconds": {"whole": whole, **seconds},
        "peak_gb": {"whole": memory.peak(), **peaks},
    }


def _resident(root: int) -> int:
    """Return the resident bytes of a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += parents.get(pid, [])
        try:
            found += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return found * os.sysconf("SC_PAGE_SIZE")
