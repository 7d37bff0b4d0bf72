"""Frozen trials whose layer is for queries alone: the losses see raw second texts, and so do all scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dropout
from sklearn.metrics import roc_auc_score

from tests.helpers.conformance import same_numbers
from tune.config.space import LOSSES
from tune.config.trial import TrialConfig
from tune.embed.view import PairRows, View, write_folds
from tune.train import directory as directory_module
from tune.train.frozen.dense import load_dense, make_dense, mapped_pairs
from tune.train.frozen.fit import Fit, TrainingVectors
from tune.train.frozen.refit import out_of_fold, refit
from tune.train.frozen.trial import open_frozen_trial
from tune.train.frozen.validation import Validation
from tune.train.losses import LOSS_KINDS, make_loss

CPU = torch.device("cpu")
DIMS, TEXTS = 24, 60


def config(**changes: object) -> TrialConfig:
    values = {"base_model": "m", "dims": None, "side": "query", "bias": False, "loss": "cosent", "batch_size": 32}
    return TrialConfig(**(values | {"learning_rate": 5e-3, "epochs": 2} | changes))


def pairs(count: int, seed: int) -> PairRows:
    """Return pairs of any two texts, so that most rows are a first text here and a second text there."""
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, TEXTS, (2, count))
    return PairRows(a, b, ((a + 7) % 5 == b % 5).astype(np.int8))


@pytest.fixture
def view(tmp_path: Path) -> View:
    """Random vectors, none of unit length, with folds of the pairs."""
    vectors = np.random.default_rng(0).normal(size=(TEXTS, DIMS)).astype(np.float32)
    (tmp_path / "view").mkdir()
    found = View(vectors, pairs(300, 1), pairs(150, 2), "a view", tmp_path / "view")
    write_folds(found.directory, (np.arange(450) % 3).astype(np.int8), 3, 0)
    return found


def cosines(vectors: NDArray[np.float32], rows: PairRows, weight: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of first texts after the layer with second texts as they are, in float64."""
    a, b = vectors[rows.a].astype(np.float64) @ weight.T.astype(np.float64), vectors[rows.b].astype(np.float64)
    scores: NDArray[np.float64] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return scores


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_that_of_sentence_transformers_on_mapped_queries_and_raw_documents(view: View, loss: str) -> None:
    # One batch of pairs without a text in common; mnr gets all texts labelled 0 as its third column.
    rows = PairRows(np.arange(16), np.arange(16, 32), np.tile([1, 0], 8).astype(np.int8))
    score = np.random.default_rng(3).random(16) if loss == "cosent" else None
    train = PairRows(rows.a, rows.b, rows.label, score)
    whole = View(view.vectors, train, rows, "one batch")
    now = config(loss=loss, epochs=1, hard_negatives=True, learning_rate=1e-12)
    fit = Fit(now, TrainingVectors(whole, train, CPU), train, Validation(whole, rows, (None,), CPU, "query"))
    weight = torch.randn(DIMS, DIMS, generator=torch.Generator().manual_seed(4))
    fit.dense.load_state_dict({"linear.weight": weight})

    vectors, labels = torch.from_numpy(view.vectors), torch.from_numpy(rows.label if score is None else score)
    columns = [vectors[:16] @ weight.T, vectors[16:32]]
    if loss == "mnr":
        columns, labels = [columns[0][::2], columns[1][::2], columns[1][1::2]], labels[::2]
    given = make_loss(loss, SentenceTransformer(modules=[Dropout(0.0)], device="cpu"))
    expected = given([{"sentence_embedding": one} for one in columns], labels.to(LOSS_KINDS[loss].labels))
    assert fit.advance().loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_starts_as_the_identity_and_from_the_untouched_scores(view: View, tmp_path: Path, bias: bool) -> None:
    dense = make_dense(config(bias=bias), DIMS)
    assert torch.equal(dense.linear.weight, torch.eye(DIMS))
    assert dense.linear.bias is None if not bias else not dense.linear.bias.any()
    now = config(bias=bias, learning_rate=1e-12, dropout=0.5)
    first = next(iter(open_frozen_trial(now, tmp_path / "trial", view)))
    untouched = cosines(view.vectors, view.val, np.eye(DIMS, dtype=np.float32))
    assert first.auc == pytest.approx(roc_auc_score(view.val.label, untouched), abs=1e-3), "up to ties"


@pytest.mark.parametrize("loss", LOSSES)
def test_reports_score_raw_documents_also_of_texts_that_are_queries_elsewhere(
    view: View, tmp_path: Path, loss: str
) -> None:
    before, now = view.vectors.copy(), config(loss=loss, dropout=0.1, hard_negatives=loss == "mnr")
    reports = list(open_frozen_trial(now, tmp_path / "trial", view))
    best = max(reports, key=lambda report: report.auc)
    weight = load_file(tmp_path / "trial" / "best.safetensors")
    assert set(weight) == {"linear.weight"}
    scores = cosines(view.vectors, view.val, weight["linear.weight"])
    assert roc_auc_score(view.val.label, scores) == pytest.approx(best.auc, abs=1e-9)
    dense = load_dense(now, tmp_path / "trial" / "best.safetensors", DIMS)
    mapped, rows = mapped_pairs(dense, view.vectors, view.val, "query")
    assert np.array_equal(mapped[rows.b], view.vectors[view.val.b]) and np.array_equal(before, view.vectors)
    assert np.allclose(mapped[rows.a], view.vectors[view.val.a] @ weight["linear.weight"].T, atol=1e-5)


def test_with_folds_each_pair_is_scored_by_its_fold_and_one_layer_is_refitted(view: View, tmp_path: Path) -> None:
    now = config(folds=3)
    reports = list(open_frozen_trial(now, tmp_path / "trial", view))
    best, rows = max(reports, key=lambda report: report.auc), view.train_and_val()
    weights, fold = tmp_path / "trial" / "best.safetensors", view.folds(3, 0)
    scores, label = out_of_fold(now, weights, view)
    for own in range(3):
        right = cosines(view.vectors, rows.take(fold == own), load_file(weights)[f"{own}.linear.weight"])
        assert np.allclose(scores[fold == own], right, atol=1e-5)
        assert roc_auc_score(label[fold == own], right) == pytest.approx(best.fold_aucs[own], abs=1e-6)
    refit(now, view, 1.0, tmp_path / "refit.safetensors")
    assert load_dense(now, tmp_path / "refit.safetensors", DIMS).linear.weight.shape == (DIMS, DIMS)


@pytest.mark.parametrize("axes", [{}, {"side": "both", "dims": 8}], ids=["query", "both"])
def test_a_trial_without_bias_resumes_to_the_same_numbers(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: dict[str, object]
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    now = config(dropout=0.1, **axes)
    expected = list(open_frozen_trial(now, tmp_path / "whole", view))
    stream = open_frozen_trial(now, tmp_path / "stopped", view)
    next(stream), next(stream)
    stream.close()
    resumed = list(open_frozen_trial(now, tmp_path / "stopped", view))
    assert [same_numbers(report) for report in resumed] == [same_numbers(report) for report in expected]
    assert "linear.bias" not in load_file(tmp_path / "stopped" / "best.safetensors")
