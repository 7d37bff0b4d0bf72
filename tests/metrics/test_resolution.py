"""What some pairs can show: half widths of intervals, and what they would be on other pairs."""

import numpy as np
import pytest

from tune.metrics.intervals import ComponentBootstrap
from tune.metrics.resolution import CORRELATION, Resolution, correlation


def scored(pairs: int, of_component: int, seed: int) -> tuple[ComponentBootstrap, np.ndarray]:
    """Pairs in equally large components; pairs of a component have one label and nearly one score."""
    generator = np.random.default_rng(seed)
    component = np.repeat(np.arange(pairs // of_component), of_component)
    label = (generator.random(pairs // of_component) < 0.5).astype(int)[component]
    scores = label + 1.2 * generator.normal(size=pairs // of_component)[component] + 0.05 * generator.normal(size=pairs)
    return ComponentBootstrap(label, component), scores


def test_an_interval_and_the_difference_that_it_hides() -> None:
    bootstrap, scores = scored(2000, 1, 0)
    found = Resolution.of(bootstrap, bootstrap.resample(scores))
    interval = bootstrap.interval(scores)
    assert found is not None and interval is not None
    assert found.auc == pytest.approx((interval[1] - interval[0]) / 2, rel=0.02)
    assert found.difference == pytest.approx(found.auc * np.sqrt(2 * (1 - CORRELATION)))
    assert found.found == pytest.approx(found.difference * 2.8 / 1.96, rel=0.01)
    assert found.inflation == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("pairs", "of_component"), [(8000, 1), (2000, 4), (4000, 8)])
def test_other_pairs_are_foreseen(pairs: int, of_component: int) -> None:
    here, scores = scored(3000, 2, 1)
    there, others = scored(pairs, of_component, 2)
    found, true = Resolution.of(here, here.resample(scores)), Resolution.of(there, there.resample(others))
    assert found is not None and true is not None
    sizes = [np.full(3000 // 2, 2), np.full(pairs // of_component, of_component)]
    assert found.for_pairs(*sizes).auc == pytest.approx(true.auc, rel=0.12)
    assert found.for_pairs(sizes[0], sizes[0]).auc == pytest.approx(found.auc)


def test_nothing_is_said_without_an_interval() -> None:
    alone = ComponentBootstrap(np.array([0, 1, 0, 1]), np.zeros(4, int))
    assert Resolution.of(alone, alone.resample(np.arange(4.0))) is None


def test_models_that_rank_alike_correlate() -> None:
    bootstrap, scores = scored(1000, 1, 3)
    noise = np.random.default_rng(4).normal(size=1000)
    one = bootstrap.resample(scores)
    near, far = (correlation(one, bootstrap.resample(scores + by * noise)) for by in (0.1, 5))
    assert near is not None and far is not None and near > 0.95 > far
    assert correlation(one, bootstrap.resample(np.ones(1000))) is None
