"""A search over Modal calls that train nothing: what the head does for hundreds of concurrent trials.

The stand-in answers the calls (`SimulatedTrials`), and `python -m tests.helpers.simulated_trials` is the head: Ray, the
driver, and the readers of the calls, without a container, data, or the phases before and after.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.modal_local import Put
from tune.events import Event, TrialEvent
from tune.train.stream import Report


@dataclass(frozen=True)
class SimulatedTrials:
    """Answers calls of `train_trial`: 16 reports along a made-up curve, `seconds` apart.

    dims 7 always fails. dims 9 loses its first container after three reports.
    """

    seconds: float
    lost: set[str] = field(default_factory=set)
    """Calls that have lost their container."""

    async def __call__(self, arguments: tuple[Any, ...], put: Put) -> Any:
        [order] = arguments
        dims, key = order["config"]["dims"], order["key"]
        container = f"ta-{key[:8]}-{key in self.lost}"
        message = {"reports": [], "failed": None, "container": container, "began": time.time(), "key": key}
        await asyncio.sleep(random.Random(key).uniform(0, self.seconds))
        for number in range(1, 17):
            if dims == 7:
                message["failed"] = "seven is not taken"
                put(order["queue"], order["partition"], message)
                return message
            if dims == 9 and number == 4 and key not in self.lost:
                self.lost.add(key)
                raise RuntimeError("the container was lost")
            message["reports"].append(_report(order["config"], number).metrics())
            if not put(order["queue"], order["partition"], message):
                return None
            await asyncio.sleep(0 if number == 16 else self.seconds)
        return message


def _report(config: dict[str, Any], number: int) -> Report:
    auc = 0.5 + config["dims"] / 10_000 + config["learning_rate"] + number / 1000
    return Report(number, number / 16, auc, auc, 0.5, 0.1, 1.0, 1000.0, float(number), step=number)


def head(root: Path, jobs: int, options: dict[str, Any], shared: bool) -> dict[str, Any]:
    """Run a search of simulated trials against the Modal of this process's environment; return what happened.

    options: of the search. shared: whether trials share a process.
    """
    from cluster import settings
    from cluster.call_stream import CallOpener
    from cluster.callbacks import EndCalls
    from cluster.ledger import end_calls
    from cluster.train_trial import train_trial
    from tune.config.search import search_config
    from tune.results.layout import ResultsFolder
    from tune.search.algorithm import TrialSetup
    from tune.search.ray_cluster import slots
    from tune.search.run import run_trials
    from tune.search.trainable import TrialDirectories

    folder, views = ResultsFolder(root), {"wordllama": "view"}
    space = {"base_model": "wordllama", "loss": "cosent", "epochs": 1, **options.pop("space")}
    events: Counter[str] = Counter()

    def count(event: Event) -> None:
        if isinstance(event, TrialEvent):
            events[event.status] += 1

    with settings.app.run():
        queue = settings.queue()
        queue.hydrate()
        directories = TrialDirectories(folder.trials, views, {"seed": 0})
        opener = CallOpener(train_trial.object_id, queue.object_id, "many", folder.trials, views)
        end = EndCalls(directories)
        with slots(jobs) as resources:
            began, cpu = time.monotonic(), time.process_time()
            setup = TrialSetup(directories, opener, jobs, resources, [end], shared=shared)
            run = run_trials(search_config(options, space=space), folder, setup, count)
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            end.close()
            left = end_calls(folder.trials, settings.END_SECONDS)
    return {
        "trials": run.trials,
        "events": dict(events),
        "left_running": len(left.running) + len(left.unknown),
        "seconds": seconds,
        "driver_cpu_seconds": cpu,
    }


def head_command(root: Path, jobs: int, shared: bool = True, **options: Any) -> list[str]:
    """Return the command that runs `head` in a process of its own; it prints the result as its last line."""
    mode = [] if shared else ["--one-process-each"]
    arguments = ["--jobs", str(jobs), "--options", json.dumps(options), *mode]
    return [sys.executable, "-m", "tests.helpers.simulated_trials", str(root), *arguments]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--options", type=json.loads, required=True)
    parser.add_argument("--one-process-each", action="store_true")
    given = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    print(json.dumps(head(given.root, given.jobs, given.options, not given.one_process_each)))
