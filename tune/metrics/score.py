"""ROC AUC, thresholds and the test score of one model, computed from the scores of labelled pairs.

Every number that needs no resampling. Pure functions, float64 inside; a score at or above a threshold always counts
as 1. Row order does not change the numbers (the logistic threshold up to rounding).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]] | NDArray[np.bool_]


@dataclass(frozen=True)
class Thresholds:
    """The two thresholds of one model, fitted on validation pairs, in units of its scores."""

    accuracy: float
    logistic: float


@dataclass(frozen=True)
class ModelScore:
    """Score of one model on one set of pairs; everything but counts and correlations is in [0, 1].

    `accuracy`, `precision` and `recall` are taken at the accuracy threshold. `hard_auc` is None if there is no
    logistic threshold. `intervals.with_interval` sets `auc_low` and `auc_high` (None before, and if no interval can be
    given), `redraws`, the number of bootstrap draws repeated because they held only one class, and `interval`: what the
    interval is, as in "bootstrap over 4,552 components", or why there is none. `spearman`, in [-1, 1], and its
    interval from the same draws: where pairs have graded scores (see `spearman.correlate`).
    """

    n: int
    positives: int
    auc: float
    auc_low: float | None
    auc_high: float | None
    accuracy: float
    hard_auc: float | None
    precision: float
    recall: float
    redraws: int
    interval: str = ""
    spearman: float | None = None
    spearman_low: float | None = None
    spearman_high: float | None = None


def checked_pairs(scores: Scores, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores as float64 [n] and labels as bool [n], in row order.

    Raises ValueError if they are not two 1-d arrays of the same length, a score is not finite, a label is not 0 or 1,
    or only one class is present.
    """
    values = np.asarray(scores, dtype=np.float64)
    given = np.asarray(labels)
    if values.ndim != 1 or given.shape != values.shape:
        raise ValueError(f"scores {values.shape} and labels {given.shape} must be two 1-d arrays of the same length")
    if not np.isfinite(values).all():
        raise ValueError(f"{_count(~np.isfinite(values))} of {values.size} scores are not finite")
    positive = given == 1
    if not (positive | (given == 0)).all():
        raise ValueError("labels must be 0 or 1")
    positives = _count(positive)
    if positives == 0 or positives == values.size:
        raise ValueError(f"both classes are needed, got {positives} positives among {values.size} pairs")
    return values, positive


