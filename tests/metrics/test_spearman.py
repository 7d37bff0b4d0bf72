"""Spearman's correlation: scipy's numbers, also when pairs count more than once, and intervals from the AUC's draws."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from tune.metrics.intervals import Bootstrap, ComponentBootstrap
from tune.metrics.spearman import Correlation, RankCorrelation, correlate, spearman
from tune.metrics.two_way import TwoWayBootstrap, bootstrap_over

Floats = NDArray[np.float64]


def graded(seed: int, n: int = 200, noise: float = 1.0) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Scores with some ties, grades from 0 to 5 in halves, and labels."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=n)
    grades = np.clip(np.round(2 * (2.5 + true)) / 2, 0, 5)
    return np.round(true + noise * generator.normal(size=n), 1), grades, (grades >= 3).astype(np.int64)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_scipys(seed: int) -> None:
    scores, grades, _ = graded(seed)
    found = spearman(scores, grades)
    assert found == pytest.approx(spearmanr(scores, grades).statistic, abs=1e-12) and 0.5 < found < 0.9
    assert spearman(-scores, grades) == pytest.approx(-found, abs=1e-12)
    assert spearman(np.exp(scores), 20 * grades - 7) == pytest.approx(found, abs=1e-12), "ranks alone count"


def test_there_is_none_for_equal_scores_or_grades() -> None:
    scores, grades, labels = graded(0)
    bootstrap = ComponentBootstrap(labels, np.arange(200), draws=10)
    for a, b in ((scores, np.full(200, 3.0)), (np.zeros(200), grades), (np.ones(1), np.ones(1))):
        assert spearman(a, b) is None
    assert correlate(np.zeros(200), grades, bootstrap) is None
    with pytest.raises(ValueError, match="same length"):
        spearman(scores, grades[1:])
    with pytest.raises(ValueError, match="not finite"):
        spearman(np.where(scores > 0, scores, np.nan), grades)


@pytest.mark.parametrize("seed", range(3))
def test_a_row_that_counts_twice_is_two_rows(seed: int) -> None:
    scores, grades, _ = graded(seed)
    times = np.random.default_rng(seed).integers(0, 4, 200)
    expected = spearmanr(np.repeat(scores, times), np.repeat(grades, times)).statistic
    statistic = RankCorrelation(scores, grades)
    assert 2 * statistic.weighted(times.astype(np.float64)) - 1 == pytest.approx(expected, abs=1e-12)
    assert 2 * statistic.value - 1 == pytest.approx(spearmanr(scores, grades).statistic, abs=1e-12)


def test_influence_is_what_a_little_more_weight_does() -> None:
    statistic = RankCorrelation(*graded(1)[:2])
    influence = statistic.influence()
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    for row in range(0, 200, 7):
        weights = np.ones(200)
        weights[row] += 1e-6
        assert influence[row] == pytest.approx((statistic.weighted(weights) - statistic.value) / 1e-6, abs=1e-7)


def independent(labels: NDArray[np.int64]) -> list[Bootstrap]:
    """Both bootstraps, over pairs that share nothing."""
    n = labels.size
    return [
        ComponentBootstrap(labels, np.arange(n), draws=400),
        TwoWayBootstrap(labels, np.arange(n), n + np.arange(n), draws=400),
    ]


def test_the_interval_of_independent_pairs_is_fishers() -> None:
    scores, grades, labels = graded(2, n=600)
    for bootstrap in independent(labels):
        found = correlate(scores, grades, bootstrap)
        assert found is not None and found.low is not None and found.high is not None
        assert found.rho == spearman(scores, grades)
        low, rho, high = np.arctanh([found.low, found.rho, found.high])
        assert rho - low == pytest.approx(high - rho), "symmetric on Fisher's scale"
        # Bonett and Wright 2000: the variance of z is (1 + rho^2 / 2) / (n - 3).
        half = norm.ppf(0.975) * np.sqrt((1 + found.rho**2 / 2) / (600 - 3))
        assert rho - low == pytest.approx(half, rel=0.2)


def test_the_draws_are_those_of_the_auc() -> None:
    scores, grades, labels = graded(3)
    component = np.arange(200) // 4
    bootstrap = ComponentBootstrap(labels, component, draws=30, seed=5)
    draws = bootstrap.resampled(RankCorrelation(scores, grades)).draws
    for weights, draw in zip(bootstrap.weights(), draws, strict=True):
        times = weights.astype(int)
        assert 2 * draw - 1 == pytest.approx(spearmanr(np.repeat(scores, times), np.repeat(grades, times)).statistic)


def test_no_interval_is_made_up() -> None:
    scores, grades, labels = graded(4)
    hub = bootstrap_over(labels, np.zeros(200, np.int64), np.arange(1, 201), draws=20).bootstrap
    found = correlate(scores, grades, hub)
    assert hub.reason and found is not None and (found.low, found.high) == (None, None)
    perfect = correlate(grades, grades, independent(labels)[0])
    assert perfect == Correlation(pytest.approx(1.0))
    # A single pair has another grade than the rest: most draws leave it out.
    lonely = np.where(np.arange(200) == 7, 4.0, 1.0)
    rho = spearman(scores, lonely)
    assert rho is not None and correlate(scores, lonely, independent(labels)[0]) == Correlation(rho)
