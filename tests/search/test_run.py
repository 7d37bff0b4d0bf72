"""run_trials over an opener that trains nothing: which trials run, the events, and the files left behind."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tensorboard_runs
from tests.helpers.made_up_trials import Curves, MadeUp, made_up_auc, planned
from tune.config.search import SearchConfig, search_config
from tune.config.trial import TrialConfig
from tune.events import Event, Message, SearchStarted, TrialEvent
from tune.results.layout import ResultsFolder
from tune.search.algorithm import TrialSetup
from tune.search.ray_cluster import connected
from tune.search.run import SearchRun, run_trials
from tune.search.trainable import TrialDirectories
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.planned import PlannedCost
from tune.train.stream import Report, TrialOpener

Cost = Callable[[TrialConfig], PlannedCost]
MADE_UP = MadeUp()


@pytest.fixture(scope="module")
def resources() -> Iterator[dict[str, float]]:
    with connected(search_config(), jobs=2) as (resources, _):
        yield resources


def search(
    root: Path, resources: dict[str, float], opener: TrialOpener = MADE_UP, cost: Cost | None = None, **options: Any
) -> tuple[SearchRun, list[TrialOutcome], list[Event]]:
    space = {"base_model": "wordllama", "loss": "cosent", "learning_rate": [1e-3], **options.pop("space")}
    events: list[Event] = []
    emit = options.pop("emit", events.append)
    config: SearchConfig = search_config(options, space=space)
    folder = ResultsFolder(root)
    directories = TrialDirectories(root / "trials", {"wordllama": "data"}, {"seed": 0})
    setup = TrialSetup(directories, opener, options.get("jobs", 2), resources, cost=cost)
    run = run_trials(config, folder, setup, emit)
    return run, trial_outcomes(folder.trials, folder.asha), events


def damage_logs(folder: Path, torn: str, short: str, old: str) -> None:
    """Leave the logs as a kill would: the last record torn off, the last two missing; or as an earlier version did."""
    [torn_log], [short_log], [old_log] = ([*folder.glob(f"runs/*-{trial}/*")] for trial in (torn, short, old))
    torn_log.write_bytes(torn_log.read_bytes()[:-3])
    data, ends = short_log.read_bytes(), [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 16 + int.from_bytes(data[ends[-1] : ends[-1] + 8], "little"))
    short_log.write_bytes(data[: ends[-3]])
    (folder / "ray" / f"{old}_123").mkdir(parents=True)
    old_log.rename(folder / "ray" / f"{old}_123" / old_log.name)
    old_log.parent.rmdir()


def test_a_grid_with_a_failing_trial_and_one_whose_worker_dies(tmp_path: Path, resources: dict[str, float]) -> None:
    run, outcomes, events = search(
        tmp_path, resources, search="grid", space={"dims": [7, 10, 11, 12, 13, 20], "epochs": [1]}
    )
    by_dims = {outcome.config.dims: outcome for outcome in outcomes}
    assert {dims: outcome.status for dims, outcome in by_dims.items()} == {
        7: "failed", 10: "done", 11: "done", 12: "done", 13: "halfway", 20: "done",
    }  # fmt: skip
    assert by_dims[7].error == "seven is not taken"
    assert by_dims[13].error != "" and "\n" not in by_dims[13].error
    assert run.trials == 6 and run.interrupted == ""
    lost = [e for e in events if isinstance(e, TrialEvent) and e.status == "lost"]
    assert len(lost) == 3 and {e.trial for e in lost} == {by_dims[13].trial}, "restarted three times"
    ends = {e.trial: e for e in events if isinstance(e, TrialEvent) and e.status in ("done", "failed")}
    assert len(ends) == 6 and ends[by_dims[20].trial].best_auc == made_up_auc(by_dims[20].config, 16)

    logs = tensorboard_runs.runs(tmp_path)
    assert set(logs) == {outcome.trial for outcome in outcomes}
    assert tensorboard_runs.failed_at_once(logs[by_dims[7].trial])
    assert all(list(tensorboard_runs.scalars(logs[by_dims[dims].trial])) == list(range(1, 17)) for dims in (10, 20))
    assert list(tensorboard_runs.scalars(logs[by_dims[13].trial])) == [1, 2], "each restart replays its reports"
    damage_logs(tmp_path, by_dims[10].trial, by_dims[11].trial, by_dims[12].trial)
    shutil.rmtree(logs[by_dims[7].trial].path)

    # On resume, finished and failed trials are left alone and the lost one is restarted.
    again, outcomes, events = search(
        tmp_path, resources, search="grid", space={"dims": [7, 10, 11, 12, 13, 20], "epochs": [1]}
    )
    assert again.past == 5 and SearchStarted(total=6, finished=5, jobs=2) in events
    assert {e.trial for e in events if isinstance(e, TrialEvent)} == {by_dims[13].trial}
    logs = tensorboard_runs.runs(tmp_path)
    assert tensorboard_runs.failed_at_once(logs.pop(by_dims[7].trial))
    assert {trial: list(tensorboard_runs.scalars(log)) for trial, log in logs.items()} == {
        outcome.trial: [1, 2] if dims == 13 else list(range(1, 17)) for dims, outcome in by_dims.items() if dims != 7
    }


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


def test_a_trial_that_is_given_up_holds_nobody_else(tmp_path: Path, resources: dict[str, float]) -> None:
    space = {"dims": [7, 10, 11, 12, 13, 20], "epochs": [1]}
    run, outcomes, _ = search(tmp_path, resources, MADE_UP, planned, search="asha", trials=6, space=dict(space))
    statuses = {outcome.config.dims: outcome.status for outcome in outcomes}
    assert run.trials == 6 and statuses[7] == "failed" and statuses[13] == "halfway"
    assert {statuses[dims] for dims in (10, 11, 12, 20)} <= {"done", "stopped"}
    again, _, _ = search(tmp_path, resources, MADE_UP, planned, search="asha", trials=6, space=dict(space))
    assert again == SearchRun(trials=0, interrupted="", past=6), "all is decided as before"
