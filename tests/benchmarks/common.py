"""What all benchmarks share: options, results with targets, the printed table and the results file.

A results file describes the machine by processor, cores, threads and versions: no host name, no absolute path.
"""

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tune.config.search import DEFAULT_CACHE, SearchConfig, search_config
from tune.data.sides import LabelledPairs
from tune.data.split import Split, labelled_sides
from tune.embed.prepare import PreparedBase, ViewOptions, prepare_base
from tune.embed.sources import load_source
from tune.events import ignore
from tune.files import write_atomic
from tune.machine import usable_cores
from tune.pipeline.pairs import read_split
from tune.results.provenance import PACKAGES

RESULTS = Path("results") / "benchmarks"
SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class Options:
    """Options of a run.

    data: pairs with a split column (Quora's for the figures in results/). quick: small sizes to try the code.
    pairs: the sizes of `scale`; empty for its own.
    """

    data: Path
    cache: Path = DEFAULT_CACHE
    quick: bool = False
    pairs: tuple[int, ...] = ()

    def pick(self, full: int, quick: int) -> int:
        """Return the size to use."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Target:
    """A figure and its target: at least `least`, or at most `most`."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure meets its target."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with `met`."""
        return asdict(self) | {"met": self.met}


@dataclass
class Result:
    """The outcome of a benchmark: figures by name (plain values), targets and notes."""

    figures: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, threads, load and versions."""
    return {
        "cores": usable_cores(),
        "processor": _processor(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "load_average_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def show(name: str, title: str, result: Result) -> None:
    """Print the figures as a table, then the targets and notes."""
    console = Console(highlight=False)
    table = Table(title=f"{name}: {title}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for key, value in flat(result.figures):
        table.add_row(key, shown(value))
    console.print(table)
    for target in result.targets:
        limit = f"at least {target.least:g}" if target.least is not None else f"at most {target.most:g}"
        console.print(f"{'met   ' if target.met else 'MISSED'} {target.name}: {shown(target.value)} ({limit})")
    for note in result.notes:
        console.print(f"note: {note}")


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested figures as (dotted key, value)."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def shown(value: Any) -> str:
    """Format a value for people."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def write(name: str, title: str, result: Result, command: str, before: dict[str, Any]) -> Path:
    """Write results/benchmarks/NAME.json; return its path. before: `machine()` when the benchmark began."""
    path = RESULTS / f"{name}.json"
    content = {
        "benchmark": name,
        "measures": title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": before,
        "targets": [target.to_json() for target in result.targets],
        "figures": result.figures,
        "notes": result.notes,
    }
    write_atomic(path, json.dumps(_rounded(content), indent=1) + "\n")
    return path


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch on that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Stopwatch:
    """Measure wall time: `with Stopwatch() as watch: ...`, then `watch.seconds`."""

    def __enter__(self) -> "Stopwatch":
        self._began = time.perf_counter()
        return self

    def __exit__(self, *raised: object) -> None:
        self.seconds = time.perf_counter() - self._began


def pairs_config(options: Options, **tables: dict[str, Any]) -> SearchConfig:
    """Return a search over the pairs of `--data` with the split that they come with; tables: as for `search_config`."""
    data = {"data": str(options.data), "split_column": SPLIT_COLUMN}
    search = {"cache": str(options.cache), **tables.pop("search", {})}
    return search_config(search=search, data=data, **tables)


def split_of(config: SearchConfig) -> tuple[Split, dict[str, LabelledPairs]]:
    """Return the split of a search's data, and the pairs of each side, train in its seeded order."""
    split, _ = read_split(config, ignore)
    return split, labelled_sides(split, config.search.seed)


def prepared(options: Options, base_model: str, train: int, val: int | None = None) -> PreparedBase:
    """Embed the first `train` pairs and the first `val` (default: all) of `--data`; the view holds the texts."""
    _, sides = split_of(pairs_config(options, space={"base_model": base_model}))
    sides["train"] = first(sides["train"], train)
    sides["val"] = sides["val"] if val is None else first(sides["val"], val)
    return prepare_base(load_source(base_model), sides, options.cache, ("", ""), ViewOptions(texts=True))


def first(pairs: LabelledPairs, count: int) -> LabelledPairs:
    """Return the first `count` pairs."""
    return LabelledPairs(pairs.text_a[:count], pairs.text_b[:count], pairs.label[:count])


def some(pairs: LabelledPairs, count: int, seed: int = 0) -> LabelledPairs:
    """Return `count` pairs drawn by seed, in their original order."""
    if count >= len(pairs):
        return pairs
    index = np.sort(np.random.default_rng(seed).choice(len(pairs), count, replace=False))
    return LabelledPairs([pairs.text_a[i] for i in index], [pairs.text_b[i] for i in index], pairs.label[index])


def median(values: Sequence[float]) -> float:
    """Return the median as a plain float."""
    return float(np.median(values))
