"""ROC AUC, thresholds and the test score of one model, from the scores of labelled pairs.

Owns every number that needs no resampling. Pure functions, float64 inside; a score counts as 1 where it is at
or above a threshold, everywhere. In another row order the numbers are the same (the logistic threshold to
rounding).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]] | NDArray[np.bool_]


@dataclass(frozen=True)
class Thresholds:
    """The two thresholds of one model, in units of its scores, both fitted on validation pairs."""

    accuracy: float
    logistic: float


@dataclass(frozen=True)
class TestScore:
    """One model on one set of pairs; all but counts are shares in [0, 1].

    `accuracy`, `precision` and `recall` are those at the accuracy threshold. `hard_auc` is None where no
    logistic threshold is known; `auc_low` and `auc_high` are None until `intervals.with_interval` sets them,
    and then `redraws` is how many bootstrap draws held one class only and were drawn again.
    """

    __test__: ClassVar[bool] = False  # the name starts with Test, but pytest must not collect it

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


def checked_pairs(scores: Scores, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores as float64 [n] and labels as bool [n], in the rows' order.

    ValueError: not two rows of one length, a score that is not finite, a label other than 0 and 1, one class
    only.
    """
    values = np.asarray(scores, dtype=np.float64)
    given = np.asarray(labels)
    if values.ndim != 1 or given.shape != values.shape:
        raise ValueError(f"scores {values.shape} and labels {given.shape} must be two rows of one length")
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
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    The Mann-Whitney U of the positives over n1 * n0, as with average ranks (Hanley and McNeil 1982). Scores
    [n], labels [n] of 0 and 1. ValueError as in `checked_pairs`.
    """
    values, positive = checked_pairs(scores, labels)
    # Both sides sorted: searchsorted walks sorted needles several times faster than unsorted ones.
    wanted, unwanted = np.sort(values[positive]), np.sort(values[~positive])
    below = np.searchsorted(unwanted, wanted, side="left").sum()
    not_above = np.searchsorted(unwanted, wanted, side="right").sum()
    return (int(below) + int(not_above)) / (2 * wanted.size * unwanted.size)


def fit_accuracy_threshold(scores: Scores, labels: Labels) -> tuple[float, float]:
    """The threshold with the highest accuracy of `score >= threshold`, and that accuracy.

    The threshold lies midway between two neighbouring scores. Where several are equally accurate, the one in
    the widest gap is taken, then the lowest. "Always 1" and "always 0" are taken only where strictly better
    (or where all scores are equal; "always 1" first): such a threshold lies outside, see `_outside`.
    ValueError as in `checked_pairs`.
    """
    values, positive = checked_pairs(scores, labels)
    levels, level = np.unique(values, return_inverse=True)
    gain = np.bincount(level, weights=np.where(positive, -1.0, 1.0), minlength=levels.size)
    # correct[k]: pairs told right when levels k and above count as 1.
    correct = _count(positive) + np.concatenate(([0.0], np.cumsum(gain)))
    gaps = np.concatenate(([0.0], np.diff(levels), [0.0]))
    best = np.flatnonzero(correct == correct.max())
    cut = int(best[np.argmax(gaps[best])])
    accuracy = float(correct[cut]) / values.size
    if cut == 0 or cut == levels.size:
        return _outside(values, always=cut == 0), accuracy
    return _midway(float(levels[cut - 1]), float(levels[cut])), accuracy


def fit_logistic_threshold(scores: Scores, labels: Labels) -> float:
    """The score at which an unregularised logistic regression of label on score says 0.5.

    The slope is held at or above 0, since a score at or above the threshold will count as 1: where the
    positives' mean score is not above the negatives', the best such fit is flat and says the larger class
    everywhere ("always 1" at a tie), and the threshold lies outside, see `_outside`. Classes that do not
    overlap have no finite fit; the threshold is then midway between the highest negative and the lowest
    positive. ValueError as in `checked_pairs`.
    """
    values, positive = checked_pairs(scores, labels)
    wanted, unwanted = values[positive], values[~positive]
    # At slope 0 the likelihood's derivative has the sign of this difference, and the likelihood is concave.
    if not wanted.mean() > unwanted.mean():
        return _outside(values, always=wanted.size >= unwanted.size)
    highest, lowest = float(unwanted.max()), float(wanted.min())
    if highest <= lowest:
        return _midway(highest, lowest)
    centre, spread = float(values.mean()), float(values.std())
    slope, intercept = _logistic_fit((values - centre) / spread, positive)
    threshold = centre - spread * intercept / slope if slope > 0.0 else math.inf
    # A slope that is 0 but for rounding puts the crossing at infinity, which no file can hold.
    return threshold if math.isfinite(threshold) else _outside(values, always=wanted.size >= unwanted.size)


def fit_thresholds(scores: Scores, labels: Labels) -> Thresholds:
    """Both thresholds, fitted on the given (validation) pairs. ValueError as in `checked_pairs`."""
    return Thresholds(fit_accuracy_threshold(scores, labels)[0], fit_logistic_threshold(scores, labels))


def score_pairs(
    scores: Scores, labels: Labels, accuracy_threshold: float, logistic_threshold: float | None = None
) -> TestScore:
    """The score of one model on these pairs, without interval; nothing is fitted here.

    `hard_auc` is the ROC AUC of the logistic threshold's hard 0/1 predictions, (TPR + TNR) / 2. Precision is
    0 where nothing is predicted 1. ValueError as in `checked_pairs`, and for a threshold that is not a
    number.
    """
    values, positive = checked_pairs(scores, labels)
    if math.isnan(accuracy_threshold) or (logistic_threshold is not None and math.isnan(logistic_threshold)):
        raise ValueError("a threshold is not a number")
    predicted = values >= accuracy_threshold
    positives, called, found = _count(positive), _count(predicted), _count(predicted & positive)
    hard_auc = None
    if logistic_threshold is not None:
        hard_auc = _balanced_accuracy(values >= logistic_threshold, positive)
    return TestScore(
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
    """How many are true, as an int that json can write (numpy counts in its own integers)."""
    return int(np.count_nonzero(rows))


def _balanced_accuracy(predicted: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    return (float(predicted[positive].mean()) + float((~predicted[~positive]).mean())) / 2


def _midway(low: float, high: float) -> float:
    """A threshold that parts two scores, low < high: midway, or `high` itself where no float lies between."""
    middle = low + (high - low) / 2
    return middle if middle > low else high


def _outside(values: NDArray[np.float64], always: bool) -> float:
    """A finite threshold that counts all these scores as 1 (`always`) or as 0.

    One whole range of the scores away from them (1 where all are equal), so that unseen scores fall on the
    same side.
    """
    low, high = float(values.min()), float(values.max())
    away = high - low or 1.0
    return low - away if always else high + away


def _logistic_fit(x: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the maximum-likelihood logistic regression, by damped Newton steps.

    x [n] is standardised and its classes overlap, so that a finite maximum exists.
    """
    y = positive.astype(np.float64)

    def loss(slope: float, intercept: float) -> float:
        logit = slope * x + intercept
        return float(np.logaddexp(0.0, logit).sum() - logit @ y)

    share = float(y.mean())
    slope, intercept = 0.0, math.log(share / (1.0 - share))
    current = loss(slope, intercept)
    for _ in range(100):
        # exp overflows to inf far below the threshold, where the chance is then rightly 0.
        with np.errstate(over="ignore"):
            chance = 1.0 / (1.0 + np.exp(-(slope * x + intercept)))
        weight = chance * (1.0 - chance)
        error = y - chance
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
