"""How small a difference between two models some pairs can show, before anything is trained.

Two models are compared on the same draws, so their errors cancel as far as they correlate: the standard error of the
difference is that of one AUC times sqrt(2 (1 - r)).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tune.metrics.intervals import Bootstrap, Resampled

CORRELATION = 0.75
"""Assumed correlation r of two models' AUCs over the draws: 0.71 to 0.91 between a base model and what was trained on
it, in the searches of results/quora."""
FOUND = 0.8
"""Probability with which a true difference of the size `Resolution.found` gets an interval that excludes 0."""
LEVEL = 0.95
Sizes = NDArray[np.integer[Any]]
_END = float(norm.ppf((1 + LEVEL) / 2))


@dataclass(frozen=True)
class Resolution:
    """What some pairs can show, in AUC (0.01 is one point).

    auc: half the width of one AUC's interval. difference: that of a difference, so the smallest one measured that
    excludes 0. found: the true difference that is found with probability FOUND. All at LEVEL.
    """

    auc: float
    difference: float
    found: float
    inflation: float
    """Variance of the AUC over what it would be if pairs were independent."""

    @classmethod
    def of(cls, bootstrap: Bootstrap, model: Resampled, correlation: float = CORRELATION) -> "Resolution | None":
        """Return the resolution of the pairs of a bootstrap; None if it can give no interval. model: of any model."""
        nothing = Resampled(0.0, np.zeros_like(model.draws), np.zeros_like(model.influence))
        interval = bootstrap.difference_of(model, nothing, LEVEL)
        if interval.low is None:
            return None
        half = interval.delta - interval.low
        independent = float(np.sqrt(np.square(model.influence).sum())) * _END
        return _of_half_width(half, correlation, (half / independent) ** 2 if independent else 1.0)

    def for_pairs(self, sizes: Sizes, there: Sizes) -> "Resolution":
        """Return that of other pairs of the same kind. sizes, there: of the components, here and there.

        Shared texts inflate the variance by 1 + rho (m - 1), where m is how many pairs a pair's component has, mean
        over the pairs: the design effect of Kish 1965 ("Survey Sampling"). rho is estimated from the pairs here.
        """
        linked, linked_there = (float((one**2).sum() / one.sum()) for one in (sizes, there))
        rho = max((self.inflation - 1) / (linked - 1), 0.0) if linked > 1 else 0.0
        inflation = 1 + rho * (linked_there - 1) if rho else self.inflation
        shrunk = float(np.sqrt(there.sum() / sizes.sum() * self.inflation / inflation))
        return Resolution(self.auc / shrunk, self.difference / shrunk, self.found / shrunk, inflation)


def _of_half_width(half: float, correlation: float, inflation: float) -> Resolution:
    difference = half * float(np.sqrt(2 * (1 - correlation)))
    return Resolution(half, difference, difference * (_END + float(norm.ppf(FOUND))) / _END, inflation)


def correlation(one: Resampled, other: Resampled) -> float | None:
    """Return the correlation of two models' AUCs over the same draws, -1 to 1; None if one of them never varies."""
    if not len(one.draws) or one.draws.std() == 0 or other.draws.std() == 0:
        return None
    return float(np.corrcoef(one.draws, other.draws)[0, 1])
