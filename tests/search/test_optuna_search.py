"""TPE: how trials are recorded in the study, how it is rebuilt on resume, and which parameters it has."""

import math
import random
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.helpers.made_up_trials import ray_result, space
from tune.config.space import Point
from tune.search import tpe
from tune.search.optuna_search import PastTrial, TPESearch
from tune.search.points import grid_points, point_key


def test_the_study_records_how_a_trial_really_ended() -> None:
    search = TPESearch(space(), seed=0, past=[], study_name="x")
    for name in ("done", "stopped", "failed", "lost"):
        assert search.suggest(name)["base_model"] == "wordllama"
        if name in ("done", "stopped"):
            search.on_trial_result(name, ray_result(1 / 16, 0.6))
    search.on_trial_complete("done", ray_result(1.0, 0.8))
    # Ray passes the report at which a trial is stopped only to on_trial_complete.
    search.on_trial_complete("stopped", ray_result(4 / 16, 0.65))
    search.on_trial_complete("failed", {"failed": "because", "done": True})
    search.on_trial_complete("lost", error=True)
    states = [trial.state.name for trial in search._ot_study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert search._ot_study.trials[1].intermediate_values == {1: 0.6, 4: 0.65}, "by share of the plan"
    assert search._ot_study.best_value == 0.8


def test_a_resumed_search_knows_past_trials_and_finishes_unfinished_ones_first(tmp_path: Path) -> None:
    spaces = space(loss="cosent,angle")
    axes = TPESearch(spaces, 0, [], "y").suggest("t")
    halfway = {**axes, "learning_rate": 0.00123, "loss": "angle"}
    past = [
        PastTrial(axes, "done", {1: 0.6, 16: 0.9}),
        PastTrial({**axes, "dims": 64}, "stopped", {1: 0.5}),
        PastTrial({**axes, "dims": 256}, "failed", {}),
        PastTrial(halfway, "halfway", {1: 0.7}),
    ]
    search = TPESearch(spaces, seed=0, past=past, study_name="z")
    assert search.suggest("first") == halfway
    assert search.suggest("second") not in (halfway, axes), "a resumed search must not draw the same points again"
    search.export(tmp_path / "optuna.journal")
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.journal"))
    )
    study = optuna.load_study(study_name="z", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.best_value == 0.9


def test_constant_axes_are_not_parameters_of_the_study() -> None:
    search = TPESearch(space(dims="32", loss="cosent"), seed=0, past=[], study_name="c")
    point = search.suggest("t")
    assert point["dims"] == 32 and set(search._ot_study.trials[0].params) == {"learning_rate"}


def test_a_range_from_0_is_drawn_evenly_and_known_after_a_resume() -> None:
    spaces = space(dims="32", loss="cosent", learning_rate="1e-3", weight_decay="0:0.1")
    search = TPESearch(spaces, seed=0, past=[], study_name="d")
    points = [search.suggest(str(number)) for number in range(8)]
    decays = [point["weight_decay"] for point in points]
    assert 0 <= min(decays) < 0.05 < max(decays) <= 0.1
    past = [PastTrial({**points[0], "weight_decay": decay}, "done", {16: 0.9}) for decay in (0.0, *decays)]
    resumed = TPESearch(spaces, seed=0, past=past, study_name="d")
    assert [trial.params["weight_decay"] for trial in resumed._ot_study.trials] == [0.0, *decays]
    assert 0 <= resumed.suggest("next")["weight_decay"] <= 0.1


LISTS = {"dims": "8,16,32", "loss": "cosent,angle,cosine,contrastive", "learning_rate": "1e-3,1e-2"}


def exported(search: TPESearch, path: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of the journal."""
    search.export(path)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    return optuna.load_study(study_name="lists", storage=optuna.storages.JournalStorage(backend)).trials


def auc(point: Point) -> float:
    return 0.7 + float(point["dims"]) / 1000 + 5 * float(point["learning_rate"])


def test_no_point_of_a_list_only_space_is_suggested_twice(tmp_path: Path) -> None:
    points = grid_points(space(**LISTS))
    search = TPESearch(space(**LISTS), seed=0, past=[], study_name="lists")
    found = []
    for number in range(20):
        found.append(search.suggest(str(number)))
        assert search.suggest(str(number)) == found[-1], "the same trial has the same point"
        if number >= 2:  # three at a time
            search.on_trial_complete(str(number - 2), ray_result(1.0, auc(found[number - 2])))
    assert len(points) == 24 and len({point_key(point) for point in found}) == 20
    assert max(map(auc, found[:16])) == max(map(auc, points)), "it still learns"
    trials = search._ot_study.trials
    repeats = [trial for trial in trials if "repeat" in trial.user_attrs]
    assert repeats and {trial.state.name for trial in repeats} == {"FAIL"}
    assert [trial.state.name for trial in trials if trial not in repeats] == ["COMPLETE"] * 18 + ["RUNNING"] * 2
    assert len(exported(search, tmp_path / "journal")) == 18

    rest = [search.suggest(f"rest {number}") for number in range(5)]
    assert rest.pop() == TPESearch.FINISHED
    assert sorted(map(point_key, [*found, *rest])) == sorted(map(point_key, points))


def test_past_trials_are_not_suggested_again_whatever_their_status(tmp_path: Path) -> None:
    points = grid_points(space(**LISTS))
    past = [
        *(PastTrial(point, "done", {16: auc(point)}) for point in points[:8]),
        *(PastTrial(point, "stopped", {1: 0.6}) for point in points[8:16]),
        *(PastTrial(point, "failed", {}) for point in points[16:20]),
        *(PastTrial(point, "halfway", {1: 0.7}) for point in points[20:22]),
    ]
    search = TPESearch(space(**LISTS), seed=0, past=past, study_name="lists")
    found = [search.suggest(str(number)) for number in range(5)]
    assert found[:2] == points[20:22] and found[4] == TPESearch.FINISHED
    assert sorted(map(point_key, found[2:4])) == sorted(map(point_key, points[22:]))
    assert len(exported(search, tmp_path / "journal")) == 20


def test_a_space_of_one_point_is_tried_once() -> None:
    one = space(dims="8", loss="angle", learning_rate="1e-3")
    search = TPESearch(one, seed=0, past=[], study_name="one")
    assert [search.suggest("a"), search.suggest("b")] == [grid_points(one)[0], TPESearch.FINISHED]


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("others", [(), ("mnr", "cosine,angle")])
def test_suggestions_are_those_of_optunas_own_sampler(others: tuple[str, ...], jobs: int) -> None:
    """jobs: trials that run at the same time; TPE takes them for bad ones."""
    ranges = {"learning_rate": "1e-4:1e-1", "warmup": "0:0.5"}
    spaces = (*space(**ranges), *(one for loss in others for one in space(loss=loss, **ranges)))
    quick, plain = (TPESearch(spaces, seed=3, past=[], study_name=name) for name in ("quick", "plain"))
    plain._ot_study.sampler = optuna.samplers.TPESampler(seed=3)
    generator = random.Random(0)
    suggested: dict[str, Any] = {}
    for number in range(60):
        while len(suggested) < jobs:
            name = f"t{number}-{len(suggested)}"
            suggested[name] = quick.suggest(name)
            assert plain.suggest(name) == suggested[name]
        name = generator.choice(list(suggested))
        point = suggested.pop(name)
        auc, budget = 0.9 - point["warmup"] * 0.1 + generator.gauss(0, 0.02), generator.choice([1 / 16, 0.25, 1.0])
        result = {"failed": "because"} if number % 17 == 9 else ray_result(budget, round(auc, 2))
        for search in (quick, plain):
            search.on_trial_complete(name, result)


def test_with_many_trials_tpe_still_learns_from_the_best_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpe, "SHOWN", 40)
    spaces = space(dims="32", loss="cosent", learning_rate="1e-5:1e-1", warmup="0:1")
    search = TPESearch(spaces, seed=0, past=[], study_name="many")
    generator, points = random.Random(0), []
    for number in range(300):
        point = search.suggest(f"t{number}")
        points.append(point)
        off = abs(math.log10(point["learning_rate"]) + 3) + abs(point["warmup"] - 0.3)
        search.on_trial_complete(f"t{number}", ray_result(1.0, 0.9 - 0.05 * off + generator.gauss(0, 0.001)))
    late = points[-100:]
    assert sum(3e-4 < point["learning_rate"] < 3e-3 and 0.1 < point["warmup"] < 0.5 for point in late) > 60
