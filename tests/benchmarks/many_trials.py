"""Searches of 1,000 and 5,000 trials: whether a trial costs as much at the end as at the start.

The searches are real (Ray Tune, searcher, ASHA, callbacks, display, TensorBoard's logs); the trials train nothing and
report along learning curves, so nearly all that is measured is what a search adds to its trials. Each search runs in
a process of its own. Measured is the CPU time of the driver per trial, since it hardly depends on what else the machine
does; wall time is shown too. The first hundredth of the trials, in which Ray starts its workers, is left out.

- time: of a trial among the last tenth over that of one among the first tenth. Target: at most 1.2.
- memory: the driver's resident set at the end minus that after the first tenth. Target: at most 30 kB per trial.
- files, bytes: in the results folder per trial, without its weights. Target: at most 8 files, all of the trial's own.
- resume: the driver's CPU time until the first trial starts, in a new process, of a search for ten more trials.
- tables, report: seconds for a made-up folder with as many trials, and the size of the page.
"""

import io
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.common import Options, Result, Stopwatch, Target
from tests.helpers.made_up_trials import Curves, planned
from tests.report.folders import made_up_folder
from tune.cli.display import SearchDisplay
from tune.cli.tables import show_results
from tune.config.search import SearchConfig, search_config
from tune.events import Event, TrialEvent
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary
from tune.train.outcomes import trial_outcomes

TITLE = "searches of 1,000 and 5,000 trials: time per trial at the end over that at the start"
JOBS, MORE = 2, 10
SIZES = {1000: 16, 5000: 4}
"""Number of trials -> reports of a whole trial."""
MOST_GROWTH, MOST_KILOBYTES, MOST_FILES, MOST_SECONDS = 1.2, 30.0, 8, 10.0
SPACE = {
    "base_model": "wordllama",
    "dims": "32,64,128",
    "loss": "cosent,cosine,contrastive,angle",
    "learning_rate": "1e-4:1e-1",
    "warmup": "0:0.5",
    "epochs": 2,
}


