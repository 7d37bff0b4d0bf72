"""The component bootstrap: every draw against scikit-learn's weighted AUC, and what the intervals mean."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from tune.metrics.intervals import ComponentBootstrap, with_interval
from tune.metrics.score import roc_auc, score_pairs

Linked = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def linked(seed: int, components: int = 100, size: int = 5, shared: float = 0.0) -> Linked:
    """Scores, labels, and components of one class each; `shared`: deviation of the error its pairs share."""
    rng = np.random.default_rng(seed)
    component = np.repeat(np.arange(components), size)
    labels = (rng.random(components) < 0.4).astype(np.int64)[component]
    scores = labels + rng.normal(size=labels.size) + shared * rng.normal(size=components)[component]
    return scores, labels, component


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_every_draw_is_sklearns_weighted_auc(decimals: int) -> None:
    scores, labels, _ = linked(0, components=60)
    component = np.random.default_rng(1).integers(-5, 70, labels.size) * 1000
    scores = np.round(scores, decimals)
    bootstrap = ComponentBootstrap(labels, component, draws=50, seed=3)
    _, place = np.unique(component, return_inverse=True)
    expected = [roc_auc_score(labels, scores, sample_weight=times[place]) for times in bootstrap.multiplicities()]
    np.testing.assert_allclose(bootstrap.aucs(scores), expected, rtol=0, atol=1e-12)


def test_a_draw_has_as_many_components_as_there_are() -> None:
    _, labels, component = linked(0, components=30)
    draws = list(ComponentBootstrap(labels, component, draws=200).multiplicities())
    assert len(draws) == 200
    assert all(times.shape == (30,) and times.sum() == 30 for times in draws)
    # Every component is drawn once on average; 5 standard errors wide.
    np.testing.assert_allclose(np.mean(draws, axis=0), 1.0, atol=5 / np.sqrt(200))


def test_the_same_seed_gives_the_same_draws_in_any_order_of_calls() -> None:
    scores, labels, component = linked(1)
    one, two = ComponentBootstrap(labels, component, seed=7), ComponentBootstrap(labels, component, seed=7)
    two.aucs(-scores)
    np.testing.assert_array_equal(one.aucs(scores), two.aucs(scores))
    np.testing.assert_array_equal(one.aucs(scores), one.aucs(scores))
    assert not np.array_equal(one.aucs(scores), ComponentBootstrap(labels, component, seed=8).aucs(scores))


def test_draws_depend_neither_on_row_order_nor_on_gaps_between_numbers() -> None:
    scores, labels, component = linked(2, shared=1.0)
    scores = np.round(scores, 1)
    aucs = ComponentBootstrap(labels, component, draws=100).aucs(scores)
    rows = np.random.default_rng(0).permutation(labels.size)
    other = ComponentBootstrap(labels[rows], component[rows] * 17 - 40, draws=100)
    np.testing.assert_array_equal(other.aucs(scores[rows]), aucs)


def test_fewer_draws_are_the_first_of_more() -> None:
    scores, labels, component = linked(2)
    few, many = (
        ComponentBootstrap(labels, component, draws=20),
        ComponentBootstrap(labels, component, draws=50),
    )
    np.testing.assert_array_equal(few.aucs(scores), many.aucs(scores)[:20])


def test_only_the_order_of_the_scores_counts() -> None:
    scores, labels, component = linked(3)
    bootstrap = ComponentBootstrap(labels, component, draws=100)
    np.testing.assert_array_equal(bootstrap.aucs(scores), bootstrap.aucs(np.exp(scores)))


def test_draws_of_one_class_are_drawn_again_and_counted() -> None:
    labels, component = np.array([0, 0, 1]), np.array([4, 4, 9])
    bootstrap = ComponentBootstrap(labels, component, draws=500)
    # A quarter of the draws miss each of the two components, so about one is rejected per draw kept.
    assert 350 < bootstrap.redraws < 650
    assert all((times == 1).all() for times in bootstrap.multiplicities())
    np.testing.assert_array_equal(bootstrap.aucs(np.array([0.1, 0.5, 0.3])), np.full(500, 0.5))
    assert ComponentBootstrap(*linked(0)[1:]).redraws == 0


def test_interval_holds_the_auc_and_widens_with_the_level() -> None:
    scores, labels, component = linked(4)
    bootstrap = ComponentBootstrap(labels, component)
    low, high = bootstrap.interval(scores)
    wider_low, wider_high = bootstrap.interval(scores, level=0.99)
    assert wider_low < low < roc_auc(scores, labels) < high < wider_high
    assert (low, high) == tuple(np.percentile(bootstrap.aucs(scores), [2.5, 97.5]))


def test_linked_pairs_that_err_together_widen_the_interval() -> None:
    scores, labels, component = linked(5, shared=2.0)
    by_component = ComponentBootstrap(labels, component).aucs(scores).std()
    by_pair = ComponentBootstrap(labels, np.arange(labels.size)).aucs(scores).std()
    assert by_component > 1.5 * by_pair


def test_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    # Two normals one apart, each with variance 1 + 1: AUC = Phi(1 / sqrt(2 * 2)).
    true, held, by_pairs_held = 0.6914624612740131, 0, 0
    for seed in range(150):
        scores, labels, component = linked(1000 + seed, components=80, size=4, shared=1.0)
        low, high = ComponentBootstrap(labels, component, draws=200, seed=seed).interval(scores)
        held += low <= true <= high
        low, high = ComponentBootstrap(labels, np.arange(labels.size), draws=200, seed=seed).interval(scores)
        by_pairs_held += low <= true <= high
    assert 0.88 <= held / 150 <= 0.99
    assert by_pairs_held / 150 < 0.85


def test_difference_is_paired() -> None:
    scores, labels, component = linked(6, shared=1.0)
    better = scores + 0.3 * labels
    bootstrap = ComponentBootstrap(labels, component)
    difference = bootstrap.difference(better, scores)
    assert difference.delta == pytest.approx(roc_auc(better, labels) - roc_auc(scores, labels))
    draws = bootstrap.aucs(better) - bootstrap.aucs(scores)
    assert (difference.low, difference.high) == tuple(np.percentile(draws, [2.5, 97.5]))
    assert 0 < difference.low < difference.delta < difference.high
    assert (difference.share_above_zero, difference.level, difference.draws) == (1.0, 0.95, 2000)
    # Far narrower than the two single intervals, which overlap.
    assert bootstrap.interval(better)[0] < bootstrap.interval(scores)[1]


def test_swapping_the_models_negates_the_difference() -> None:
    scores, labels, component = linked(7)
    other = scores + np.random.default_rng(0).normal(size=scores.size)
    bootstrap = ComponentBootstrap(labels, component, draws=300)
    there, back = bootstrap.difference(scores, other, 0.9), bootstrap.difference(other, scores, 0.9)
    assert (there.delta, there.low, there.high) == pytest.approx((-back.delta, -back.high, -back.low))
    assert there.share_above_zero == pytest.approx(1 - back.share_above_zero)


def test_difference_to_itself_is_zero() -> None:
    scores, labels, component = linked(8)
    difference = ComponentBootstrap(labels, component, draws=100).difference(scores, scores * 2)
    assert (difference.delta, difference.low, difference.high, difference.share_above_zero) == (0, 0, 0, 0.5)


def test_one_component_gives_the_widest_interval() -> None:
    scores, labels = np.array([0.1, 0.5, 0.3]), np.array([0, 1, 1])
    bootstrap = ComponentBootstrap(labels, np.array([3, 3, 3]))
    assert bootstrap.components == 1
    assert bootstrap.interval(scores) == (0.0, 1.0)
    difference = bootstrap.difference(scores, -scores)
    assert (difference.delta, difference.low, difference.high) == (1.0, -1.0, 1.0)
    assert difference.share_above_zero == 0.5


def test_with_interval_adds_to_a_score_and_can_be_written_as_json() -> None:
    scores, labels, component = linked(9)
    bootstrap = ComponentBootstrap(labels, component, draws=100)
    bare = score_pairs(scores, labels, 0.5)
    score = with_interval(bare, bootstrap, bootstrap.aucs(scores))
    assert (score.auc_low, score.auc_high) == bootstrap.interval(scores)
    assert (score.auc, score.redraws) == (bare.auc, 0)
    json.dumps(asdict(score))
    json.dumps(asdict(bootstrap.difference(scores, -scores)))


def test_invalid_input_is_refused() -> None:
    scores, labels, component = linked(0)
    with pytest.raises(ValueError, match="both classes"):
        ComponentBootstrap(np.zeros_like(labels), component)
    with pytest.raises(ValueError, match="one integer component per label"):
        ComponentBootstrap(labels, component[1:])
    with pytest.raises(ValueError, match="one integer component per label"):
        ComponentBootstrap(labels, component.astype(float))
    with pytest.raises(ValueError, match="draws"):
        ComponentBootstrap(labels, component, draws=0)
    bootstrap = ComponentBootstrap(labels, component, draws=10)
    with pytest.raises(ValueError, match="not finite"):
        bootstrap.aucs(np.full(labels.size, np.nan))
    with pytest.raises(ValueError, match="of the same length"):
        bootstrap.interval(scores[1:])
    with pytest.raises(ValueError, match="level"):
        bootstrap.interval(scores, level=95)
    with pytest.raises(ValueError, match="level"):
        bootstrap.difference(scores, scores, level=0.0)
