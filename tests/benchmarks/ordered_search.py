"""What deciding in a logical order costs: workers that wait for trials that come first by plan.

Real: searches of the demo pairs with asha, in turn with and without `--deterministic`, by the seconds of their search
phase. Those in order must all end with the same trials, statuses and AUCs.

Simulated: the workers of a search by the real TPE and ASHA, over made-up trials that take as long as planned, times a
factor drawn per trial (log-normal, sigma 0.1 to 0.5). Idle is the share of the workers' time, up to the last
suggestion, that they wait. Target: at most 10% of the time of a search with two workers.
"""

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from tests.benchmarks.common import Options, Result, Target, median
from tests.helpers.simulated_search import Disk, Simulation
from tune.config.search import search_config
from tune.events import ignore
from tune.pipeline.local import LocalBackend
from tune.pipeline.search import SearchJob, run_search

TITLE = "asha in a logical order: what it costs"
SIGMAS = (0.1, 0.3, 0.5)
SLOTS = (2, 4, 8)


def run(options: Options) -> Result:
    """Run the searches in turn, then the simulations."""
    result = Result()
    seconds: dict[bool, list[float]] = {True: [], False: []}
    boards: list[pd.DataFrame] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.pick(5, 1)):
            for ordered in (True, False):
                summary, board = _search(options, Path(folder), f"{number}-{ordered}", ordered)
                seconds[ordered].append(summary["seconds"]["search"])
                boards += [board] if ordered else []
    cost = median(seconds[True]) / median(seconds[False]) - 1
    result.figures = {
        "search_seconds_in_order": seconds[True],
        "search_seconds_by_arrival": seconds[False],
        "cost": cost,
        "searches_in_order_alike": all(board.equals(boards[0]) for board in boards),
        "simulated_idle": {
            f"{slots} workers": {f"sigma {sigma}": _idle(slots, sigma, options) for sigma in SIGMAS} for slots in SLOTS
        },
    }
    result.targets = [
        Target("the search phase in order over that by arrival, 2 jobs, less 1", cost, most=0.1),
        Target("searches in order that are alike", float(result.figures["searches_in_order_alike"]), least=1.0),
    ]
    return result


def _search(options: Options, folder: Path, name: str, ordered: bool) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run a search; return its summary, and its leaderboard without the time that trials took."""
    config = search_config(
        search={
            "search": "asha",
            "jobs": 2,
            "trials": options.pick(40, 8),
            "deterministic": ordered,
            "report": False,
            "cache": str(options.cache),
            "results": str(folder),
            "name": name,
        }
    )
    results = run_search(SearchJob(config, "benchmark"), LocalBackend(), ignore)
    return json.loads(results.summary.read_text()), pd.read_csv(results.leaderboard).drop(columns="seconds")


def _idle(slots: int, sigma: float, options: Options) -> float:
    """Return the median share of the workers' time that they wait, over seeds."""
    shares = []
    for seed in range(options.pick(3, 1)):

        def pace(key: str, seed: int = seed) -> float:
            return random.Random(f"{seed} {key}").lognormvariate(0, sigma)

        with tempfile.TemporaryDirectory() as folder:
            simulation = Simulation(Path(folder), Disk(), slots, options.pick(20, 5) * slots, pace).run()
        shares.append(1 - simulation.worked_while_busy / (slots * simulation.last_taken))
    return median(shares)
