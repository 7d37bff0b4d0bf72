"""Losses of the pairs' similarity scores, and their derivative by each score: plain numbers in float64.

All take score [pairs] and target [pairs] (labels of 0 and 1, or graded scores where said), and return the loss and
d loss / d score [pairs]. The formulas are those of sentence-transformers' classes with their defaults.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCALE = 20.0
"""Factor on the scores in `cosent`, `angle` and `mnr`."""

MARGIN = 0.5
"""Distance (1 - score) beyond which a pair labelled 0 costs nothing in the contrastive losses."""


def cosent(score: Floats, target: Floats) -> tuple[float, Floats]:
    """log(1 + sum of exp(SCALE (score_i - score_j)) over all i, j with target_i < target_j); targets may be graded.

    CoSENTLoss, and AnglELoss on its own score. The double sum is a product of sums over targets in order, so time
    and memory are those of sorting. |score| <= sqrt(2), so nothing overflows.
    """
    up = np.exp(SCALE * score)
    down = 1.0 / up
    if ((target == 0.0) | (target == 1.0)).all():
        zero = 1.0 - target
        higher, lower = zero * (down @ target), target * (up @ zero)
    else:
        higher, lower = _sums_over_higher(target, down), _sums_over_higher(-target, up)
    above, below = up * higher, down * lower
    total = float(above.sum())
    return float(np.log1p(total)), (above - below) * (SCALE / (1.0 + total))


def _sums_over_higher(target: Floats, values: Floats) -> Floats:
    """Return for each i the sum of values_j over all j with target_j > target_i, [n]."""
    order = np.argsort(target)[::-1]
    falling = target[order]
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    found: Floats = sums[np.searchsorted(-falling, -target, side="left")]
    return found


def cosine(score: Floats, target: Floats) -> tuple[float, Floats]:
    """Mean squared difference of score and target, which may be graded: CosineSimilarityLoss."""
    error = score - target
    return float(error @ error) / len(error), error * (2.0 / len(error))


def contrastive(score: Floats, target: Floats) -> tuple[float, Floats]:
    """Half the mean of distance^2 (target 1) and max(0, MARGIN - distance)^2 (target 0): ContrastiveLoss."""
    distance = 1.0 - score
    pull, push = target * distance, (1.0 - target) * np.maximum(MARGIN - distance, 0.0)
    return 0.5 * float(pull @ pull + push @ push) / len(score), (push - pull) / len(score)


def online_contrastive(score: Floats, target: Floats) -> tuple[float, Floats]:
    """Sum of the same squares over hard pairs alone: OnlineContrastiveLoss.

    Hard is a pair labelled 1 further apart than the nearest one labelled 0, and one labelled 0 nearer than the
    furthest labelled 1. Without the other label in the batch, the mean of the pairs' own takes its place.
    """
    distance = 1.0 - score
    positive = target == 1.0
    ones, zeros = distance[positive], distance[~positive]
    far = ones.max() if len(ones) else zeros.mean()
    near = zeros.min() if len(zeros) else ones.mean()
    pull = np.where(positive & (distance > near), distance, 0.0)
    push = np.where(~positive & (distance < far), np.maximum(MARGIN - distance, 0.0), 0.0)
    return float(pull @ pull + push @ push), 2.0 * (push - pull)