def run(options: Options) -> Result:
    """Run the searches, resume them, and write the tables and the report of as many trials."""
    result = Result()
    for full, reports in SIZES.items():
        trials = options.pick(full, full // 20)
        for algorithm in ("random", "optuna", "asha"):
            with tempfile.TemporaryDirectory() as folder:
                figures = measured(Path(folder), algorithm, trials, reports)
            result.figures[f"{algorithm}, {trials}"] = figures
            result.targets += _targets(f"{algorithm}, {trials} trials", figures)
        with tempfile.TemporaryDirectory() as folder:
            figures = _apart(_shown, Path(folder), trials)
        result.figures[f"tables and report, {trials}"] = figures
        result.targets += [
            Target(f"{name} of {trials} trials", figures[name], most=MOST_SECONDS)
            for name in ("tables_seconds", "report_seconds")
        ]
    return result


def _targets(name: str, figures: dict[str, Any]) -> list[Target]:
    return [
        Target(f"{name}: CPU time of a trial, end over start", figures["cpu_ratio"], most=MOST_GROWTH),
        Target(f"{name}: memory, kB per trial", figures["memory_kb_per_trial"], most=MOST_KILOBYTES),
        Target(f"{name}: files per trial", figures["files_per_trial"], most=MOST_FILES),
        Target(f"{name}: CPU seconds to resume", figures["resume_cpu_seconds"], most=MOST_SECONDS),
    ]


@dataclass
class _Watch:
    """Takes the time, the driver's CPU time and its memory at the end of each trial. began_cpu: as the first began."""

    began_cpu: float = 0.0
    ended: list[tuple[float, float, float]] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        if isinstance(event, TrialEvent):
            self.began_cpu = self.began_cpu or time.process_time()
            if event.status in ("done", "stopped", "failed"):
                self.ended.append((time.perf_counter(), time.process_time(), _resident()))


def measured(root: Path, algorithm: str, trials: int, reports: int) -> dict[str, Any]:
    """Return the figures of a search in `root`, and of its continuation."""
    watch, _, seconds = _apart(_searched, root, algorithm, trials, reports)
    figures = _figures(watch.ended, trials)
    figures["seconds_after_the_last_trial"] = seconds
    files = [path for path in root.rglob("*") if path.is_file()]
    figures["files_per_trial"] = len(files) / trials
    figures["bytes_per_trial"] = sum(path.stat().st_size for path in files) / trials
    resumed, began, _ = _apart(_searched, root, algorithm, trials + MORE, reports)
    figures["resume_cpu_seconds"] = resumed.began_cpu - began
    figures["resumed_trials"] = len(resumed.ended)
    return figures


def _figures(ended: list[tuple[float, float, float]], trials: int) -> dict[str, Any]:
    tenth, skipped = max(trials // 10, 2), max(trials // 100, 3)

    def per_trial(which: int, first: int, last: int) -> float:
        return (ended[last][which] - ended[first][which]) / (last - first)

    ranges = {"first": (skipped, skipped + tenth), "last": (len(ended) - 1 - tenth, len(ended) - 1)}
    cpu = {name: 1000 * per_trial(1, *where) for name, where in ranges.items()}
    wall = {name: 1000 * per_trial(0, *where) for name, where in ranges.items()}
    grown = (ended[-1][2] - ended[tenth][2]) / (len(ended) - 1 - tenth)
    return {
        "ended": len(ended),
        "cpu_ms_per_trial": cpu,
        "cpu_ratio": cpu["last"] / cpu["first"],
        "wall_ms_per_trial": wall,
        "wall_ratio": wall["last"] / wall["first"],
        "driver_mb": [round(ended[(len(ended) - 1) * k // 5][2] / 1e6) for k in range(6)],
        "memory_kb_per_trial": grown / 1000,
    }


def _apart(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the function returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def _searched(root: Path, algorithm: str, trials: int, reports: int) -> tuple[_Watch, float, float]:
    """Run a search, or what is left of it, after Ray has started.

    Returns what was seen, the CPU time when the search began, and the seconds from its last trial's end to its own.
    """
    from tune.search.algorithm import TrialSetup
    from tune.search.callbacks import StopMarks
    from tune.search.ray_cluster import connected
    from tune.search.run import run_trials
    from tune.search.trainable import TrialDirectories

    config: SearchConfig = search_config({"search": algorithm, "trials": trials, "jobs": JOBS}, space=dict(SPACE))
    folder, watch = ResultsFolder(root), _Watch()
    directories = TrialDirectories(folder.trials, {"wordllama": "data"}, {"seed": 0})
    display = SearchDisplay(Console(file=io.StringIO()))

    def emit(event: Event) -> None:
        display.emit(event)
        watch.emit(event)

    with connected(config, JOBS) as (resources, _):
        marks = [StopMarks(folder, directories)] if algorithm == "asha" else []
        began = time.process_time()
        setup = TrialSetup(directories, Curves(reports), JOBS, resources, marks, cost=planned)
        run_trials(config, folder, setup, emit)
        after = time.perf_counter() - watch.ended[-1][0]
    return watch, began, after


def _shown(root: Path, trials: int) -> dict[str, float]:
    """Return how long the trials of a finished search take to read and to show."""
    from tune.pipeline.report import write_report

    folder = ResultsFolder(made_up_folder(root, trials))
    with Stopwatch() as read:
        outcomes = trial_outcomes(folder.trials, folder.asha)
    summary = Summary(folder.summary)
    [config] = [one.config for one in outcomes if one.trial == summary["winner"]["trial"]]
    summary.update(winner={**summary["winner"], "config": config.model_dump()})
    with Stopwatch() as tables:
        show_results(folder, Console(file=io.StringIO(), width=160))
    with Stopwatch() as report:
        page = write_report([folder.root], texts=False).html
    return {
        "read_trials_seconds": read.seconds,
        "tables_seconds": tables.seconds,
        "report_seconds": report.seconds,
        "page_mb": page.stat().st_size / 1e6,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def _resident() -> float:
    """Return the bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
