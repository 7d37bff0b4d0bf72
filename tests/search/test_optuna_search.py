"""TPE: how trials are recorded in the study, how it is rebuilt on resume, and which parameters it has."""

from pathlib import Path

import optuna

from tests.helpers.made_up_trials import ray_result, space
from tune.search.optuna_search import PastTrial, TPESearch


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
    axes = TPESearch(space(), 0, [], "y").suggest("t")
    halfway = {**axes, "learning_rate": 0.00123, "loss": "angle"}
    past = [
        PastTrial(axes, "done", {1: 0.6, 16: 0.9}),
        PastTrial({**axes, "dims": 64}, "stopped", {1: 0.5}),
        PastTrial({**axes, "dims": 256}, "failed", {}),
        PastTrial(halfway, "halfway", {1: 0.7}),
    ]
    search = TPESearch(space(), seed=0, past=past, study_name="z")
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
