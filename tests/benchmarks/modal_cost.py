"""The overhead of a search on Modal, measured on the local stand-in with the real CLI, client and container runtime.

32 short random trials on the demo pairs with wordllama's vectors, 4 at a time, each in its own container. A trial's
time on its slot has four parts, taken from the ledger (when it was spawned, when its last report was read), from the
stand-in (when a container took the call, and when it was free again) and from the reports (training):

- training: the trial's own `seconds`, training and validation;
- ours: the rest of the time that the container holds the call: Volume, view, setup, queue, commit;
- Modal: from the spawn to the container, and from the container's end to the reader if that is later;
- Ray: from the last report of a trial to the spawn of the next one on that slot.

The start (app, head, Ray, actors, cold containers) and the end (test, export, download) are reported separately. The
stand-in has no network: on Modal, round trips (spawn, queue, commit) add some 50 ms each.

The head's memory is the PSS of the process that reads the calls of all trials, and of the rest of its container; what
one more trial takes of it is measured by concurrent_calls.py.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.common import Options, Result, Stopwatch, Target, median
from tests.benchmarks.ray_cost import _descendants, _pss
from tests.helpers.modal_launch import launched, modal_local
from tests.helpers.tensorboard_runs import runs
from tests.modal_local import Call, ModalLocal
from tune.train.outcomes import trial_outcomes
from tune.train.stream import Report

TITLE = "a search on the stand-in for Modal: 32 short trials, 4 at a time"
JOBS = 4
ARGUMENTS = (
    "--search", "random", "--base-model", "wordllama", "--dims", "16,32,64", "--loss", "cosent,cosine,contrastive",
    "--learning-rate", "1e-4:1e-2", "--epochs", 4, "--finalists", 1, "--name", "cost",
)  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """A trial: when it was spawned, taken and left by a container, and read to its end (Unix seconds); reports.

    first: when the driver wrote its first report down.
    """

    spawned: float
    taken: float
    left: float
    read: float
    reports: list[Report]
    first: float

    @property
    def training(self) -> float:
        return self.reports[-1].seconds


@dataclass
class _Memory:
    """Memory (MB) and CPU seconds of the head's processes, sampled once a second."""

    readers: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    cpu: list[tuple[float, float, float]] = field(default_factory=list)
    """(time, CPU seconds of the driver, CPU seconds of the process that reads the calls)."""


def run(options: Options) -> Result:
    """Run one search in a temporary folder."""
    trials = options.pick(32, 8)
    result = Result()
    with tempfile.TemporaryDirectory() as folder, modal_local(Path(folder), trials=JOBS) as stand_in:
        memory, stop = _Memory(), threading.Event()
        sampler = threading.Thread(target=_sample, args=(stand_in, memory, stop), daemon=True)
        sampler.start()
        arguments = (*ARGUMENTS, "--trials", trials, "--max-concurrent", JOBS, "--results", folder)
        began = time.time()
        log = Path(folder) / "log"
        with Stopwatch() as watch, launched(stand_in, *arguments, log=log) as process:
            if process.wait(500) != 0:
                raise RuntimeError(log.read_text()[-2000:])
        stop.set()
        sampler.join(10)
        found = list(_trials(stand_in, Path(folder) / "cost"))
        if len(found) != trials:
            raise RuntimeError(f"only {len(found)} of {trials} trials have a ledger entry and are done")
        _figures(found, began, watch.seconds, result)
        _head(memory, found, result)
    return result


def _trials(stand_in: ModalLocal, folder: Path) -> Iterator[_Trial]:
    from cluster.ledger import Ledger

    written = runs(folder)
    calls: dict[str, Call] = {call.call_id: call for call in stand_in.calls}
    for outcome in trial_outcomes(folder / "trials", folder / "asha.json"):
        entry = Ledger(outcome.directory).latest()
        if entry is not None and outcome.status == "done":
            call = calls[entry.call]
            yield _Trial(
                entry.spawned,
                call.started or 0.0,
                call.ended or 0.0,
                entry.finished or 0.0,
                outcome.reports,
                float(written[outcome.trial].Scalars("val/best_auc")[0].wall_time),
            )


