"""Finalists must still have the weights that they reported; one that has not costs its own place and no other."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.tiny import Prepared
from tune.evaluate.finalists import choose_finalists, sound_finalists
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


def test_finalists_are_the_best_by_val_and_in_a_grid_of_every_cell(trials: Path) -> None:
    ranked = sorted(outcomes(trials), key=lambda outcome: -outcome.best.auc)  # type: ignore[union-attr]
    assert [o.trial for o in choose_finalists(outcomes(trials), 2, grid=False)] == [o.trial for o in ranked[:2]]
    cells = choose_finalists(outcomes(trials), 1, grid=True)
    assert {o.config.dims for o in cells} == {8, 32} and cells[0].trial == ranked[0].trial and len(cells) == 2


@pytest.mark.parametrize("damage", ["other weights", "torn", "gone"])
def test_a_damaged_trial_leaves_and_the_next_one_takes_its_place(
    trials: Path, prepared: Prepared, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(trials, tmp_path / "copy")
    first, second, third, *_ = choose_finalists(outcomes(tmp_path / "copy"), 4, grid=False)
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
    chosen = sound_finalists(outcomes(tmp_path / "copy"), models, 2, False, said.append)
    assert [model.outcome.trial for model in chosen] == [second.trial, third.trial]
    assert len(said) == 1 and first.trial in said[0] and "\n" not in said[0]


def test_the_leaderboard_keeps_the_order_of_the_finalists_where_all_of_val_decided() -> None:
    def row(trial: str, reported: float, val: float) -> dict[str, object]:
        return {"trial": trial, "status": "done", "reported_auc": reported, "val_auc": val}

    rows = [row("a", 0.91, 0.80), row("b", 0.90, 0.90), row("c", 0.905, 0.905), row("d", 0.89, 0.89)]
    table = ranked([*rows, {"trial": "baseline:x", "status": "baseline", "val_auc": 0.95}], ["b", "a"])
    assert [(one["trial"], one.get("rank")) for one in table] == [
        ("b", 1), ("c", 2), ("a", 3), ("d", 4), ("baseline:x", None),
    ]  # fmt: skip
    assert not any("reported_auc" in one for one in table)
