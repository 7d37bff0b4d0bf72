"""run_trials over an opener that trains nothing, where workers die: the events, and the files left behind."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import tensorboard_runs
from tests.helpers.made_up_search import MADE_UP, search
from tests.helpers.made_up_trials import made_up_auc, planned
from tune.config.search import search_config
from tune.events import SearchStarted, TrialEvent
from tune.search.ray_cluster import connected
from tune.search.run import SearchRun


@pytest.fixture(scope="module")
def resources() -> Iterator[dict[str, float]]:
    with connected(search_config(), jobs=2) as (resources, _):
        yield resources


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
        7: "failed", 10: "done", 11: "done", 12: "done", 13: "failed", 20: "done",
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

    # On resume they are left alone, also the one that was given up.
    again, outcomes, events = search(
        tmp_path, resources, search="grid", space={"dims": [7, 10, 11, 12, 13, 20], "epochs": [1]}
    )
    assert again.past == 6 and SearchStarted(total=6, finished=6, jobs=2) in events
    assert not [e for e in events if isinstance(e, TrialEvent)]
    logs = tensorboard_runs.runs(tmp_path)
    assert tensorboard_runs.failed_at_once(logs.pop(by_dims[7].trial))
    assert {trial: list(tensorboard_runs.scalars(log)) for trial, log in logs.items()} == {
        outcome.trial: [1, 2] if dims == 13 else list(range(1, 17)) for dims, outcome in by_dims.items() if dims != 7
    }


def test_a_trial_that_is_given_up_holds_nobody_else(tmp_path: Path, resources: dict[str, float]) -> None:
    space = {"dims": [7, 10, 11, 12, 13, 20], "epochs": [1]}
    run, outcomes, _ = search(tmp_path, resources, MADE_UP, planned, search="asha", trials=6, space=dict(space))
    statuses = {outcome.config.dims: outcome.status for outcome in outcomes}
    assert run.trials == 6 and statuses[7] == "failed" and statuses[13] == "failed"
    assert {statuses[dims] for dims in (10, 11, 12, 20)} <= {"done", "stopped"}
    again, _, _ = search(tmp_path, resources, MADE_UP, planned, search="asha", trials=6, space=dict(space))
    assert again == SearchRun(trials=0, interrupted="", past=6), "all is decided as before"
