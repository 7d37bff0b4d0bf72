"""Stored vectors through a layer: `python -m tune apply` against the least that any program must do.

10 million vectors of 384 dims (float32, .npy, 15 GB in ten files) become 256 dims (10 GB). The floor reads as many rows
at a time, multiplies and writes, without checks or normalisation. Both start with the input out of the page cache and
end with the output on disk. They take turns file by file, and which goes first alternates, so that other work on the
machine falls on both. What the disk alone does is measured in the same run.

Target: at most 1.5 times the floor's time. Needs 27 GB in TMPDIR, which are removed.
"""

import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.common import Options, Result, Stopwatch, Target, median
from tune.cli.main import main
from tune.embed.adapted import ABOUT
from tune.export.adapter import Layer, adapter_files
from tune.export.apply import CHUNK

TITLE = "stored vectors through a layer, against a bare matrix product"
ROWS, DIMS_IN, DIMS = 10_000_000, 384, 256
FILES = 10
MOST_RATIO = 1.5
_BLOCK = 100_000
"""Rows of random vectors that the input repeats."""


def run(options: Options) -> Result:
    """Measure both, and reading and writing alone."""
    result, rows = Result(), options.pick(ROWS, 1_000_000) // FILES
    weight = np.random.default_rng(1).standard_normal((DIMS, DIMS_IN), np.float32) / DIMS_IN**0.5
    seconds: dict[str, list[float]] = {"apply": [], "floor": []}
    cpu: dict[str, list[float]] = {"apply": [], "floor": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _write_model(folder / "model", weight)
        sources = [_write_input(folder / f"in-{number}.npy", rows) for number in range(FILES)]
        # The first use imports; what that costs is not of interest here.
        _apply(model, _write_input(folder / "few.npy", 1000), folder / "few-out.npy")
        for number, source in enumerate(sources):
            for job in sorted(seconds, reverse=number % 2 == 0):
                _forget(source)
                before, to = time.process_time(), folder / f"{job}-{number}.npy"
                with Stopwatch() as watch:
                    _apply(model, source, to) if job == "apply" else _floor(source, to, weight, rows)
                seconds[job].append(watch.seconds)
                cpu[job].append(time.process_time() - before)
            (folder / f"floor-{number}.npy").unlink()
        result.figures = {"rows": rows * FILES, "dims_in": DIMS_IN, "dims": DIMS, "rows_at_a_time": CHUNK}
        result.figures |= {name: _figures(seconds[name], cpu[name], rows * FILES) for name in seconds}
        result.figures["disk_alone"] = _disk(sources[-1], folder / "alone.npy", rows)
    ratios = [one / floor for one, floor in zip(seconds["apply"], seconds["floor"], strict=True)]
    result.figures["ratio_by_file"] = [round(ratio, 2) for ratio in ratios]
    result.figures["cpu_ratio"] = sum(cpu["apply"]) / sum(cpu["floor"])
    result.targets.append(Target("apply over floor, seconds, median of files", median(ratios), most=MOST_RATIO))
    result.notes.append("GB are 10^9 bytes, read and written together; the vectors are random")
    return result


def _figures(seconds: list[float], cpu: list[float], rows: int) -> dict[str, object]:
    taken = sum(seconds)
    return {
        "seconds": taken,
        "cpu_seconds": sum(cpu),
        "vectors_per_second": rows / taken,
        "gb_per_second": rows * (DIMS_IN + DIMS) * 4 / taken / 1e9,
    }


def _write_input(path: Path, rows: int) -> Path:
    block = np.random.default_rng(0).standard_normal((min(_BLOCK, rows), DIMS_IN), np.float32)
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    with open(path, "wb") as file:
        _header(file, rows, DIMS_IN)
        for _ in range(rows // len(block)):
            file.write(block.data)
        _flush(file)
    return path


def _write_model(folder: Path, weight: NDArray[np.float32]) -> Path:
    folder.mkdir()
    layer = Layer(weight, None, "identity", "minilm", True)
    for name, content in adapter_files(layer).items():
        assert isinstance(content, bytes)
        (folder / name).write_bytes(content)
    (folder / "modules.json").write_text("[]")
    (folder / ABOUT).write_text(json.dumps({"prompt_a": "", "prompt_b": "", "config": {"freeze": True}}))
    return folder


def _apply(model: Path, source: Path, to: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["apply", str(model), "--vectors", str(source), "--to", str(to)]) == 0


def _floor(source: Path, to: Path, weight: NDArray[np.float32], rows: int) -> None:
    out = np.empty((CHUNK, DIMS), np.float32)
    with open(to, "wb") as file:
        _header(file, rows, DIMS)
        for vectors in _read(source):
            np.matmul(vectors, weight.T, out=out[: len(vectors)])
            file.write(out[: len(vectors)].data)
        _flush(file)


def _disk(source: Path, to: Path, rows: int) -> dict[str, float]:
    """Return the GB per second of reading the input alone, and of writing as much as the output alone."""
    _forget(source)
    with Stopwatch() as reading:
        for _ in _read(source):
            pass
    block = np.random.default_rng(2).standard_normal((CHUNK, DIMS), np.float32)
    with Stopwatch() as writing, open(to, "wb") as file:
        for _ in range(rows // CHUNK):
            file.write(block.data)
        _flush(file)
    written = to.stat().st_size
    to.unlink()
    return {
        "read_gb_per_second": source.stat().st_size / reading.seconds / 1e9,
        "write_gb_per_second": written / writing.seconds / 1e9,
    }


def _read(source: Path) -> Iterator[NDArray[np.float32]]:
    buffer = np.empty((CHUNK, DIMS_IN), np.float32)
    raw = memoryview(buffer).cast("B")
    with open(source, "rb", buffering=0) as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while read := file.readinto(raw):
            yield buffer[: read // (4 * DIMS_IN)]


def _header(file: io.BufferedWriter, rows: int, dims: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dims)}
    np.lib.format.write_array_header_1_0(file, header)


def _flush(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _forget(path: Path) -> None:
    """Drop a file's pages from memory, so that it is read from the disk."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
