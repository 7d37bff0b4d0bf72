"""Ray's cost for a sweep at --jobs 2, and whether 300 trials under ASHA leave everything consistent.

Full trials: 100 random trials of 16 reports each, on the demo pairs with wordllama's static vectors. Ray's cost is the
time of the local backend's search (ray.init, actors and their imports, trials, shutdown) minus the training time: the
sum of the trials' own `seconds` (training and validation) divided by the jobs. So the cost includes what a trial does
outside its `seconds` (setup, files); and if driver and actors share cores, CPU time that the driver takes from the
actors counts as training. Therefore the same trials also run in two plain processes without Ray, and the difference
to the sweep is shown too. Start-up (until the first report) and the steady state are reported separately. Target: at
most 0.1 s per trial plus 15 ms per report in all.

ASHA: 300 trials. Consistent means: 300 distinct directories, each done, stopped or failed and named by its own
configuration; reports numbered without gaps and with rising budgets; best weights that load and score val; and the
same numbers for five trials retrained here, alone. Memory is the PSS of driver and actors, sampled every second from
the first report to the last. Target: the mean of the last third of the run is at most 1.1 times that of the first.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.common import Options, Result, Stopwatch, Target, median
from tune.config.search import SearchConfig, search_config
from tune.config.trial import TrialConfig
from tune.embed.orders import embed_bases
from tune.embed.prepare import PreparedBase
from tune.events import Event, TrialEvent, ignore
from tune.pipeline.backend import TrialsJob
from tune.pipeline.local import LocalBackend
from tune.pipeline.pairs import read_split
from tune.results.layout import ResultsFolder, new_folder
from tune.train.local import LocalOpener
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.trained import TrialModel

TITLE = "Ray's cost at --jobs 2 for full trials, and 300 trials under ASHA"
JOBS = 2
PER_TRIAL, PER_REPORT = 0.1, 0.015
SPACE = {
    "base_model": "wordllama",
    "dims": "32,64,128",
    "loss": "cosent,cosine,contrastive,angle",
    "learning_rate": "1e-4:1e-2",
    "epochs": 2,
}


def run(options: Options) -> Result:
    """Run both sweeps in a temporary folder."""
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        _full_trials(Path(folder), options.pick(100, 12), result)
        _asha(Path(folder), options.pick(300, 30), result)
    result.notes.append("training seconds of the sweep include CPU time that the driver takes from the actors")
    return result


@dataclass
class _Sweep:
    """A finished search. seen: (trial, seconds since the start) for each report that the driver saw."""

    folder: ResultsFolder
    bases: dict[str, PreparedBase]
    config: SearchConfig
    wall: float
    interrupted: str
    seen: list[tuple[str, float]] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)

    def outcomes(self) -> list[TrialOutcome]:
        return trial_outcomes(self.folder.trials, self.folder.asha)

    @property
    def cache(self) -> Path:
        return self.config.search.cache


def _sweep(root: Path, algorithm: str, trials: int) -> _Sweep:
    options = {"search": algorithm, "trials": trials, "jobs": JOBS, "cache": str(root / "cache"), "max_hours": 0.25}
    config = search_config(search=options, space=dict(SPACE))
    split, _ = read_split(config, ignore)
    bases, _ = embed_bases(config, split, config.search.cache, ignore)
    folder = new_folder(root, algorithm, algorithm)
    seen: list[tuple[str, float]] = []
    memory: list[dict[str, float]] = []
    stop = threading.Event()

    def emit(event: Event) -> None:
        if isinstance(event, TrialEvent) and event.status == "running" and event.best_auc is not None:
            if not seen:
                sampler.start()
            seen.append((event.trial, time.perf_counter() - began))

    sampler = threading.Thread(target=_sample, args=(stop, memory), daemon=True)
    began = time.perf_counter()
    interrupted = LocalBackend().search(TrialsJob(config, folder, bases, config.search.trial_options()), emit)
    wall = time.perf_counter() - began
    stop.set()
    if seen:
        sampler.join()
    memory = [sample for sample in memory if sample["at"] - began <= seen[-1][1]]
    return _Sweep(folder, bases, config, wall, interrupted, seen, memory)


def _full_trials(root: Path, trials: int, result: Result) -> None:
    sweep = _sweep(root, "random", trials)
    outcomes = sweep.outcomes()
    reports = sum(len(outcome.reports) for outcome in outcomes)
    training = sum(outcome.reports[-1].seconds for outcome in outcomes)
    cost = sweep.wall - training / JOBS
    allowed = PER_TRIAL * len(outcomes) + PER_REPORT * reports
    first, last = sweep.seen[0][1], sweep.seen[-1][1]
    per_report = _seconds_per_report(sweep, outcomes)
    steady = max(0.0, last - first - training / JOBS)
    plain = _plain_processes(sweep, [outcome.config for outcome in outcomes], root / "plain")
    result.figures["full_trials"] = {
        "trials": len(outcomes),
        "reports": reports,
        "sweep_seconds": sweep.wall,
        "training_seconds_over_jobs": training / JOBS,
        "cost_seconds": cost,
        "allowed_seconds": allowed,
        "until_first_report_seconds": first,
        "after_last_report_seconds": sweep.wall - last,
        "steady_cost_per_trial_seconds": steady / len(outcomes),
        "actor_seconds_per_report_beyond_training": per_report,
        "two_plain_processes_seconds": plain,
        "sweep_minus_plain_seconds": sweep.wall - plain,
    }
    result.targets += [
        Target("full trials: share done of those planned", len(outcomes) / trials, least=1),
        Target("full trials: Ray's cost over the allowed seconds", cost / allowed, most=1),
    ]


def _seconds_per_report(sweep: _Sweep, outcomes: Sequence[TrialOutcome]) -> float:
    """Return the median time between two reports in the driver, minus the trial's own time between them."""
    times: dict[str, list[float]] = {}
    for trial, moment in sweep.seen:
        times.setdefault(trial, []).append(moment)
    gaps: list[float] = []
    for outcome in outcomes:
        own = [report.seconds for report in outcome.reports]
        at = times.get(outcome.trial, [])
        if len(at) == len(own):
            gaps += [(at[k] - at[k - 1]) - (own[k] - own[k - 1]) for k in range(1, len(own))]
    return median(gaps)


