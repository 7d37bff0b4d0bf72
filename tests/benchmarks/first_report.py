"""From the command to the first report of a trial, against what no search can do without.

The demo search runs as users run it, `python -m tune search --search asha`, in a new process; its texts are embedded
before. Its floors are measured in the same rounds, in new processes too: Ray's start until every worker has imported
what layers need; and reading the demo pairs and finding their texts embedded, with both base models noted in the cache
by the first round, so that neither is loaded. The longer of the two is the floor of the first report. Seconds are wall
time, medians over the rounds, so the machine should be idle.

Beside that, the search phase of four short trials on 100,000 made-up pairs (those of `scale`).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.common import Options, Result, Target, median
from tests.benchmarks.scale import searched
from tune.machine import usable_cores

TITLE = "from the command to the first report of a trial, against its floors; the search phase of short trials"
MOST_OVER_FLOOR, MOST_DEMO_SECONDS, MOST_SEARCH_SECONDS = 1.3, 15.0, 6.0
ROUNDS = 3
PAIRS = 100_000
TIMEOUT = 600
_POLL = 0.01

_RAY = """
import sys
from tune.machine import limit_threads
limit_threads()
from tune.search.ray_cluster import WORKER, started
import ray

@ray.remote(num_cpus=1)
class Worker:
    def ready(self, module):
        import importlib
        importlib.import_module(module)

jobs = int(sys.argv[1])
with started(WORKER, num_cpus=jobs):
    workers = [Worker.remote() for _ in range(jobs)]
    ray.get([worker.ready.remote(WORKER) for worker in workers])
    print("ready", flush=True)
"""
"""Starts Ray as a search does, and says when every worker could take a layer's trial."""

_EMBEDDING = """
import sys
from pathlib import Path
from tune.machine import limit_threads
limit_threads()
from tune.config.search import search_config
from tune.embed.orders import embed_bases
from tune.events import ignore
from tune.pipeline.pairs import read_split

config = search_config(search={"cache": sys.argv[1]})
split, _ = read_split(config, ignore)
embed_bases(config, split, Path(sys.argv[1]), ignore)
print("ready", flush=True)
"""
"""Reads the demo pairs and embeds their texts, which the cache has."""


def run(options: Options) -> Result:
    """Measure the demo search and its floors in turn, then the search phase of short trials."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="embedtune-first-") as folder:
        root = Path(folder)
        cache = str(root / "cache")
        rounds: list[dict[str, float]] = []
        # The first round embeds the texts and reads files that the later ones find in memory.
        for number in range(1 + options.pick(ROUNDS, 1)):
            taken = _demo(root, f"demo{number}", cache)
            taken["ray"] = _seconds_to_ready(_RAY, str(usable_cores()))
            taken["embedding"] = _seconds_to_ready(_EMBEDDING, cache)
            if number:
                rounds.append(taken)
        short = searched(root, options.pick(PAIRS, 5000))
    of = {name: median([one[name] for one in rounds]) for name in rounds[0]}
    floor = max(of["ray"], of["embedding"])
    result.figures["demo search, seconds"] = {
        "to the first report": of["first"],
        "whole": of["whole"],
        "by phase": {name[6:]: value for name, value in of.items() if name.startswith("phase ")},
    }
    result.figures["floors, seconds"] = {"ray and worker imports": of["ray"], "pairs and embedding": of["embedding"]}
    result.figures["first report over the longer floor"] = of["first"] / floor
    result.figures["first report, all rounds"] = [one["first"] for one in rounds]
    result.figures["four short trials, seconds"] = {"pairs": options.pick(PAIRS, 5000), **short["seconds"]}
    result.targets += [
        Target("first report over the longer floor", of["first"] / floor, most=MOST_OVER_FLOOR),
        Target("seconds of the demo search", of["whole"], most=MOST_DEMO_SECONDS),
        Target("search seconds of four short trials", short["seconds"]["search"], most=MOST_SEARCH_SECONDS),
    ]
    return result


def _demo(root: Path, name: str, cache: str) -> dict[str, float]:
    """Run the demo search; return seconds to the first line of any trial's reports, to its end, and by phase."""
    command = [sys.executable, "-m", "tune", "search", "--search", "asha", "--quiet", "--results", str(root)]
    first: float | None = None
    began = time.perf_counter()
    with open(root / "log", "w") as log:
        process = subprocess.Popen([*command, "--name", name, "--cache", cache], stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                if first is None and _reported(root / name / "trials"):
                    first = time.perf_counter() - began
                _check(began, name)
                time.sleep(_POLL)
        finally:
            process.kill()
            process.wait()
    whole = time.perf_counter() - began
    if process.returncode or first is None:
        raise RuntimeError(f"the demo search failed: {(root / 'log').read_text()[-2000:]}")
    seconds = json.loads((root / name / "summary.json").read_text())["seconds"]
    phases = {f"phase {phase}": value for phase, value in seconds.items()}
    rest = whole - sum(seconds.values())
    return {"first": first, "whole": whole, **phases, "phase start, Ray and report": rest}


def _reported(trials: Path) -> bool:
    return any(path.stat().st_size for path in trials.glob("*/reports.jsonl"))


def _seconds_to_ready(program: str, argument: str) -> float:
    """Return the seconds from the start of a Python process to its first line, which says that it is ready."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, argument],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        taken = time.perf_counter() - began
        _, said = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
        process.wait()
    if process.returncode or line != "ready\n":
        raise RuntimeError(f"a floor could not be measured: {said[-2000:]}")
    return taken


def _check(began: float, name: str) -> None:
    if time.perf_counter() - began > TIMEOUT:
        raise TimeoutError(f"{name} took more than {TIMEOUT} seconds")
