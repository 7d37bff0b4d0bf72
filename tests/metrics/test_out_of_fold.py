"""The judgement of a winner on the pairs that chose it: draws against scikit-learn, no flattery, never too narrow."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from tune.metrics.intervals import Bootstrap, ComponentBootstrap
from tune.metrics.out_of_fold import LEAST_DRAWS, MOST_DRAWS, FoldedPairs, OutOfBagBootstrap, draws_for
from tune.metrics.two_way import bootstrap_over

Floats = NDArray[np.float64]
FOLDS = 5


def pairs_of(positives: int, negatives: int, size: int = 1) -> FoldedPairs:
    """Positives and negatives dealt evenly over the folds, in components of so many pairs of one fold."""
    label = np.repeat(np.array([1, 0], np.int8), [positives, negatives])
    fold = np.concatenate([np.arange(count) // size % FOLDS for count in (positives, negatives)]).astype(np.int8)
    return FoldedPairs(label, np.arange(len(label)) // size, fold)


def bootstrap(pairs: FoldedPairs, draws: int = 200, seed: int = 0, usual: Bootstrap | None = None) -> OutOfBagBootstrap:
    return OutOfBagBootstrap(pairs, usual or ComponentBootstrap(pairs.label, pairs.component, draws), draws, seed)


def like(base: Floats, count: int, seed: int) -> Floats:
    """Scores of trials that are as good as the base, each with other mistakes."""
    noise = np.random.default_rng(seed).normal(size=(count, len(base)))
    return base + 0.5 * noise


def mean_over_folds(pairs: FoldedPairs, scores: Floats, weights: Floats | None = None) -> float:
    aucs = []
    for own in range(FOLDS):
        rows = (pairs.fold == own) & (np.ones(len(scores)) if weights is None else weights).astype(bool)
        if len(set(pairs.label[rows].tolist())) == 2:
            weight = None if weights is None else weights[rows]
            aucs.append(roc_auc_score(pairs.label[rows], scores[rows], sample_weight=weight))
    return float(np.mean(aucs))


@pytest.mark.parametrize("decimals", [1, 8])
def test_every_draw_chooses_on_what_is_drawn_and_scores_the_rest(decimals: int) -> None:
    pairs = pairs_of(20, 30, size=2)
    base = pairs.label + np.random.default_rng(0).normal(size=50)
    candidates = np.round(like(base, 6, 1), decimals)
    made = bootstrap(pairs, draws=40)
    found = made.chosen(candidates, candidates[0])
    expected = []
    for weights in made.weights():
        best = int(np.argmax([mean_over_folds(pairs, scores, weights) for scores in candidates]))
        left = weights == 0
        expected.append(roc_auc_score(pairs.label[left], candidates[best][left]))
    np.testing.assert_allclose(found.draws, expected, atol=1e-12)
    assert found.value == pytest.approx(np.mean(expected))
    fixed = made.fixed(base)
    rest = [roc_auc_score(pairs.label[weights == 0], base[weights == 0]) for weights in made.weights()]
    np.testing.assert_allclose(fixed.draws, rest, atol=1e-12)
    difference = made.difference_of(found, fixed)
    assert difference.delta == pytest.approx(np.mean(np.array(expected) - rest)) and difference.draws == 40


def test_the_best_of_many_that_are_no_better_does_not_look_better() -> None:
    pairs, chosen, plain, beats = pairs_of(20, 20), [], [], 0
    for run in range(30):
        rng = np.random.default_rng(run)
        base = 1.2 * pairs.label + rng.normal(size=40)
        # As good as the base in truth: the same distance in units of the noise.
        candidates = 1.2 * pairs.label + 0.9 * (base - 1.2 * pairs.label) + 0.436 * rng.normal(size=(30, 40))
        winner = max(candidates, key=lambda scores: mean_over_folds(pairs, scores))
        made = bootstrap(pairs, draws=60, seed=run)
        difference = made.difference_of(made.chosen(candidates, winner), made.fixed(base))
        assert difference.low is not None
        chosen.append(difference.delta)
        plain.append(roc_auc_score(pairs.label, winner) - roc_auc_score(pairs.label, base))
        beats += difference.low > 0
    assert np.mean(plain) > 0.025, "what the choice is worth on the pairs that chose"
    assert abs(np.mean(chosen)) < 0.012
    assert beats <= 1


def test_a_clearly_better_candidate_is_found_and_beats_the_base() -> None:
    pairs = pairs_of(50, 50)
    rng = np.random.default_rng(2)
    base = 0.5 * pairs.label + rng.normal(size=100)
    candidates = np.stack([*like(base, 10, 3), 2.5 * pairs.label + rng.normal(size=100)])
    made = bootstrap(pairs)
    found = made.chosen(candidates, candidates[-1])
    difference = made.difference_of(found, made.fixed(base))
    assert difference.low is not None and difference.low > 0.05
    assert found.value == pytest.approx(roc_auc_score(pairs.label, candidates[-1]), abs=0.01)
    low, high = made.interval_of(found) or (0, 0)
    assert 0.8 < low < found.value < high < 1


def test_an_interval_is_never_narrower_than_that_of_a_model_fixed_before() -> None:
    """Here every text of one side is in many pairs: drawing single pairs would hide what they share."""
    rng = np.random.default_rng(4)
    pairs, article = pairs_of(60, 60), rng.integers(0, 6, 120)
    scores = pairs.label + rng.normal(size=120) + 2 * rng.normal(size=6)[article]
    usual = bootstrap_over(pairs.label, np.arange(120), 1000 + article, draws=200).bootstrap
    assert usual.method == "two-way"
    widths = [
        np.subtract(*reversed(made.interval_of(made.chosen(scores[None], scores)) or (0, 0)))
        for made in (bootstrap(pairs), bootstrap(pairs, usual=usual))
    ]
    least = np.subtract(*reversed(usual.interval(scores) or (0, 0)))
    assert widths[0] < least <= widths[1] + 0.01


def test_few_of_a_class_widen_the_interval_however_many_of_the_other() -> None:
    few, many = pairs_of(20, 400), pairs_of(200, 400)
    widths = []
    for pairs in (few, many):
        scores = pairs.label + np.random.default_rng(5).normal(size=len(pairs.label))
        made = bootstrap(pairs)
        low, high = made.interval_of(made.chosen(scores[None], scores)) or (0, 0)
        widths.append(high - low)
    assert widths[0] > 2.5 * widths[1] > 0


def test_draws_without_both_classes_are_repeated_and_counted() -> None:
    label = np.repeat(np.array([1, 0], np.int8), [20, 20])
    component = np.concatenate([np.arange(20) // 10, np.arange(20, 40)])
    pairs = FoldedPairs(label, component, (component % 2).astype(np.int8))
    made = bootstrap(pairs, draws=50)
    for weights in made.weights():
        assert set(label[weights == 0].tolist()) == set(label[weights > 0].tolist()) == {0, 1}
    assert made.redraws > 10, "two components hold the positives: one must be drawn, and one must not"
    assert bootstrap(pairs_of(50, 50), draws=50).redraws == 0


def test_the_same_seed_gives_the_same_result() -> None:
    pairs = pairs_of(20, 20)
    scores = like(pairs.label + np.random.default_rng(6).normal(size=40), 5, 7)
    first, again, other = (bootstrap(pairs, seed=seed).chosen(scores, scores[0]) for seed in (1, 1, 2))
    assert np.array_equal(first.draws, again.draws) and not np.array_equal(first.draws, other.draws)


def test_no_interval_where_none_can_be_given() -> None:
    pairs = FoldedPairs(np.array([0, 1] * 10, np.int8), np.zeros(20, np.int64), np.zeros(20, np.int8))
    made, scores = bootstrap(pairs), np.arange(20.0)
    assert "nothing to resample" in made.reason
    found = made.chosen(scores[None], scores)
    assert made.interval_of(found) is None and found.value == pytest.approx(roc_auc_score(pairs.label, scores))
    many = pairs_of(30, 30)
    one_text = bootstrap_over(many.label, np.arange(60), np.full(60, 100), draws=10).bootstrap
    made = bootstrap(many, usual=one_text)
    assert made.reason == "one text is in 100% of the pairs, so nothing shows what the result would be with another"
    assert made.fixed(np.arange(60.0)).draws.size == 200, "the choice is corrected all the same"
    difference = made.difference_of(made.fixed(np.arange(60.0)), made.fixed(-np.arange(60.0)))
    assert difference.low is None and difference.reason == made.reason


def test_many_candidates_on_many_pairs_take_fewer_draws() -> None:
    assert draws_for(40, 40) == draws_for(0, 0) == MOST_DRAWS
    assert draws_for(3000, 90_000) == LEAST_DRAWS < draws_for(640, 1000) < MOST_DRAWS