def _plain_processes(sweep: _Sweep, configs: Sequence[TrialConfig], folder: Path) -> float:
    """Return the seconds that JOBS plain processes need for the same trials, without start and imports."""
    opener = LocalOpener({name: base.view(sweep.cache) for name, base in sweep.bases.items()})
    context = multiprocessing.get_context("spawn")
    with context.Pool(JOBS) as pool:
        # One trial each first, so that imports and first calls are not timed.
        pool.starmap(_drain, [(opener, configs[0], folder / f"warm-{n}") for n in range(JOBS)], chunksize=1)
        with Stopwatch() as watch:
            pool.starmap(_drain, [(opener, c, folder / str(n)) for n, c in enumerate(configs)], chunksize=1)
    return watch.seconds


def _drain(opener: LocalOpener, config: TrialConfig, folder: Path) -> int:
    return sum(1 for _ in opener(config, folder))


def _asha(root: Path, trials: int, result: Result) -> None:
    sweep = _sweep(root, "asha", trials)
    outcomes = sweep.outcomes()
    statuses = {status: sum(o.status == status for o in outcomes) for status in ("done", "stopped", "failed")}
    problems = [problem for outcome in outcomes for problem in _problems(sweep, outcome)]
    problems += _different_alone(sweep, outcomes[:: max(1, len(outcomes) // 5)][:5], root / "alone")
    result.figures["asha"] = {
        "trials_planned": trials,
        "distinct_trials": len(outcomes),
        **statuses,
        "reports": sum(len(outcome.reports) for outcome in outcomes),
        "seconds": sweep.wall,
        "seconds_per_trial": sweep.wall / max(len(outcomes), 1),
        "interrupted": sweep.interrupted,
        "problems": problems[:10],
        "memory_mb": _thirds(sweep.memory),
    }
    growth = result.figures["asha"]["memory_mb"]
    result.targets += [
        Target(
            "asha: share done, stopped or failed of those planned", sum(statuses.values()) / trials, least=1, most=1
        ),
        Target("asha: inconsistent trials", len(problems), most=0),
        Target("asha: memory of all processes, last third over first third", growth["all"]["ratio"], most=1.1),
    ]


def _problems(sweep: _Sweep, outcome: TrialOutcome) -> list[str]:
    """Return what is wrong with a trial's directory."""
    base = sweep.bases[outcome.config.base_model]
    lines = (outcome.directory / "reports.jsonl").read_text().splitlines()
    checks = {
        "is named after another configuration": outcome.config.digest(base.digest) == outcome.trial,
        "has torn or unnumbered reports": len(lines) == len(outcome.reports) > 0,
        "has budgets that do not rise": all(
            a.budget < b.budget for a, b in zip(outcome.reports, outcome.reports[1:], strict=False)
        ),
        "is done before its last report, or not done after it": outcome.status == "failed"
        or (outcome.status == "done") == outcome.reports[-1].last,
    }
    problems = [f"{outcome.trial} {problem}" for problem, fine in checks.items() if not fine]
    try:
        TrialModel(outcome, base, sweep.cache).val()
    except (RuntimeError, OSError) as error:
        problems.append(f"{outcome.trial}: {error}")
    return problems


def _different_alone(sweep: _Sweep, outcomes: Sequence[TrialOutcome], folder: Path) -> list[str]:
    """Return the trials that have different numbers when trained here, alone."""
    opener = LocalOpener({name: base.view(sweep.cache) for name, base in sweep.bases.items()})
    problems = []
    for outcome in outcomes:
        stream = opener(outcome.config, folder / outcome.trial)
        alone = [(report.auc, report.loss) for report, _ in zip(stream, outcome.reports, strict=False)]
        stream.close()
        if alone != [(report.auc, report.loss) for report in outcome.reports]:
            problems.append(f"{outcome.trial} has different numbers when trained alone")
    return problems


def _sample(stop: threading.Event, samples: list[dict[str, float]]) -> None:
    """Append the memory (MB, PSS) of the driver and of Ray's workers, with the time, once a second."""
    while not stop.wait(1.0):
        driver = _pss(os.getpid())
        workers = [_pss(pid) for pid in _descendants(os.getpid()) if _is_worker(pid)]
        samples.append(
            {"at": time.perf_counter(), "driver": driver, "actors": sum(workers), "all": driver + sum(workers)}
        )


def _pss(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except (OSError, ProcessLookupError):
        return 0.0


def _is_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    except OSError:
        pass
    return found


def _thirds(samples: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the mean of the first and the last third, and their ratio, for each kind of process."""
    third = max(1, len(samples) // 3)
    result: dict[str, Any] = {"samples": len(samples)}
    for kind in ("driver", "actors", "all"):
        values = [sample[kind] for sample in samples] or [0.0]
        low, high = sum(values[:third]) / len(values[:third]), sum(values[-third:]) / len(values[-third:])
        result[kind] = {"first_third": low, "last_third": high, "ratio": high / max(low, 1e-9)}
    return result
