"""run_trials over an opener that trains nothing, with each algorithm: which trials run, and what a resume goes on with.

Whether Ray's processes live or die is not the subject, so they are shared; see test_run.py.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tensorboard_runs
from tests.helpers.command import children
from tests.helpers.made_up_search import MADE_UP, Cost, search
from tests.helpers.made_up_trials import Curves, planned
from tune.config.search import search_config
from tune.errors import Terminated
from tune.events import Event, Message, SearchStarted
from tune.results.layout import ResultsFolder
from tune.search.algorithm import TrialSetup
from tune.search.ray_cluster import connected
from tune.search.run import SearchRun, run_trials
from tune.search.trainable import TrialDirectories
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.stream import Report


@pytest.fixture(scope="module")
def resources(warm_ray: None) -> Iterator[dict[str, float]]:
    with connected(search_config(), jobs=2) as (resources, _):
        yield resources


def test_asha_stops_the_weak_and_keeps_the_strong(tmp_path: Path, resources: dict[str, float]) -> None:
    dims = [100, 90, 80, 70, 60, 50, 40, 30, 20, 10]
    run, outcomes, _ = search(tmp_path, resources, search="asha", trials=24, space={"dims": dims})
    assert run.trials == 10, "every configuration once"
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    stopped = [outcome for outcome in outcomes if outcome.status == "stopped"]
    assert len(done) + len(stopped) == len(outcomes) == run.trials and done and stopped
    assert max(outcome.config.dims for outcome in outcomes) == max(outcome.config.dims for outcome in done)
    for outcome in stopped:
        assert outcome.last is not None and outcome.last.number in (1, 4), "trials are stopped only at rungs"
    for outcome in outcomes:
        assert [report.number for report in outcome.reports] == list(range(1, len(outcome.reports) + 1))
    check_files(tmp_path, outcomes)


def check_files(folder: Path, outcomes: list[TrialOutcome]) -> None:
    """A search leaves a trial's own files, its log for TensorBoard and what it keeps of all, none of which is Ray's."""
    assert {path.name for path in folder.iterdir()} == {"trials", "runs", "asha.json", "optuna.journal"}
    rungs = json.loads((folder / "asha.json").read_text())
    assert set(rungs["stopped"]) == {outcome.trial for outcome in outcomes if outcome.status == "stopped"}
    assert set(rungs["rungs"]["0.0625"]) == {outcome.trial for outcome in outcomes}
    own = {".lock", "trial.json", "best.safetensors", "reports.jsonl", "done"}
    for outcome in outcomes:
        assert {path.name for path in outcome.directory.iterdir()} <= own
    assert len([path for path in (folder / "runs").rglob("*") if path.is_file()]) == len(outcomes)


def test_random_and_optuna_run_the_requested_number_of_trials(tmp_path: Path, resources: dict[str, float]) -> None:
    for algorithm in ("random", "optuna"):
        space = {"dims": [20, 30], "learning_rate": "1e-4:1e-2"}
        run, outcomes, _ = search(tmp_path / algorithm, resources, search=algorithm, trials=6, space=space)
        assert run.trials == len(outcomes) == 6 and {outcome.status for outcome in outcomes} == {"done"}


@pytest.mark.parametrize("algorithm", ["optuna", "random"])
def test_a_list_only_space_ends_when_it_is_exhausted(
    tmp_path: Path, resources: dict[str, float], algorithm: str
) -> None:
    space = {"dims": [10, 20, 30], "epochs": [1, 2]}
    run, outcomes, events = search(tmp_path, resources, search=algorithm, trials=40, space=dict(space))
    assert run == SearchRun(trials=6, interrupted="", past=0)
    assert len(outcomes) == 6 and {outcome.status for outcome in outcomes} <= {"done", "stopped"}
    assert SearchStarted(total=6, finished=0, jobs=2) in events
    again, _, events = search(tmp_path, resources, search=algorithm, trials=40, space=dict(space))
    assert again == SearchRun(trials=0, interrupted="", past=6) and events == [SearchStarted(6, 6, 2)]


def test_every_trial_is_another_configuration_also_after_a_resume(tmp_path: Path, resources: dict[str, float]) -> None:
    space = {"dims": [10, 20, 30, 40, 50, 60], "epochs": [1, 2], "learning_rate": [1e-3, 1e-2]}
    for trials, past, total in ((20, 0, 20), (30, 20, 24), (30, 24, 24)):
        run, outcomes, events = search(tmp_path, resources, search="asha", trials=trials, space=dict(space))
        assert run == SearchRun(trials=total - past, interrupted="", past=past)
        assert len(outcomes) == total and SearchStarted(total=total, finished=past, jobs=2) in events


RANGES = {"dims": [64, 128, 256], "learning_rate": "1e-4:1e-1"}


def ends(outcomes: list[TrialOutcome]) -> dict[str, tuple[str, list[Report]]]:
    return {outcome.trial: (outcome.status, outcome.reports) for outcome in outcomes}


def test_asha_in_order_repeats_itself_and_resumes_as_if_it_had_not_stopped(
    tmp_path: Path, resources: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, pause: float, **options: Any) -> tuple[SearchRun, list[TrialOutcome], list[Event]]:
        opener = Curves(pause=pause)
        return search(tmp_path / name, resources, opener, planned, search="asha", trials=16, space=RANGES, **options)

    _, first, _ = run("first", pause=0.02)
    whole = ends(first)
    statuses = [status for status, _ in whole.values()]
    assert len(whole) == 16 and statuses.count("stopped") > 4 and statuses.count("done") > 2
    stopped = json.loads((tmp_path / "first" / "asha.json").read_text())["stopped"]
    assert stopped == {key: reports[-1].budget for key, (status, reports) in whole.items() if status == "stopped"}
    assert capsys.readouterr().out == "", "--json prints to stdout"
    _, second, _ = run("second", pause=0.2)
    assert ends(second) == whole

    seen: list[Event] = []

    def interrupt(event: Event) -> None:
        seen.append(event)
        if len(seen) == 60:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run("third", pause=0.1, emit=interrupt)
    part = trial_outcomes(tmp_path / "third" / "trials", tmp_path / "third" / "asha.json")
    assert 2 < len(part) < 16 and "halfway" in {outcome.status for outcome in part}
    again, third, events = run("third", pause=0.02)
    assert ends(third) == whole and again.past + again.trials == 16
    assert not [event for event in events if isinstance(event, Message)]
    logs = tensorboard_runs.runs(tmp_path / "third")
    assert {trial: len(tensorboard_runs.scalars(log)) for trial, log in logs.items()} == {
        trial: len(reports) for trial, (_, reports) in whole.items()
    }
    assert run("third", pause=0.0)[0] == SearchRun(trials=0, interrupted="", past=16)


def test_a_search_that_cannot_go_on_in_order_goes_on_by_arrival_and_says_so(
    tmp_path: Path, resources: dict[str, float]
) -> None:
    def run(trials: int, cost: Cost | None, **options: Any) -> list[str]:
        _, outcomes, events = search(
            tmp_path, resources, Curves(), cost, search="asha", trials=trials, space=RANGES, **options
        )
        assert len(outcomes) == trials
        return [event.text for event in events if isinstance(event, Message)]

    assert run(4, planned) == [] and (tmp_path / "order.json").exists()
    [message] = run(6, planned, jobs=1)
    assert message.startswith("the search began with 2 jobs and has 1 now: from here on, trials are suggested")
    assert not (tmp_path / "order.json").exists()
    assert run(8, planned, jobs=2) == [], "it stays so"
    (tmp_path / "order.json").write_text(json.dumps({"jobs": 2}))
    [message] = run(10, planned)
    assert "were suggested differently before" in message
    assert run(12, None) == []


def test_searches_of_this_file_share_their_workers(tmp_path: Path, resources: dict[str, float]) -> None:
    """Each would otherwise wait for processes that import for seconds, as would all that use `warm_ray`."""
    workers = []
    for name in ("first", "second"):
        search(tmp_path / name, resources, search="random", trials=4, space={"dims": [20, 30, 40, 50]})
        workers.append(set(children(os.getpid(), "ray::_Host")))
    assert workers[0] == workers[1] and 0 < len(workers[0]) <= 2


def test_a_signal_between_a_trial_and_its_start_ends_the_search_in_order(
    tmp_path: Path, resources: dict[str, float]
) -> None:
    driver, sent = os.getpid(), list[bool]()

    class Signalling(TrialDirectories):
        """Sends SIGTERM to the driver while it names the second trial, which then waits for its start."""

        def digest(self, axes: dict[str, Any]) -> str:
            if axes["dims"] == 11 and os.getpid() == driver and not sent:
                sent.append(True)
                os.kill(driver, signal.SIGTERM)
            return super().digest(axes)

    folder = ResultsFolder(tmp_path)
    config = search_config({"search": "grid"}, space={"base_model": "wordllama", "dims": [10, 11, 12], "epochs": [1]})
    directories = Signalling(folder.trials, {"wordllama": "data"}, {"seed": 0})
    # In case it arrives when nobody listens.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    with pytest.raises(Terminated):
        run_trials(config, folder, TrialSetup(directories, MADE_UP, 1, resources), lambda event: None)
    signal.signal(signal.SIGTERM, before)
    assert sent and {one.config.dims for one in trial_outcomes(folder.trials, folder.asha)} <= {10}
