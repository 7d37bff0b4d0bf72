"""AUC, thresholds and test scores: against scikit-learn, against brute force, and in cases solved by hand."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from tune.metrics.score import (
    Labels,
    Scores,
    fit_accuracy_threshold,
    fit_logistic_threshold,
    fit_thresholds,
    roc_auc,
    score_pairs,
)

Pairs = tuple[NDArray[np.float64], NDArray[np.int64]]


def scored(seed: int, n: int = 400, shift: float = 0.8, levels: int | None = None) -> Pairs:
    """Normal scores, positives `shift` higher; rounded to `levels` steps per unit to make ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.35).astype(np.int64)
    labels[:2] = 0, 1
    scores = rng.normal(size=n) + shift * labels
    return (np.round(scores * levels) / levels if levels else scores), labels


@pytest.mark.parametrize("levels", [None, 1, 3, 20])
@pytest.mark.parametrize("seed", range(8))
def test_auc_equals_sklearns(seed: int, levels: int | None) -> None:
    scores, labels = scored(seed, n=5 + 40 * seed, shift=0.3 * (seed - 2), levels=levels)
    assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "auc"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 1.0),
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 0, 0], 0.0),
        ([0.5, 0.5, 0.5], [0, 1, 0], 0.5),
        ([0.1, 0.3, 0.3, 0.4], [0, 0, 1, 1], 0.875),
        ([1, 2], [0, 1], 1.0),
    ],
)
def test_auc_by_hand(scores: list[float], labels: list[int], auc: float) -> None:
    assert roc_auc(np.array(scores, dtype=np.float64), np.array(labels)) == auc


def test_auc_takes_float32_and_bool_and_any_row_order() -> None:
    scores, labels = scored(3)
    auc = roc_auc(scores.astype(np.float32), labels.astype(bool))
    shuffled = np.random.default_rng(0).permutation(labels.size)
    assert roc_auc(scores.astype(np.float32)[shuffled], labels.astype(np.int8)[shuffled]) == auc
    assert type(auc) is float


@pytest.mark.parametrize("function", [roc_auc, fit_accuracy_threshold, fit_logistic_threshold, fit_thresholds])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [1, 1], "both classes"),
        ([0.1, 0.2], [0, 0], "both classes"),
        ([], [], "both classes"),
        ([0.1, math.nan], [0, 1], "1 of 2 scores are not finite"),
        ([math.inf, -math.inf], [0, 1], "2 of 2 scores are not finite"),
        ([0.1, 0.2, 0.3], [0, 1], "1-d arrays of the same length"),
        ([[0.1], [0.2]], [[0], [1]], "1-d arrays of the same length"),
        ([0.1, 0.2, 0.3], [0, 1, 2], "0 or 1"),
        ([0.1, 0.2, 0.3], [0, 1, -1], "0 or 1"),
    ],
)
def test_invalid_pairs_are_refused(function: object, scores: list[float], labels: list[int], message: str) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=message):
        function(np.array(scores), np.array(labels))


def best_accuracy(scores: Scores, labels: Labels) -> float:
    """Best accuracy over every possible cut."""
    cuts = [*np.unique(scores), np.inf]
    return max(float(((scores >= cut) == labels).mean()) for cut in cuts)


@pytest.mark.parametrize("levels", [None, 1, 5])
@pytest.mark.parametrize("seed", range(8))
def test_accuracy_threshold_is_the_best_and_reports_its_accuracy(seed: int, levels: int | None) -> None:
    scores, labels = scored(seed, n=120, shift=0.6 * (seed - 2), levels=levels)
    threshold, accuracy = fit_accuracy_threshold(scores, labels)
    assert accuracy == best_accuracy(scores, labels)
    assert float(((scores >= threshold) == labels).mean()) == accuracy


@pytest.mark.parametrize(
    ("scores", "labels", "threshold", "accuracy"),
    [
        ([0.0, 0.2, 0.6, 0.8], [0, 0, 1, 1], 0.4, 1.0),
        # 3 of 4 correct between 0 and 1, and between 2 and 4: the wider gap wins.
        ([0.0, 1.0, 2.0, 4.0], [0, 1, 0, 1], 3.0, 0.75),
        # The same with equal gaps: the lower one.
        ([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], 0.5, 0.75),
        # Between them is as good as "always 1", which must be strictly better to win.
        ([0.0, 1.0, 2.0], [1, 0, 1], 1.5, 2 / 3),
        # Upside down: "always 0", one range above.
        ([0.0, 1.0, 2.0], [1, 0, 0], 4.0, 2 / 3),
        ([0.0, 1.0, 2.0], [1, 1, 0], -2.0, 2 / 3),
        ([0.3, 0.3, 0.3], [1, 0, 1], -0.7, 2 / 3),
        ([0.3, 0.3, 0.3], [0, 0, 1], 1.3, 2 / 3),
        ([0.3, 0.3], [0, 1], -0.7, 0.5),
    ],
)
def test_accuracy_threshold_by_hand(scores: list[float], labels: list[int], threshold: float, accuracy: float) -> None:
    assert fit_accuracy_threshold(np.array(scores), np.array(labels)) == pytest.approx((threshold, accuracy))


def test_accuracy_threshold_survives_float_noise() -> None:
    scores, labels = scored(5, n=2000, levels=50)
    threshold, accuracy = fit_accuracy_threshold(scores, labels)
    noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, scores.size)
    assert float(((scores + noise >= threshold) == labels).mean()) == accuracy


