"""Trials run in the workers that Ray started ahead, and in no others."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.helpers.made_up_trials import Curves, planned
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.events import ignore
from tune.results.layout import ResultsFolder
from tune.search.algorithm import TrialSetup
from tune.search.ray_cluster import connected
from tune.search.run import run_trials
from tune.search.trainable import TrialDirectories
from tune.train.stream import Reports

JOBS = 2


@dataclass(frozen=True)
class Noted(Curves):
    """Notes the process of every trial."""

    folder: Path = Path()

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        (self.folder / str(os.getpid())).touch()
        yield from super().__call__(config, directory, after)


def idle_workers() -> set[int]:
    family = psutil.Process().children(recursive=True)
    return {process.pid for process in family if "ray::IDLE" in " ".join(process.cmdline())}


def test_trials_in_order_run_in_the_workers_that_are_ready(tmp_path: Path) -> None:
    config = search_config(
        {"search": "asha", "trials": 24, "jobs": JOBS},
        space={"base_model": "wordllama", "loss": "cosent", "dims": [64, 128], "learning_rate": "1e-4:1e-1"},
    )
    folder, processes = ResultsFolder(tmp_path / "results"), tmp_path / "processes"
    processes.mkdir()
    directories = TrialDirectories(folder.trials, {"wordllama": "data"}, {"seed": 0})
    with connected(config, JOBS) as (resources, fitting):
        assert fitting == JOBS
        deadline = time.monotonic() + 60
        while len(ready := idle_workers()) < JOBS and time.monotonic() < deadline:
            time.sleep(0.05)
        opener = Noted(pause=0.02, folder=processes)
        setup = TrialSetup(directories, opener, JOBS, resources, cost=planned)
        assert run_trials(config, folder, setup, ignore).trials == 24
    assert {int(path.name) for path in processes.iterdir()} <= ready, "a new process would import for seconds"
