"""What more training pairs would bring: a power law through the error at several sizes, and how far to trust it.

error(n) = floor + scale * n ** -rate, the usual form of learning curves (Hestness et al. 2017, "Deep learning scaling
is predictable, empirically"). Uncertainty comes from refits to resampled residuals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import kendalltau, linregress, t

FEWEST_SIZES = 5
"""Sizes below which three parameters leave nothing to judge the fit by."""
_DRAWS = 200
_NO_TREND = 0.05
"""p-value of Kendall's tau from which on the error may as well not fall."""
_RATES = (0.05, 2.0)
"""Rates outside are a straight line or a step, which many laws would fit."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law, and the gain from twice the largest size: the fall of the error, with a 95% interval."""

    floor: float
    scale: float
    rate: float
    sizes: Floats
    gain: float
    low: float
    high: float

    def error(self, sizes: Floats) -> Floats:
        """Return the error at these sizes, [n]."""
        return self.floor + self.scale * sizes**-self.rate


def fit_power_law(sizes: Sequence[float], errors: Sequence[float], seed: int = 0) -> PowerLaw | str:
    """Return the law through errors (such as 1 - AUC) at several sizes, or why the points do not support one.

    They do not with fewer than FEWEST_SIZES sizes, if the error does not fall from the smallest size to the largest, or
    not for sure (by Kendall's tau, since a law through noise that happens to fall promises a gain as well), or if the
    rate is at a bound.
    """
    order = np.argsort(sizes, kind="stable")
    n, error = np.asarray(sizes, np.float64)[order], np.asarray(errors, np.float64)[order]
    if len(np.unique(n)) < FEWEST_SIZES:
        return f"{len(np.unique(n))} sizes were measured, and a fit needs {FEWEST_SIZES}"
    if error[n == n[-1]].mean() >= error[n == n[0]].mean():
        return "the error does not fall with more pairs"
    law = _fit(n, error)
    if law[2] >= _RATES[1] / 1.01:
        return "the points do not follow a power law (the error falls in a step)"
    if kendalltau(n, error).pvalue >= _NO_TREND:
        return "the points scatter too much to tell whether more pairs would help"
    if law[2] <= _RATES[0] * 1.01:
        return "the points do not follow a power law (the error falls nearly evenly with each doubling)"
    gain = _gain(law, n[-1])
    fitted = _curve(law, n)
    # Three parameters follow the noise: residuals are too small by that.
    residuals = (error - fitted) * np.sqrt(len(n) / (len(n) - 3))
    generator = np.random.default_rng(seed)
    gains = [_gain(_fit(n, fitted + generator.choice(residuals, len(n)), start=law), n[-1]) for _ in range(_DRAWS)]
    low, high = (float(end) for end in np.quantile(gains, (0.025, 0.975)))
    floor, scale, rate = law
    return PowerLaw(floor, scale, rate, n, gain, low, high)


def per_doubling(sizes: Sequence[float], errors: Sequence[float]) -> tuple[float, float, float] | None:
    """Return the mean fall of the error with each doubling of the size, and its 95% interval; None below FEWEST_SIZES.

    It is the slope of a least-squares line over log2(size), with Student's t over the residuals: it describes the sizes
    measured, whatever the curve, and promises nothing beyond them.
    """
    if len(set(sizes)) < FEWEST_SIZES:
        return None
    line = linregress(np.log2(sizes), errors)
    half = float(t.ppf(0.975, len(sizes) - 2) * line.stderr)
    fall = -float(line.slope)
    return fall, fall - half, fall + half


def _curve(law: tuple[float, float, float], n: Floats) -> Floats:
    floor, scale, rate = law
    return floor + scale * n**-rate


def _gain(law: tuple[float, float, float], largest: float) -> float:
    here, there = _curve(law, np.array([largest, 2 * largest]))
    return float(here - there)


def _fit(n: Floats, error: Floats, start: tuple[float, float, float] | None = None) -> tuple[float, float, float]:
    """Return floor, scale and rate of least squares. The size is scaled by its geometric mean, so scales are alike."""
    middle = float(np.exp(np.log(n).mean()))
    spread = float(error.max() - error.min()) or 1e-6

    def residuals(parameters: Floats) -> Floats:
        floor, scale, rate = parameters
        difference: Floats = (floor + scale * (n / middle) ** -rate - error) / spread
        return difference

    top = max(float(error.min()), 1e-9)
    starts = [(top / 2, spread, rate) for rate in (0.1, 0.3, 1.0)]
    if start is not None:
        starts = [(min(start[0], top * 0.999), start[1] * middle ** -start[2], start[2])]
    bounds = ([0.0, 1e-9, _RATES[0]], [top, np.inf, _RATES[1]])
    inside = [np.clip(one, *bounds) for one in starts]
    found = min((least_squares(residuals, one, bounds=bounds) for one in inside), key=lambda fit: float(fit.cost))
    floor, scale, rate = (float(value) for value in found.x)
    return floor, scale * middle**rate, rate