def roc_auc(scores: Scores, labels: Labels) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative; ties count half.

    Mann-Whitney U of the positives over n1 * n0, as with average ranks (Hanley and McNeil 1982). scores [n], labels
    [n] of 0 and 1. Raises ValueError as `checked_pairs` does.
    """
    values, positive = checked_pairs(scores, labels)
    # searchsorted is several times faster if the needles are sorted as well.
    positives, negatives = np.sort(values[positive]), np.sort(values[~positive])
    below = np.searchsorted(negatives, positives, side="left").sum()
    not_above = np.searchsorted(negatives, positives, side="right").sum()
    return (int(below) + int(not_above)) / (2 * positives.size * negatives.size)


def fit_accuracy_threshold(scores: Scores, labels: Labels) -> tuple[float, float]:
    """Return the threshold with the highest accuracy of `score >= threshold`, and that accuracy.

    The threshold is midway between two neighbouring scores; among equally accurate ones, the one in the widest gap
    wins, then the lowest. "Always 1" and "always 0" win only if strictly better (or if all scores are equal; "always
    1" first); their threshold is outside the scores, see `_outside`. Raises ValueError as `checked_pairs` does.
    """
    values, positive = checked_pairs(scores, labels)
    levels, level = np.unique(values, return_inverse=True)
    gain = np.bincount(level, weights=np.where(positive, -1.0, 1.0), minlength=levels.size)
    # correct[k]: pairs classified correctly if levels k and above count as 1.
    correct = _count(positive) + np.concatenate(([0.0], np.cumsum(gain)))
    gaps = np.concatenate(([0.0], np.diff(levels), [0.0]))
    best = np.flatnonzero(correct == correct.max())
    cut = int(best[np.argmax(gaps[best])])
    accuracy = float(correct[cut]) / values.size
    if cut == 0 or cut == levels.size:
        return _outside(values, always=cut == 0), accuracy
    return _midway(float(levels[cut - 1]), float(levels[cut])), accuracy


def fit_logistic_threshold(scores: Scores, labels: Labels) -> float:
    """Return the score at which an unregularised logistic regression of label on score predicts 0.5.

    The slope is kept at or above 0, since scores at or above the threshold count as 1. If the positives' mean score is
    not above the negatives', the best such fit is flat and predicts the larger class everywhere ("always 1" at a tie);
    the threshold is then outside the scores, see `_outside`. Classes that do not overlap have no finite fit; the
    threshold is then midway between the highest negative and the lowest positive. Raises ValueError as
    `checked_pairs` does.
    """
    values, positive = checked_pairs(scores, labels)
    positives, negatives = values[positive], values[~positive]
    # The likelihood is concave, and its derivative at slope 0 has the sign of this difference.
    if not positives.mean() > negatives.mean():
        return _outside(values, always=positives.size >= negatives.size)
    highest, lowest = float(negatives.max()), float(positives.min())
    if highest <= lowest:
        return _midway(highest, lowest)
    centre, spread = float(values.mean()), float(values.std())
    slope, intercept = _logistic_fit((values - centre) / spread, positive)
    threshold = centre - spread * intercept / slope if slope > 0.0 else math.inf
    # A slope of 0 up to rounding puts the crossing at infinity, which JSON cannot hold.
    return threshold if math.isfinite(threshold) else _outside(values, always=positives.size >= negatives.size)


def fit_thresholds(scores: Scores, labels: Labels) -> Thresholds:
    """Fit both thresholds on the given (validation) pairs. Raises ValueError as `checked_pairs` does."""
    return Thresholds(fit_accuracy_threshold(scores, labels)[0], fit_logistic_threshold(scores, labels))


def score_pairs(
    scores: Scores, labels: Labels, accuracy_threshold: float, logistic_threshold: float | None = None
) -> ModelScore:
    """Score one model on these pairs, without an interval; fits nothing.

    `hard_auc` is the ROC AUC of the logistic threshold's hard 0/1 predictions, (TPR + TNR) / 2. Precision is 0 if
    nothing is predicted 1. Raises ValueError as `checked_pairs` does, and for a NaN threshold.
    """
    values, positive = checked_pairs(scores, labels)
    if math.isnan(accuracy_threshold) or (logistic_threshold is not None and math.isnan(logistic_threshold)):
        raise ValueError("a threshold is not a number")
    predicted = values >= accuracy_threshold
    positives, called, found = _count(positive), _count(predicted), _count(predicted & positive)
    hard_auc = None
    if logistic_threshold is not None:
        hard_auc = _balanced_accuracy(values >= logistic_threshold, positive)
    return ModelScore(
        n=values.size,
        positives=positives,
        auc=roc_auc(scores, labels),
        auc_low=None,
        auc_high=None,
        accuracy=_count(predicted == positive) / values.size,
        hard_auc=hard_auc,
        precision=found / max(called, 1),
        recall=found / positives,
        redraws=0,
    )


def _count(rows: NDArray[np.bool_]) -> int:
    """Number of true rows as a Python int, which json can write (unlike numpy's)."""
    return int(np.count_nonzero(rows))


def _balanced_accuracy(predicted: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    return (float(predicted[positive].mean()) + float((~predicted[~positive]).mean())) / 2


def _midway(low: float, high: float) -> float:
    """Threshold that separates two scores, low < high: midway, or `high` if no float is between them."""
    middle = low + (high - low) / 2
    return middle if middle > low else high


def _outside(values: NDArray[np.float64], always: bool) -> float:
    """Finite threshold that counts all these scores as 1 (`always`) or as 0.

    It is a full range of the scores away from them (1 if all are equal), so that unseen scores fall on the same side.
    """
    low, high = float(values.min()), float(values.max())
    away = high - low or 1.0
    return low - away if always else high + away


def _logistic_fit(x: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the maximum-likelihood logistic regression, by damped Newton steps.

    x [n] is standardised and the classes overlap, so a finite maximum exists.
    """
    y = positive.astype(np.float64)

    def loss(slope: float, intercept: float) -> float:
        logit = slope * x + intercept
        return float(np.logaddexp(0.0, logit).sum() - logit @ y)

    share = float(y.mean())
    slope, intercept = 0.0, math.log(share / (1.0 - share))
    current = loss(slope, intercept)
    for _ in range(100):
        # Far below the threshold exp overflows to inf, and the probability is then correctly 0.
        with np.errstate(over="ignore"):
            probability = 1.0 / (1.0 + np.exp(-(slope * x + intercept)))
        weight = probability * (1.0 - probability)
        error = y - probability
        ga, gb = float(error @ x), float(error.sum())
        haa, hab, hbb = float(weight @ (x * x)), float(weight @ x), float(weight.sum())
        determinant = haa * hbb - hab * hab
        if determinant <= 0.0:
            break
        da, db = (hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant
        step = 1.0
        while (tried := loss(slope + step * da, intercept + step * db)) > current and step > 1e-6:
            step /= 2
        if tried > current:
            break
        slope, intercept, current = slope + step * da, intercept + step * db, tried
        if abs(da) + abs(db) <= 1e-10 * (1.0 + abs(slope) + abs(intercept)):
            break
    return slope, intercept
