"""A power law is fitted to points that follow one; other points yield the reason why not."""

import numpy as np
import pytest

from tune.metrics.power_law import PowerLaw, fit_power_law, per_doubling

SIZES = [500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0]


def errors(floor: float, scale: float, rate: float, noise: float = 0.0) -> list[float]:
    made = floor + scale * np.array(SIZES) ** -rate
    return (made + noise * np.random.default_rng(0).normal(size=len(made))).tolist()


def test_a_law_is_recovered() -> None:
    law = fit_power_law(SIZES, errors(0.05, 2.0, 0.5, 1e-5))
    assert isinstance(law, PowerLaw) and law.rate == pytest.approx(0.5, abs=0.05)
    assert law.low <= law.gain <= law.high


@pytest.mark.parametrize("spread", [1e-6, 1e-9, 1e-10, 1e-12])
@pytest.mark.parametrize("level", [0.1, 0.0])
def test_tiny_spreads_are_fitted_or_refused_with_a_reason(spread: float, level: float) -> None:
    made = (level + spread * np.array([6.0, 3.0, 5.0, 2.0, 1.0, 0.0])).tolist()
    found = fit_power_law(SIZES, made)
    assert isinstance(found, PowerLaw) or len(found) > 20


def test_a_rate_at_its_bound_is_not_a_law() -> None:
    straight = [0.5 - 0.01 * i for i in range(len(SIZES))]  # the same fall at each doubling
    step = [0.4, 0.1, 0.1, 0.1, 0.1, 0.0999]
    for points, shape in ((straight, "nearly evenly with each doubling"), (step, "in a step")):
        found = fit_power_law(SIZES, points)
        assert isinstance(found, str) and "do not follow a power law" in found and shape in found


def test_noise_promises_no_gain() -> None:
    generator, laws = np.random.default_rng(0), 0
    for _ in range(40):
        found = fit_power_law(SIZES, 0.15 + 0.003 * generator.normal(size=len(SIZES)))
        laws += isinstance(found, PowerLaw)
    assert laws <= 2, "a law through noise that happens to fall"


def test_what_each_doubling_brought_is_the_slope_with_an_interval() -> None:
    straight = [0.5 - 0.01 * i for i in range(len(SIZES))]
    assert per_doubling(SIZES, straight) == pytest.approx((0.01, 0.01, 0.01))
    generator, held = np.random.default_rng(0), 0
    for _ in range(300):
        found = per_doubling(SIZES, straight + 0.005 * generator.normal(size=len(SIZES)))
        assert found is not None
        held += found[1] <= 0.01 <= found[2]
    assert 0.91 < held / 300 < 0.99
    assert per_doubling(SIZES[:4] * 2, straight[:4] * 2) is None, "two seeds are no more sizes"


def test_points_without_a_fall_are_refused() -> None:
    assert "does not fall" in str(fit_power_law(SIZES, [0.1] * 6))
    assert "4 sizes were measured" in str(fit_power_law(SIZES[:4], [0.4, 0.3, 0.2, 0.1]))
