"""The component bootstrap: every draw against scikit-learn's weighted AUC, and what the intervals mean."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from tune.metrics import intervals
from tune.metrics.intervals import Bootstrap, ComponentBootstrap
from tune.metrics.score import roc_auc, score_pairs
from tune.metrics.weighted import Ranking

Linked = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def linked(seed: int, components: int = 100, size: int = 5, shared: float = 0.0) -> Linked:
    """Scores, labels, and components of one class each; `shared`: deviation of the error its pairs share."""
    rng = np.random.default_rng(seed)
    component = np.repeat(np.arange(components), size)
    labels = (rng.random(components) < 0.4).astype(np.int64)[component]
    scores = labels + rng.normal(size=labels.size) + shared * rng.normal(size=components)[component]
    return scores, labels, component


def interval(bootstrap: Bootstrap, scores: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    found = bootstrap.interval(scores, level)
    assert found is not None
    return found


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_every_draw_is_sklearns_weighted_auc(decimals: int) -> None:
    scores, labels, _ = linked(0, components=60)
    component = np.random.default_rng(1).integers(-5, 70, labels.size) * 1000
    scores = np.round(scores, decimals)
    bootstrap = ComponentBootstrap(labels, component, draws=50, seed=3)
    expected = [roc_auc_score(labels, scores, sample_weight=weights) for weights in bootstrap.weights()]
    np.testing.assert_allclose(bootstrap.aucs(scores), expected, rtol=0, atol=1e-12)
    assert bootstrap.resample(scores).value == pytest.approx(roc_auc(scores, labels), abs=1e-14)


def test_a_draw_has_as_many_components_as_there_are() -> None:
    _, labels, component = linked(0, components=30, size=5)
    draws = list(ComponentBootstrap(labels, component, draws=200).weights())
    assert len(draws) == 200
    assert all(weights.shape == (150,) and weights.sum() == 150 for weights in draws)
    assert all(len(set(weights[component == 7])) == 1 for weights in draws), "a component comes with all its pairs"
    # Every component is drawn once on average; 5 standard errors wide.
    np.testing.assert_allclose(np.mean(draws, axis=0), 1.0, atol=5 / np.sqrt(200))


def test_influence_is_what_a_little_more_weight_does() -> None:
    scores, labels, _ = linked(3, components=20)
    scores = np.round(scores, 1)
    influence = Ranking(scores, labels == 1).influence()
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    for row in (0, 17, 99):
        weights = np.ones(labels.size)
        weights[row] += 1e-6
        moved = roc_auc_score(labels, scores, sample_weight=weights) - roc_auc_score(labels, scores)
        assert influence[row] == pytest.approx(moved / 1e-6, abs=1e-5)


def test_the_same_seed_gives_the_same_draws_in_any_order_of_calls() -> None:
    scores, labels, component = linked(1)
    one, two = ComponentBootstrap(labels, component, seed=7), ComponentBootstrap(labels, component, seed=7)
    two.aucs(-scores)
    np.testing.assert_array_equal(one.aucs(scores), two.aucs(scores))
    np.testing.assert_array_equal(one.aucs(scores), one.aucs(scores))
    assert not np.array_equal(one.aucs(scores), ComponentBootstrap(labels, component, seed=8).aucs(scores))


@pytest.mark.parametrize("threaded", [False, True])
def test_several_models_on_shared_draws_are_as_each_alone(threaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_ROWS_PER_THREAD", 0 if threaded else 10**9)
    monkeypatch.setattr(intervals, "_ROWS_AT_ONCE", 7 * 500)
    scores, labels, component = linked(1)
    models = [scores, np.round(scores, 1), np.round(-scores), np.zeros(scores.size)]
    bootstrap = ComponentBootstrap(labels, component, draws=100, seed=7)
    told: list[tuple[int, int]] = []
    found = bootstrap.resample_all(models, progress=lambda done, total: told.append((done, total)))
    for one, model in zip(found, models, strict=True):
        alone = ComponentBootstrap(labels, component, draws=100, seed=7).resample(model)
        np.testing.assert_array_equal(one.draws, alone.draws)
        np.testing.assert_array_equal(one.influence, alone.influence)
        assert one.value == alone.value
    assert told == [*((done, 100) for done in range(7, 100, 7)), (100, 100)]
    few = bootstrap.resample_all(models, draws=10)
    np.testing.assert_array_equal(few[1].draws, found[1].draws[:10])
    assert bootstrap.resample_all([]) == []


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
    assert all((weights == 1).all() for weights in bootstrap.weights())
    again = ComponentBootstrap(labels, component, draws=500)
    again.resample_all([np.arange(3.0)])
    assert again.redraws == bootstrap.redraws, "counted while drawing or apart"
    np.testing.assert_array_equal(bootstrap.aucs(np.array([0.1, 0.5, 0.3])), np.full(500, 0.5))
    assert ComponentBootstrap(*linked(0)[1:]).redraws == 0


def test_interval_is_students_t_on_the_scale_of_log_odds() -> None:
    scores, labels, component = linked(4, components=60)
    bootstrap, auc = ComponentBootstrap(labels, component), roc_auc(scores, labels)
    low, high = interval(bootstrap, scores)
    error = bootstrap.aucs(scores).std() * np.sqrt(60 / 59)
    half = student.ppf(0.975, 59) * error / (auc * (1 - auc))
    assert (logit(low), logit(high)) == pytest.approx((logit(auc) - half, logit(auc) + half))
    wider = interval(bootstrap, scores, level=0.99)
    assert wider[0] < low < auc < high < wider[1]
    # With this many components and an AUC far from 1, percentiles of the draws say nearly the same.
    assert (low, high) == pytest.approx(np.percentile(bootstrap.aucs(scores), [2.5, 97.5]), abs=0.01)


def test_unequal_components_count_as_fewer_degrees_of_freedom() -> None:
    scores, labels, component = linked(4, components=60)
    # 30 components of a sixtieth of the pairs, and 3 of a sixth.
    unequal = ComponentBootstrap(labels, np.where(component < 30, component // 10, component))
    assert unequal.components == 33
    error = 2 * unequal.aucs(scores).std() * np.sqrt(33 / 32)  # the AUC of negated scores is 1 - AUC
    difference, freedom = unequal.difference(scores, -scores), 1 / (3 / 36 + 30 / 3600) - 1
    assert difference.high == pytest.approx(difference.delta + student.ppf(0.975, freedom) * error)


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
        low, high = interval(ComponentBootstrap(labels, component, draws=200, seed=seed), scores)
        held += low <= true <= high
        low, high = interval(ComponentBootstrap(labels, np.arange(labels.size), draws=200, seed=seed), scores)
        by_pairs_held += low <= true <= high
    assert 0.9 <= held / 150 <= 0.99
    assert by_pairs_held / 150 < 0.85


def test_difference_is_paired() -> None:
    scores, labels, component = linked(6, shared=1.0)
    better = scores + 0.3 * labels
    bootstrap = ComponentBootstrap(labels, component)
    difference = bootstrap.difference(better, scores)
    assert difference.delta == pytest.approx(roc_auc(better, labels) - roc_auc(scores, labels))
    error = (bootstrap.aucs(better) - bootstrap.aucs(scores)).std() * np.sqrt(100 / 99)
    half = student.ppf(0.975, 99) * error
    assert (difference.low, difference.high) == pytest.approx((difference.delta - half, difference.delta + half))
    assert difference.low is not None and difference.low > 0
    assert difference.p == pytest.approx(2 * student.sf(difference.delta / error, 99))
    assert (difference.level, difference.draws, difference.reason) == (0.95, 2000, "")
    # Far narrower than the two single intervals, which overlap.
    assert interval(bootstrap, better)[0] < interval(bootstrap, scores)[1]


def test_p_is_below_one_minus_level_just_if_the_interval_excludes_0() -> None:
    scores, labels, component = linked(6)
    bootstrap, found = ComponentBootstrap(labels, component, draws=300), []
    for gain in np.linspace(0, 0.3, 13):
        difference = bootstrap.difference(scores + gain * labels + 0.01 * component % 0.07, scores)
        assert difference.p is not None and difference.low is not None and difference.high is not None
        found.append(difference.low > 0 or difference.high < 0)
        assert (difference.p < 0.05) == found[-1]
    assert any(found) and not all(found)


def test_a_p_value_is_not_limited_by_the_number_of_draws() -> None:
    scores, labels, component = linked(6)
    difference = ComponentBootstrap(labels, component, draws=200).difference(scores + 2 * labels, scores)
    assert difference.p is not None and 0 < difference.p < 0.05 / 1000 < 2 / 201


def test_swapping_the_models_negates_the_difference() -> None:
    scores, labels, component = linked(7)
    other = scores + np.random.default_rng(0).normal(size=scores.size)
    bootstrap = ComponentBootstrap(labels, component, draws=300)
    there, back = bootstrap.difference(scores, other, 0.9), bootstrap.difference(other, scores, 0.9)
    assert back.low is not None and back.high is not None
    assert (there.delta, there.low, there.high) == pytest.approx((-back.delta, -back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_difference_to_itself_is_zero() -> None:
    scores, labels, component = linked(8)
    difference = ComponentBootstrap(labels, component, draws=100).difference(scores, scores * 2)
    assert (difference.delta, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_one_component_gives_no_interval_and_says_why() -> None:
    scores, labels = np.array([0.1, 0.5, 0.3]), np.array([0, 1, 1])
    bootstrap = ComponentBootstrap(labels, np.array([3, 3, 3]))
    assert bootstrap.components == 1 and "one component" in bootstrap.reason
    assert bootstrap.interval(scores) is None
    difference = bootstrap.difference(scores, -scores)
    assert (difference.delta, difference.low, difference.high, difference.p) == (1.0, None, None, None)
    assert difference.reason == bootstrap.reason


def test_draws_that_all_agree_give_no_interval() -> None:
    scores, labels, component = linked(9)
    bootstrap = ComponentBootstrap(labels, component, draws=100)
    perfect, blind = labels + 0.1 * scores.argsort() / scores.size, np.zeros(labels.size)
    assert bootstrap.interval(perfect) is None and bootstrap.interval(blind) is None
    score = bootstrap.scored(score_pairs(perfect, labels, 0.5), bootstrap.resample(perfect))
    assert (score.auc, score.auc_low, score.interval) == (1.0, None, "every draw gives the same AUC")
    difference = bootstrap.difference(perfect, blind)
    assert (difference.delta, difference.p) == (0.5, None) and "same in every draw" in difference.reason
    assert bootstrap.difference(perfect, scores).low is not None, "one model that varies is enough"


def test_an_interval_that_covers_nearly_everything_is_not_given() -> None:
    # Two components that disagree entirely: t has one degree of freedom.
    labels, component = np.array([0, 1, 0, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = np.array([0.1, 0.9, 0.2, 0.8, 0.9, 0.1, 0.8, 0.25])
    bootstrap = ComponentBootstrap(labels, component)
    assert bootstrap.interval(scores) is None
    score = bootstrap.scored(score_pairs(scores, labels, 0.5), bootstrap.resample(scores))
    assert "nearly every possible AUC" in score.interval and score.auc_high is None
    difference = bootstrap.difference(scores, -scores)
    assert difference.low is None and "nearly every possible difference" in difference.reason


def test_a_score_with_its_interval_can_be_written_as_json() -> None:
    scores, labels, component = linked(9)
    bootstrap = ComponentBootstrap(labels, component, draws=100)
    bare = score_pairs(scores, labels, 0.5)
    score = bootstrap.scored(bare, bootstrap.resample(scores))
    assert (score.auc_low, score.auc_high) == bootstrap.interval(scores)
    assert (score.auc, score.redraws, score.interval) == (bare.auc, 0, "bootstrap over 100 components")
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