def test_accuracy_threshold_separates_adjacent_floats() -> None:
    for low in (0.5, np.nextafter(0.5, 1.0), 0.1, -0.3):
        high = float(np.nextafter(low, 1.0))
        threshold, accuracy = fit_accuracy_threshold(np.array([low, high]), np.array([0, 1]))
        assert low < threshold <= high
        assert accuracy == 1.0


def sklearn_threshold(scores: Scores, labels: Labels) -> float:
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(scores[:, None], labels)
    return float(-model.intercept_[0] / model.coef_[0, 0])


@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize("shift", [0.2, 0.8, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_logistic_threshold_equals_sklearns(seed: int, shift: float, levels: int | None) -> None:
    scores, labels = scored(seed, shift=shift, levels=levels)
    scores = 0.7 + 0.05 * scores  # cosines are rarely centred
    assert fit_logistic_threshold(scores, labels) == pytest.approx(sklearn_threshold(scores, labels), rel=1e-6)


def test_logistic_threshold_moves_with_the_scores() -> None:
    scores, labels = scored(2)
    threshold = fit_logistic_threshold(scores, labels)
    for scale, offset in ((1e-6, 0.0), (1e6, 0.0), (1e-3, 0.9)):
        moved = fit_logistic_threshold(scores * scale + offset, labels)
        assert (moved - offset) / scale == pytest.approx(threshold, rel=1e-6)


def test_logistic_threshold_of_separate_classes_is_midway() -> None:
    labels = np.array([0, 0, 1, 1])
    assert fit_logistic_threshold(np.array([0.1, 0.2, 0.6, 0.9]), labels) == pytest.approx(0.4)
    assert fit_logistic_threshold(np.array([0.1, 0.4, 0.4, 0.9]), labels) == pytest.approx(0.4)


@pytest.mark.parametrize("overlap", [1e-2, 1e-5, 1e-9])
def test_logistic_threshold_of_barely_overlapping_classes(overlap: float) -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.uniform(-1, 0, 500), rng.uniform(0, 1, 500), [overlap, -overlap]])
    labels = np.repeat([0, 1, 0, 1], [500, 500, 1, 1])
    assert abs(fit_logistic_threshold(scores, labels)) < 0.02


@pytest.mark.parametrize("positives", [100, 200, 300])
def test_logistic_threshold_never_reverses_the_scores(positives: int) -> None:
    labels = np.repeat([1, 0], [positives, 400 - positives])
    scores = np.random.default_rng(0).normal(size=400) - labels
    threshold = fit_logistic_threshold(scores, labels)
    assert np.isfinite(threshold)
    assert (scores >= threshold).all() == (positives >= 200)
    assert (scores < threshold).all() == (positives < 200)


def test_logistic_threshold_of_equal_scores_is_the_larger_class() -> None:
    assert fit_logistic_threshold(np.full(3, 0.3), np.array([1, 0, 1])) == pytest.approx(-0.7)
    assert fit_logistic_threshold(np.full(3, 0.3), np.array([0, 0, 1])) == pytest.approx(1.3)


def test_fit_thresholds_fits_both() -> None:
    scores, labels = scored(4)
    thresholds = fit_thresholds(scores, labels)
    assert thresholds.accuracy == fit_accuracy_threshold(scores, labels)[0]
    assert thresholds.logistic == fit_logistic_threshold(scores, labels)


@pytest.mark.parametrize("seed", range(5))
def test_score_equals_sklearns(seed: int) -> None:
    scores, labels = scored(seed, levels=10)
    predicted, hard = scores >= 0.4, scores >= 0.7
    score = score_pairs(scores, labels, 0.4, 0.7)
    assert (score.n, score.positives) == (labels.size, labels.sum())
    assert score.auc == roc_auc(scores, labels)
    assert score.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert score.precision == pytest.approx(precision_score(labels, predicted))
    assert score.recall == pytest.approx(recall_score(labels, predicted))
    assert score.hard_auc == pytest.approx(balanced_accuracy_score(labels, hard))
    assert score.hard_auc == pytest.approx(roc_auc_score(labels, hard.astype(float)))
    assert (score.auc_low, score.auc_high, score.redraws) == (None, None, 0)


def test_score_counts_a_score_at_the_threshold_as_1() -> None:
    score = score_pairs(np.array([0.2, 0.4]), np.array([0, 1]), 0.4, 0.4)
    assert (score.accuracy, score.precision, score.recall, score.hard_auc) == (1.0, 1.0, 1.0, 1.0)


def test_score_without_logistic_threshold_and_without_predictions() -> None:
    score = score_pairs(np.array([0.2, 0.4]), np.array([0, 1]), 0.9)
    assert score.hard_auc is None
    assert (score.precision, score.recall, score.accuracy) == (0.0, 0.0, 0.5)


def test_score_can_be_written_as_json() -> None:
    scores, labels = scored(0)
    assert json.loads(json.dumps(asdict(score_pairs(scores, labels, 0.4, 0.7))))["n"] == labels.size
    json.dumps(asdict(fit_thresholds(scores, labels)))


@pytest.mark.parametrize("thresholds", [(math.nan, None), (0.1, math.nan)])
def test_score_refuses_a_nan_threshold(thresholds: tuple[float, float | None]) -> None:
    with pytest.raises(ValueError, match="not a number"):
        score_pairs(np.array([0.2, 0.4]), np.array([0, 1]), *thresholds)
