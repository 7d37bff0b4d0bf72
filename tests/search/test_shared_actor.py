"""All trials of a search in one process: the same results as with a process each, fewer processes, the same recovery.

It also fails if Ray changes what `tune/search/shared_actor.py` relies on: then trials have a process each again.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray import tune as ray_tune

from tests.helpers.made_up_trials import Curves, MadeUp, made_up_auc, planned
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.events import Event, TrialEvent
from tune.results.layout import ResultsFolder
from tune.search.algorithm import TrialSetup
from tune.search.ray_cluster import slots
from tune.search.run import SearchRun, run_trials
from tune.search.trainable import TrialDirectories
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.planned import PlannedCost
from tune.train.stream import Reports, TrialOpener

TRIALS = 12


@pytest.fixture(scope="module")
def resources() -> Iterator[dict[str, float]]:
    with slots(TRIALS) as resources:
        yield resources


@dataclass(frozen=True)
class Watched:
    """MadeUp that notes in `folder` which process opens and closes which trial, and waits between reports.

    die_at: the first process to open the trial of dims 20 is killed at that report. raise_at: the trial of dims 22
    raises an error at that report when opened first, as one that has lost its call.
    """

    folder: Path
    pause: float = 0.0
    die_at: int = 0
    raise_at: int = 0

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        self.note("opened", config)
        try:
            for report in MadeUp()(config, directory, after):
                if report.number == self.die_at and config.dims == 20 and len(self.noted("opened", config)) == 1:
                    wait_for(lambda: len({note[0] for note in self.noted("opened")}) == TRIALS, 20)
                    os.kill(os.getpid(), signal.SIGKILL)
                if report.number == self.raise_at and config.dims == 22 and len(self.noted("opened", config)) == 1:
                    raise RuntimeError("its call was lost")
                time.sleep(self.pause)
                yield report
        finally:
            self.note("closed", config)

    def note(self, what: str, config: TrialConfig) -> None:
        (self.folder / f"{config.dims} {what} {os.getpid()} {time.monotonic_ns()}").touch()

    def noted(self, what: str, config: TrialConfig | None = None) -> list[tuple[int, int]]:
        """Return (dims, process) of every opening or closing."""
        notes = [path.name.split() for path in self.folder.iterdir()]
        found = [(int(note[0]), int(note[2])) for note in notes if note[1] == what]
        return [note for note in found if config is None or note[0] == config.dims]


def wait_for(ready: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.02)


class InterruptAt(ray_tune.Callback):
    """Presses Ctrl-C at the n-th report."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def search(
    root: Path,
    resources: dict[str, float],
    opener: TrialOpener,
    callbacks: Sequence[ray_tune.Callback] = (),
    cost: Callable[[TrialConfig], PlannedCost] | None = None,
    **options: Any,
) -> tuple[SearchRun, list[TrialOutcome], list[Event]]:
    space = {"base_model": "wordllama", "loss": "cosent", "learning_rate": [1e-3], **options.pop("space")}
    folder = ResultsFolder(root / "results")
    events: list[Event] = []
    directories = TrialDirectories(folder.trials, {"wordllama": "data"}, {"seed": 0})
    setup = TrialSetup(directories, opener, TRIALS, resources, callbacks, shared=True, cost=cost)
    run = run_trials(search_config(options, space=space), folder, setup, events.append)
    return run, trial_outcomes(folder.trials, folder.asha), events


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "notes").mkdir()
    return Watched(tmp_path / "notes")


def test_concurrent_trials_share_a_process_and_keep_apart(
    tmp_path: Path, resources: dict[str, float], watched: Watched
) -> None:
    """More trials than slots, so that trainables are reset for other trials; one fails, one is lost once."""
    opener, dims = Watched(watched.folder, raise_at=3), [7, *range(20, 20 + 2 * TRIALS)]
    run, outcomes, events = search(tmp_path, resources, opener, search="grid", space={"dims": dims, "epochs": [1]})
    assert run.trials == len(outcomes) == len(dims) and run.interrupted == ""
    by_dims = {outcome.config.dims: outcome for outcome in outcomes}
    assert by_dims.pop(7).status == "failed"
    assert {outcome.status for outcome in by_dims.values()} == {"done"}
    for outcome in by_dims.values():
        assert [report.auc for report in outcome.reports] == [made_up_auc(outcome.config, n) for n in range(1, 17)]
    lost = [event.trial for event in events if isinstance(event, TrialEvent) and event.status == "lost"]
    assert lost == [by_dims[22].trial], "the others go on"
    assert len({process for _, process in watched.noted("opened")}) == 1
    assert sorted(watched.noted("closed")) == sorted(watched.noted("opened")), "no stream stays open"


def test_a_killed_process_is_a_lost_worker_for_each_of_its_trials(
    tmp_path: Path, resources: dict[str, float], watched: Watched
) -> None:
    opener = Watched(watched.folder, pause=0.02, die_at=3)
    dims = list(range(20, 20 + TRIALS))
    run, outcomes, events = search(tmp_path, resources, opener, search="grid", space={"dims": dims, "epochs": [1]})
    assert run.trials == TRIALS and {outcome.status for outcome in outcomes} == {"done"}
    assert all([report.number for report in outcome.reports] == list(range(1, 17)) for outcome in outcomes)
    lost = [event.trial for event in events if isinstance(event, TrialEvent) and event.status == "lost"]
    assert 0 < len(lost) == len(set(lost)) <= TRIALS, "once each"
    opened = opener.noted("opened")
    assert len({process for _, process in opened}) == 2 and len(opened) == TRIALS + len(lost)


def test_asha_stops_trials_in_a_shared_process(tmp_path: Path, resources: dict[str, float], watched: Watched) -> None:
    dims = list(range(200, 20, -6))
    run, outcomes, _ = search(
        tmp_path, resources, watched, search="asha", trials=30, space={"dims": dims, "epochs": [1]}
    )
    assert run.trials == 30 and {outcome.status for outcome in outcomes} == {"done", "stopped"}
    assert sorted(watched.noted("closed")) == sorted(watched.noted("opened")), "also those of stopped trials"


def test_trials_of_a_shared_process_are_held_until_they_are_decided_on_in_order(
    tmp_path: Path, resources: dict[str, float]
) -> None:
    ends = []
    for name, pause in (("quick", 0.0), ("slow", 0.05)):
        (tmp_path / name).mkdir()
        _, outcomes, _ = search(
            tmp_path / name,
            resources,
            Curves(pause=pause),
            cost=planned,
            search="asha",
            trials=2 * TRIALS,
            space={"dims": [64, 128, 256], "learning_rate": "1e-4:1e-1"},
        )
        ends.append({outcome.trial: (outcome.status, outcome.reports) for outcome in outcomes})
    assert len(ends[0]) == 2 * TRIALS and {status for status, _ in ends[0].values()} == {"done", "stopped"}
    assert ends[0] == ends[1]


def test_an_interrupt_closes_streams_that_wait_for_a_report(
    tmp_path: Path, resources: dict[str, float], watched: Watched
) -> None:
    opener, dims = Watched(watched.folder, pause=0.2), list(range(20, 20 + TRIALS))
    with pytest.raises(KeyboardInterrupt):
        callbacks = [InterruptAt(2 * TRIALS)]
        search(tmp_path, resources, opener, callbacks, search="grid", space={"dims": dims, "epochs": [1]})
    wait_for(lambda: len(opener.noted("closed")) == len(opener.noted("opened")), 10)
    assert len(opener.noted("closed")) == len(opener.noted("opened")) > 0