def _figures(found: list[_Trial], began: float, seconds: float, result: Result) -> None:
    found = sorted(found, key=lambda trial: trial.spawned)
    ends = sorted(trial.read for trial in found)
    # Slots are interchangeable: the n-th spawn after the first JOBS takes the n-th slot to become free.
    warm, freed = found[JOBS:], ends[: len(found) - JOBS]
    waits = [max(0.0, trial.spawned - end) for trial, end in zip(warm, freed, strict=True)]
    to_first = [trial.first - end - trial.reports[0].seconds for trial, end in zip(warm, freed, strict=True)]
    parts = {
        "training": sum(trial.training for trial in warm),
        "ours": sum(trial.left - trial.taken - trial.training for trial in warm),
        "modal": sum(trial.taken - trial.spawned + max(0.0, trial.read - trial.left) for trial in warm),
        "ray": sum(waits),
    }
    whole = sum(parts.values())
    first_report = min(trial.taken + trial.reports[0].seconds for trial in found)
    result.figures["search"] = {
        "trials": len(found),
        "reports": sum(len(trial.reports) for trial in found),
        "total_seconds": seconds,
        "until_first_container_takes_a_trial_seconds": min(trial.taken for trial in found) - began,
        "until_first_report_seconds": first_report - began,
        "trials_seconds": max(trial.read for trial in found) - min(trial.taken for trial in found),
        "after_last_report_seconds": began + seconds - max(trial.read for trial in found),
    }
    result.figures["share_of_a_warm_trials_slot"] = {name: value / whole for name, value in parts.items()}
    result.figures["seconds_per_warm_trial"] = {name: value / len(warm) for name, value in parts.items()}
    result.figures["next_trial_to_first_report_beyond_training_seconds"] = {
        "median": median(to_first),
        "worst": max(to_first),
    }
    result.targets.append(
        Target("warm container: next trial to first report, beyond training, median s", median(to_first), most=1.0)
    )
    result.notes.append(f"{JOBS} containers, the head and the stand-in share {os.cpu_count()} cores")


def _head(memory: _Memory, found: list[_Trial], result: Result) -> None:
    others = median(memory.others[len(memory.others) // 2 :])
    # Only while trials run: imports belong to the start.
    first, last = min(trial.taken for trial in found), max(trial.read for trial in found)
    steady = [(driver, reader) for at, driver, reader in memory.cpu if first <= at <= last]
    reports = sum(len(trial.reports) for trial in found)
    driver, reader = ((end - start) / reports for start, end in zip(steady[0], steady[-1], strict=True))
    result.figures["head"] = {
        "reader_of_all_calls_mb_pss": median([size for size in memory.readers if size]),
        "everything_else_mb_pss": others,
        "driver_cpu_ms_per_report": 1000 * driver,
        "reader_cpu_ms_per_report": 1000 * reader,
        "reports_per_second_that_one_core_drives": 1 / driver,
    }


def _sample(stand_in: ModalLocal, memory: _Memory, stop: threading.Event) -> None:
    """Sample PSS and CPU time of the head's processes, from outside its container, once a second."""
    taken: dict[int, float] = {}  # includes processes that have ended
    while not stop.wait(1.0):
        head = next((box for box in stand_in.containers if box.function == "search_head" and box.pid), None)
        if head is None or head.pid is None or head.ended:
            continue
        below = _descendants(head.pid)
        readers = [pid for pid in below if _title(pid).startswith(b"ray::TrialHost")]
        memory.readers.append(sum(_pss(pid) for pid in readers))
        memory.others.append(_pss(head.pid) + sum(_pss(pid) for pid in below if pid not in readers))
        for pid in [head.pid, *readers]:
            taken[pid] = max(taken.get(pid, 0.0), _cpu(pid))
        driver = taken[head.pid]
        memory.cpu.append((time.time(), driver, sum(taken.values()) - driver))


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _cpu(pid: int) -> float:
    """Return the user and system seconds of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
