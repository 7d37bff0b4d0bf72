"""Matryoshka trials: the first components are trained to work alone, and reports give the AUC at each dims."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.helpers.conformance import same_numbers
from tests.helpers.frozen_trials import numpy_cosine
from tests.helpers.tiny import Prepared
from tune.config.space import LOSSES
from tune.embed.view import View
from tune.train import directory as directory_module
from tune.train.frozen.dense import dense_cosine, load_dense
from tune.train.frozen.trial import open_frozen_trial

SMALLER = (8, 16)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_at_every_dims_and_its_weights_score_as_reported(
    prepared: Prepared, tmp_path: Path, loss: str
) -> None:
    # The angle loss is slow to learn: its gradient is that of a complex angle, averaged over the dimensions.
    config = prepared.config(loss=loss, epochs=12 if loss == "angle" else 4, matryoshka=SMALLER)
    reports = list(open_frozen_trial(config, tmp_path, prepared.view))
    for number, report in enumerate(reports, 1):
        assert list(report.auc_by_dims) == ["8", "16", "32"]
        assert report.auc == report.auc_by_dims["8"]
        assert report.best_auc == max(earlier.auc_by_dims["8"] for earlier in reports[:number])
    best = max(reports, key=lambda report: report.auc)
    assert min(best.auc_by_dims.values()) > 0.6, "chance is 0.5"
    weights, val = tmp_path / "best.safetensors", prepared.view.val
    dense = load_dense(config, weights, prepared.base.dims)
    for dims in (*SMALLER, 32):
        scores = numpy_cosine(weights, prepared.view.vectors, val, dims)
        # In float64, two pairs of nearly equal cosine may swap.
        assert roc_auc_score(val.label, scores) == pytest.approx(best.auc_by_dims[str(dims)], abs=1e-4)
        truncated = dense_cosine(dense, prepared.view.vectors, val, dims)
        assert np.allclose(truncated, scores, atol=1e-5)
        assert roc_auc_score(val.label, truncated) == pytest.approx(best.auc_by_dims[str(dims)], abs=1e-9)
    smallest = dense_cosine(dense, prepared.view.vectors, val, SMALLER[0])
    assert ((smallest >= best.threshold) == (val.label == 1)).mean() == pytest.approx(best.accuracy)
    whole = dense_cosine(dense, prepared.view.vectors, val)
    assert np.array_equal(whole, dense_cosine(dense, prepared.view.vectors, val, 32))


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_with_nothing_to_learn_are_accepted(prepared: Prepared, tmp_path: Path, loss: str) -> None:
    config = prepared.config(loss=loss, batch_size=1, train_size=40, epochs=1, matryoshka=SMALLER)
    assert list(open_frozen_trial(config, tmp_path, prepared.view))[-1].last


def test_few_components_score_better_than_those_of_a_plain_trial(prepared: Prepared, tmp_path: Path) -> None:
    options = {"epochs": 6, "learning_rate": 1e-2, "loss": "mnr"}
    config = prepared.config(**options)
    list(open_frozen_trial(config, tmp_path / "plain", prepared.view))
    plain = load_dense(config, tmp_path / "plain" / "best.safetensors", prepared.base.dims)
    cut = roc_auc_score(prepared.view.val.label, dense_cosine(plain, prepared.view.vectors, prepared.view.val, 4))
    nested = list(open_frozen_trial(prepared.config(**options, matryoshka=(4, 8)), tmp_path / "nested", prepared.view))
    assert nested[-1].best_auc > cut + 0.01


@pytest.mark.parametrize("state_seconds", [0.0, 1e9], ids=["with-state", "without-state"])
def test_closed_half_way_ends_as_if_never_closed(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_seconds: float
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", state_seconds)
    config = prepared.config(dropout=0.1, matryoshka=SMALLER)
    expected = list(open_frozen_trial(config, tmp_path / "whole", prepared.view))
    stream = open_frozen_trial(config, tmp_path / "parts", prepared.view)
    seen = [next(stream) for _ in range(7)]
    stream.close()
    assert (tmp_path / "parts" / "state.pt").exists() == (state_seconds == 0.0)
    resumed = list(open_frozen_trial(config, tmp_path / "parts", prepared.view))
    assert resumed[:7] == seen
    assert [same_numbers(report) for report in resumed] == [same_numbers(report) for report in expected]
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "parts")]
    assert best[0] == best[1]


def test_reports_of_a_plain_trial_have_no_auc_by_dims(prepared: Prepared, tmp_path: Path) -> None:
    view: View = prepared.view
    assert all(not r.auc_by_dims and not r.fold_aucs for r in open_frozen_trial(prepared.config(), tmp_path, view))
