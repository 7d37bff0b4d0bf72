"""A thousand concurrent trial calls from one head, against the stand-in for Modal with simulated trials.

The stand-in answers the calls itself: 16 reports each, 10 seconds apart. The head is real: Ray, the driver, the process
that reads all calls, Modal's client. Memory is the PSS of the head's process tree, sampled every second; what one
more concurrent trial takes is the difference between the peaks of a small and a large search. The way it was before, a
process per trial, is measured in the same run with a few trials.

The stand-in has no network and no other users: requests per second are those that Modal would get, seconds are not.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.common import Options, Result, Target
from tests.benchmarks.modal_cost import _cpu
from tests.benchmarks.ray_cost import _descendants, _is_worker, _pss
from tests.helpers.simulated_trials import SimulatedTrials, head_command
from tests.modal_local import ModalLocal

TITLE = "1,000 concurrent trial calls from one head, against the stand-in for Modal"
REPORTS = 16
SPACE = {"dims": [16, 32, 64], "learning_rate": "1e-4:1e-2"}


def run(options: Options) -> Result:
    """Run three searches, each with all its trials at the same time."""
    result, seconds = Result(), 10.0 if not options.quick else 1.0
    few, many = options.pick(20, 10), options.pick(1000, 60)
    small, large = _search(few, seconds), _search(many, seconds)
    one, several = _search(2, 2.0, shared=False), _search(8, 2.0, shared=False)
    per_trial = (large["peak_mb"] - small["peak_mb"]) / (many - few)
    before = (several["peak_mb"] - one["peak_mb"]) / 6
    reports = REPORTS * (many - few)
    result.figures = {
        "concurrent_trials": large.pop("most_calls"),
        # Beyond the start, which is the same in both.
        "driver_cpu_ms_per_report": 1000 * (large["driver_cpu"] - small["driver_cpu"]) / reports,
        "trials_process_cpu_ms_per_report": 1000 * (large["workers_cpu"] - small["workers_cpu"]) / reports,
        "mb_per_concurrent_trial": per_trial,
        "mb_per_concurrent_trial_with_a_process_each": before,
        "head": large,
        "head_with_few_trials": small,
    }
    result.targets = [
        Target("concurrent calls", result.figures["concurrent_trials"], least=many),
        Target("MB of the head per concurrent trial", per_trial, most=5.0),
        Target("requests to Modal per second", large["requests_per_second"], most=100.0),
    ]
    result.notes.append("the head, its readers and the stand-in share this machine's cores")
    return result


def _search(jobs: int, seconds: float, shared: bool = True) -> dict[str, Any]:
    """Run a search of `jobs` trials at the same time, their reports `seconds` apart; return what its head took."""
    peaks: dict[str, float] = {"peak_mb": 0.0, "driver_mb": 0.0, "trials_process_mb": 0.0}
    most, workers_cpu, first, last = 0, 0.0, 0.0, 0.0
    simulated = {"train_trial": SimulatedTrials(seconds)}
    with tempfile.TemporaryDirectory() as folder, ModalLocal(Path(folder) / "modal", simulated=simulated) as stand_in:
        command = head_command(Path(folder) / "head", jobs, shared, search="random", trials=jobs, space=SPACE)
        log = Path(folder) / "log"
        with open(log, "w") as out:
            process = subprocess.Popen(command, env=stand_in.env, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 900
            while process.poll() is None and time.monotonic() < deadline:
                below = _descendants(process.pid)
                workers = [pid for pid in below if _is_worker(pid)]
                sizes = {pid: _pss(pid) for pid in [process.pid, *below]}
                now = {
                    "peak_mb": sum(sizes.values()),
                    "driver_mb": sizes[process.pid],
                    "trials_process_mb": max((sizes[pid] for pid in workers), default=0.0),
                }
                peaks = {name: max(peaks[name], now[name]) for name in peaks}
                running = len(stand_in.running_calls())
                first = first or (time.monotonic() if running else 0.0)
                last = time.monotonic() if running > most else last
                most = max(most, running)
                workers_cpu = max(workers_cpu, sum(map(_cpu, workers)))
                time.sleep(1.0)
        finally:
            process.kill()
            process.wait(30)
        lines = log.read_text().splitlines()
        if process.returncode != 0:
            raise RuntimeError("\n".join(lines[-20:]))
        found = json.loads(lines[-1])
        if found["events"].get("done") != jobs or found["left_running"]:
            raise RuntimeError(f"not all of {jobs} trials ended: {found}")
        rpcs = {name: stand_in.rpcs[name] for name in ("FunctionMap", "QueueGet", "FunctionGetOutputs")}
    return {
        **peaks,
        "most_calls": most,
        "seconds": found["seconds"],
        "seconds_from_the_first_spawn_to_the_last": last - first,
        "reports_per_second": jobs * REPORTS / found["seconds"],
        "requests_per_second": sum(rpcs.values()) / found["seconds"],
        "requests": rpcs,
        "driver_cpu": found["driver_cpu_seconds"],
        "workers_cpu": workers_cpu,
    }
