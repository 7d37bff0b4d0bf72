"""Finalists must still have the weights that they reported; one that has not costs its own place and no other."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiny import Prepared
from tune.config.search import search_config
from tune.data.split import labelled_sides
from tune.embed.prepare import ViewOptions, prepare_base
from tune.embed.sources import load_source
from tune.embed.view import View, write_sample
from tune.evaluate.finalists import choose, leading
from tune.events import ignore
from tune.pipeline.pairs import read_split
from tune.results.leaderboard import ranked
from tune.train.frozen.trial import open_frozen_trial
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.trained import Models


@pytest.fixture(scope="module")
def trials(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trials, of two sizes."""
    folder = tmp_path_factory.mktemp("finals")
    for dims in (8, 32):
        for rate in (5e-3, 1e-2):
            config = prepared.config(dims=dims, learning_rate=rate)
            list(open_frozen_trial(config, folder / "trials" / config.digest(prepared.base.digest), prepared.view))
    return folder


def outcomes(folder: Path) -> list[TrialOutcome]:
    return trial_outcomes(folder / "trials", folder / "asha.json")


def best(folder: Path, count: int, grid: bool) -> list[TrialOutcome]:
    """The leading trials by what they reported."""
    scored = [(outcome.best.auc, outcome) for outcome in outcomes(folder)]  # type: ignore[union-attr]
    return [outcome for _, outcome in leading(scored, count, grid)]


def test_finalists_are_the_best_by_val_and_in_a_grid_of_every_cell(trials: Path) -> None:
    ranked = sorted(outcomes(trials), key=lambda outcome: -outcome.best.auc)  # type: ignore[union-attr]
    assert [o.trial for o in best(trials, 2, grid=False)] == [o.trial for o in ranked[:2]]
    cells = best(trials, 1, grid=True)
    assert {o.config.dims for o in cells} == {8, 32} and cells[0].trial == ranked[0].trial and len(cells) == 2


@pytest.mark.parametrize("damage", ["other weights", "torn", "gone"])
def test_a_damaged_trial_leaves_and_the_next_one_takes_its_place(
    trials: Path, prepared: Prepared, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(trials, tmp_path / "copy")
    first, second, third, *_ = best(tmp_path / "copy", 4, grid=False)
    weights = first.directory / "best.safetensors"
    if damage == "other weights":
        same_shape = next(o for o in (second, third) if o.config.dims == first.config.dims)
        shutil.copy(same_shape.directory / "best.safetensors", weights)
    elif damage == "torn":
        weights.write_bytes(weights.read_bytes()[:-40])
    else:
        weights.unlink()
    said: list[str] = []
    models = Models({prepared.base.name: prepared.base}, prepared.cache, None)
    chosen = choose(outcomes(tmp_path / "copy"), models, 2, False, said.append)
    assert [model.outcome.trial for model in chosen.finalists] == [second.trial, third.trial]
    assert len(said) == 1 and first.trial in said[0] and "\n" not in said[0]


def test_what_may_be_as_good_as_the_leader_on_a_sample_is_scored_on_all_of_val(
    prepared: Prepared, tmp_path: Path
) -> None:
    configs = [prepared.config(dims=dims, learning_rate=rate) for dims, rate in ((4, 2e-2), (16, 5e-3), (32, 5e-3))]
    label, models = prepared.view.val.label, Models({prepared.base.name: prepared.base}, prepared.cache, None)
    generator = np.random.default_rng(5)
    sample = write_sample(prepared.view_path, np.sort(generator.choice(len(label), 60, replace=False)))
    for config in configs:
        sampled = config.model_copy(update={"val_sample": sample})
        list(open_frozen_trial(sampled, tmp_path / "trials" / sampled.digest(prepared.base.digest), prepared.view))
    said: list[str] = []
    chosen = choose(outcomes(tmp_path), models, 1, False, said.append)
    aucs = {model.outcome.trial: model.val_auc() for model in chosen.contenders}
    assert len(chosen.contenders) == 3, "60 pairs tell none of them apart"
    assert [model.outcome.trial for model in chosen.finalists] == [max(aucs, key=aucs.__getitem__)]
    assert [aucs[model.outcome.trial] for model in chosen.contenders] == sorted(aucs.values(), reverse=True)
    assert said == ["scoring 3 contenders on all of validation"]
    for model in chosen.contenders:
        assert model.outcome.best is not None and model.outcome.best.val_pairs == 60
        assert model.reported_auc() == pytest.approx(model.outcome.best.auc, abs=1e-6) != model.val_auc()


def test_trials_scored_on_all_of_val_come_before_those_scored_on_a_sample() -> None:
    def row(trial: str, auc: float, pairs: int) -> dict[str, object]:
        return {"trial": trial, "status": "done", "reported_auc": auc, "val_auc": auc, "val_pairs": pairs}

    table = ranked([row("a", 0.95, 100), row("b", 0.90, 500), row("c", 0.91, 500), row("d", 0.93, 100)])
    assert [(one["trial"], one["rank"]) for one in table] == [("c", 1), ("b", 2), ("a", 3), ("d", 4)]


def test_the_leaderboard_keeps_the_order_of_the_finalists() -> None:
    def row(trial: str, reported: float, val: float) -> dict[str, object]:
        return {"trial": trial, "status": "done", "reported_auc": reported, "val_auc": val}

    rows = [row("a", 0.91, 0.80), row("b", 0.90, 0.90), row("c", 0.905, 0.905), row("d", 0.89, 0.89)]
    table = ranked([*rows, {"trial": "baseline:x", "status": "baseline", "val_auc": 0.95}], ["b", "a"])
    assert [(one["trial"], one.get("rank")) for one in table] == [
        ("b", 1), ("c", 2), ("a", 3), ("d", 4), ("baseline:x", None),
    ]  # fmt: skip
    assert not any("reported_auc" in one for one in table)


def test_a_trial_that_cannot_be_trained_on_all_pairs_leaves_its_place(prepared: Prepared, tmp_path: Path) -> None:
    """With folds, the model that is tested is trained again, which may diverge where the folds did not."""
    split, _ = read_split(search_config(space={"base_model": "wordllama"}), ignore)
    view = ViewOptions(folds=3)
    source = load_source("wordllama")
    base = prepare_base(source, labelled_sides(split, 0), prepared.cache, ("", ""), view)
    for rate in (5e-3, 1e-2):
        config = prepared.config(dims=8, learning_rate=rate, folds=3)
        list(open_frozen_trial(config, tmp_path / "trials" / f"{rate:g}", View.open(base.view(prepared.cache))))
    for trial in (
        first for first in (tmp_path / "trials").iterdir() if first.name == best(tmp_path, 1, False)[0].trial
    ):
        about = json.loads((trial / "trial.json").read_text())
        (trial / "trial.json").write_text(json.dumps(_with(about, "learning_rate", 3e38)))
    said: list[str] = []
    found = choose(outcomes(tmp_path), Models({base.name: base}, prepared.cache, None), 2, False, said.append)
    assert len(found.finalists) == 1 and found.finalists[0].config.learning_rate < 1
    assert len(said) == 1 and "cannot be a finalist: training it on all pairs failed (the " in said[0]


def _with(values: dict[str, Any], name: str, value: float) -> dict[str, Any]:
    """Return plain data with the value of a key changed, however deep it is."""
    return {
        key: value if key == name else _with(one, name, value) if isinstance(one, dict) else one
        for key, one in values.items()
    }
