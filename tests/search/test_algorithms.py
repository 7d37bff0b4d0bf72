"""The searchers and ASHA's rungs: what they draw, remember and forget."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler

from tune.config.search import search_config
from tune.config.space import Space
from tune.results.rungs import RungFile
from tune.search.asha import KeptASHA
from tune.search.optuna_search import PastTrial, TPESearch
from tune.search.points import grid_points, random_points
from tune.search.points_search import PointsSearch


def space(**axes: Any) -> tuple[Space, ...]:
    return search_config(space={"base_model": "wordllama", **axes}).spaces


def test_a_grid_is_the_full_product() -> None:
    points = grid_points(space(dims="8,16", loss="cosent,mnr", learning_rate="1e-3,1e-2", epochs="1"))
    assert len(points) == 8 and len({repr(point) for point in points}) == 8
    assert {point["dims"] for point in points} == {8, 16}


def test_random_points_are_seeded_distinct_and_within_their_ranges() -> None:
    wide = space(learning_rate="1e-4:1e-2", dropout="0:0.5")
    points = random_points(wide, 200, seed=3)
    assert points == random_points(wide, 200, seed=3) != random_points(wide, 200, seed=4)
    rates = sorted(point["learning_rate"] for point in points)
    assert rates[0] >= 1e-4 and rates[-1] <= 1e-2
    assert 0.0005 < rates[100] < 0.002, "uniform in the logarithm: the median is near 1e-3"
    assert 0.2 < sorted(point["dropout"] for point in points)[100] < 0.3
    assert len(random_points(space(dims="8,16", loss="cosent", learning_rate="1e-3"), 10, seed=0)) == 2
    searcher = PointsSearch(points[:2])
    assert [searcher.suggest("a"), searcher.suggest("b")] == points[:2]
    assert searcher.suggest("c") == PointsSearch.FINISHED


def result(budget: float, auc: float) -> dict[str, Any]:
    return {"budget": budget, "best_auc": auc, "training_iteration": 1}


def test_optuna_hears_how_a_trial_really_ended() -> None:
    search = TPESearch(space(), seed=0, past=[], study_name="x")
    for name in ("done", "stopped", "failed", "lost"):
        assert search.suggest(name)["base_model"] == "wordllama"
        if name in ("done", "stopped"):
            search.on_trial_result(name, result(1 / 16, 0.6))
    search.on_trial_complete("done", result(1.0, 0.8))
    # Ray does not tell the searcher of the report at which a trial is stopped, except as its end.
    search.on_trial_complete("stopped", result(4 / 16, 0.65))
    search.on_trial_complete("failed", {"failed": "because", "done": True})
    search.on_trial_complete("lost", error=True)
    states = [trial.state.name for trial in search._ot_study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert search._ot_study.trials[1].intermediate_values == {1: 0.6, 4: 0.65}, "by share of the plan"
    assert search._ot_study.best_value == 0.8


def test_a_search_that_goes_on_knows_the_past_and_first_ends_what_was_half_way(tmp_path: Path) -> None:
    axes = search_space_point = {**TPESearch(space(), 0, [], "y").suggest("t")}
    halfway = {**axes, "learning_rate": 0.00123, "loss": "angle"}
    past = [
        PastTrial(axes, "done", {1: 0.6, 16: 0.9}),
        PastTrial({**axes, "dims": 64}, "stopped", {1: 0.5}),
        PastTrial({**axes, "dims": 256}, "failed", {}),
        PastTrial(halfway, "halfway", {1: 0.7}),
    ]
    search = TPESearch(space(), seed=0, past=past, study_name="z")
    assert search.suggest("first") == halfway
    assert search.suggest("second") not in (halfway, search_space_point), "the same seed must not draw the same"
    search.export(tmp_path / "optuna.journal")
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.journal"))
    )
    study = optuna.load_study(study_name="z", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.best_value == 0.9


def asha(path: Path) -> KeptASHA:
    return KeptASHA(RungFile(path), key=lambda config: config["key"])


def trial(key: str, run: str = "") -> Any:
    return SimpleNamespace(trial_id=key + run, config={"key": key})


def test_rungs_survive_and_count_no_trial_twice(tmp_path: Path) -> None:
    path = tmp_path / "asha.json"
    scheduler = asha(path)
    for number in range(8):
        scheduler.on_trial_add(None, trial(f"t{number}"))  # type: ignore[arg-type]
        scheduler.on_trial_result(None, trial(f"t{number}"), result(1 / 16, 0.5 + number / 100))
    assert scheduler.on_trial_result(None, trial("bad"), result(1 / 16, 0.4)) == TrialScheduler.STOP
    kept = json.loads(path.read_text())
    assert len(kept["rungs"]["0.0625"]) == 9 and list(kept["stopped"]) == ["bad"]

    resumed = asha(path)
    assert resumed._brackets[0]._rungs == scheduler._brackets[0]._rungs
    assert resumed.on_trial_result(None, trial("t3", "again"), result(1 / 16, 0.53)) == TrialScheduler.CONTINUE
    assert json.loads(path.read_text()) == kept, "a trial that is read again counts once"
    assert resumed.on_trial_result(None, trial("bad", "again"), result(1 / 16, 0.4)) == TrialScheduler.STOP
    assert resumed.on_trial_result(None, trial("worst"), result(1 / 16, 0.3)) == TrialScheduler.STOP
    # The stopped ones hold their places in the rung; the mediocre one would pass in an empty rung.
    assert asha(tmp_path / "new.json").on_trial_result(None, trial("worst"), result(1 / 16, 0.3)) == "CONTINUE"


def test_a_failed_trial_is_no_business_of_ashas(tmp_path: Path) -> None:
    scheduler = asha(tmp_path / "asha.json")
    assert scheduler.on_trial_result(None, trial("t"), {"failed": "because"}) == TrialScheduler.CONTINUE
    scheduler.on_trial_complete(None, trial("t"), {"failed": "because"})
    assert scheduler._brackets[0]._rungs[-1][1] == {}


@pytest.mark.parametrize("algorithm", ["asha", "optuna"])
def test_constant_axes_are_no_parameters_of_the_study(algorithm: str) -> None:
    search = TPESearch(space(dims="32", loss="cosent"), seed=0, past=[], study_name="c")
    point = search.suggest("t")
    assert point["dims"] == 32 and set(search._ot_study.trials[0].params) == {"learning_rate"}
