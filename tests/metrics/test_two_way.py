"""The two-way bootstrap over texts, and when it is chosen instead of components."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from tune.metrics.intervals import ComponentBootstrap
from tune.metrics.two_way import TwoWayBootstrap, bootstrap_over, linked

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def catalogue(tickets: int = 300, articles: int = 150, each: int = 2, seed: int = 0) -> tuple[Ints, Ints, Ints]:
    """Labels and text numbers of tickets that are paired with `each` of the articles: one component."""
    rng = np.random.default_rng(seed)
    a = np.repeat(np.arange(tickets), each)
    b = 10_000 + np.concatenate([rng.choice(articles, each, replace=False) for _ in range(tickets)])
    return (rng.random(a.size) < 0.4).astype(np.int64), a, b


def scored(labels: Ints, a: Ints, b: Ints, effect: float, seed: int) -> Floats:
    """Scores one apart on average, with an effect of each text (a share of the variance) and noise of each pair."""
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=20_000) * np.sqrt(effect / 2)
    return 1.5 * labels + texts[a] + texts[b] + np.sqrt(1 - effect) * rng.normal(size=labels.size)


def test_a_pair_counts_as_the_product_of_its_texts() -> None:
    a, b = np.repeat(np.arange(4), 5), np.tile(10 + np.arange(5), 4)
    drawn = [weights.reshape(4, 5) for weights in TwoWayBootstrap((a + b) % 2, a, b, draws=200).weights()]
    for weights in drawn:
        assert np.linalg.matrix_rank(weights) == 1 and weights.sum() == 4 * 5
        np.testing.assert_array_equal(weights, np.outer(weights.sum(1) / 5, weights.sum(0) / 4))
    counts = {tuple((weights.sum(1) / 5).astype(int)) for weights in drawn}
    assert all(sum(count) == 4 for count in counts) and len(counts) > 20


def test_every_draw_is_sklearns_weighted_auc() -> None:
    labels, a, b = catalogue()
    scores = np.round(scored(labels, a, b, 0.5, 1), 1)
    bootstrap = TwoWayBootstrap(labels, a, b, draws=30, seed=3)
    expected = [roc_auc_score(labels, scores, sample_weight=weights) for weights in bootstrap.weights()]
    np.testing.assert_allclose(bootstrap.aucs(scores), expected, rtol=0, atol=1e-12)


def test_a_text_on_both_sides_is_one_text() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 60, 300), rng.integers(0, 60, 300)
    labels = (rng.random(300) < 0.5).astype(np.int64)
    swapped = rng.random(300) < 0.5
    one = TwoWayBootstrap(labels, a, b, draws=50)
    other = TwoWayBootstrap(labels, np.where(swapped, b, a), np.where(swapped, a, b), draws=50)
    for left, right in zip(one.weights(), other.weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    # A pair of a text with itself counts as often as the text: 1 on average, not 2.
    itself = np.flatnonzero(a == b)
    mean = np.mean([weights[itself] for weights in TwoWayBootstrap(labels, a, b, draws=2000).weights()])
    assert itself.size and mean == pytest.approx(1, abs=0.1)


def test_draws_depend_neither_on_row_order_nor_on_gaps_between_numbers() -> None:
    labels, a, b = catalogue()
    scores = scored(labels, a, b, 0.5, 2)
    rows = np.random.default_rng(0).permutation(labels.size)
    one = TwoWayBootstrap(labels, a, b, draws=50)
    other = TwoWayBootstrap(labels[rows], a[rows] * 3 - 9, b[rows] * 3, draws=50)
    np.testing.assert_allclose(one.aucs(scores), other.aucs(scores[rows]), atol=1e-14)
    assert one.interval(scores) == pytest.approx(other.interval(scores[rows]))


def test_where_nothing_repeats_texts_say_what_pairs_say() -> None:
    # Plain draws of texts would count the noise of each pair three times: 1.7 times as wide.
    labels = (np.arange(1200) % 3 == 0).astype(np.int64)
    a, b = np.arange(1200), np.arange(1200) + 5000
    scores = scored(labels, a, b, 0.0, 3)
    by_texts = TwoWayBootstrap(labels, a, b)
    by_pairs = ComponentBootstrap(labels, np.arange(1200)).interval(scores)
    found = by_texts.interval(scores)
    assert found is not None and by_pairs is not None
    assert (found[1] - found[0]) / (by_pairs[1] - by_pairs[0]) == pytest.approx(1.03, abs=0.07)
    assert by_texts.aucs(scores).std() > 1.6 * ComponentBootstrap(labels, np.arange(1200)).aucs(scores).std()


@pytest.mark.parametrize("effect", [0.2, 0.8])
def test_intervals_cover_the_truth_where_texts_repeat(effect: float) -> None:
    held, by_pairs_held, runs = 0, 0, 120
    for seed in range(runs):
        labels, a, b = catalogue(tickets=150, articles=40, each=3, seed=seed)
        scores = scored(labels, a, b, effect, 500 + seed)
        positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        shared = (a[positive][:, None] == a[negative]).astype(int) + (b[positive][:, None] == b[negative])
        truth = norm.cdf(1.5 / np.sqrt(2 * (1 - effect / 2 * shared))).mean()
        found = TwoWayBootstrap(labels, a, b, draws=150, seed=seed).interval(scores)
        pairs = ComponentBootstrap(labels, np.arange(a.size), draws=150, seed=seed).interval(scores)
        assert found is not None and pairs is not None
        held += found[0] <= truth <= found[1]
        by_pairs_held += pairs[0] <= truth <= pairs[1]
    assert held / runs >= 0.92
    assert effect < 0.5 or by_pairs_held / runs < 0.9


def test_the_rule_draws_components_unless_they_are_few_or_one_is_large() -> None:
    labels = np.tile([0, 1], 300)

    def chosen(sizes: list[int]) -> tuple[str, int, float]:
        """Pairs of components of these sizes: each has one text on side b and one of its own per pair."""
        b = np.repeat(np.arange(len(sizes)), sizes)
        drawn = bootstrap_over(labels[: b.size], np.arange(b.size) + 1000, b, draws=2)
        return drawn.bootstrap.method, drawn.components, drawn.largest

    assert chosen([12] * 50) == ("components", 50, 0.02)
    assert chosen([12] * 49) == ("two-way", 49, pytest.approx(1 / 49))
    assert chosen([30, *[10] * 57])[0] == "components", "exactly 5%"
    assert chosen([31, *[10] * 56, 9])[0] == "two-way"


def test_components_link_texts_of_either_side() -> None:
    # 0-5 and 1-5 share 5; 6-0 has 0 on the other side; 2-7 is alone.
    component = linked(np.array([0, 1, 6, 2]), np.array([5, 5, 0, 7]))
    assert component.tolist() == [0, 0, 0, 1]


def test_what_was_drawn_is_said_in_one_line() -> None:
    labels, a, b = catalogue()
    drawn = bootstrap_over(labels, a, b, draws=10)
    assert drawn.sentence() == (
        "intervals: two-way bootstrap over texts; shared texts form 1 component, the largest holds 100% of the test"
        " pairs"
    )
    facts = json.loads(json.dumps(drawn.to_json()))
    assert (facts["method"], facts["components"], facts["largest_share"], facts["reason"]) == ("two-way", 1, 1.0, "")
    alone = bootstrap_over(labels, np.arange(600), 1000 + np.arange(600), draws=10)
    assert alone.sentence() == (
        "intervals: bootstrap over 600 components of pairs that share texts; the largest holds 0.2% of the test pairs"
    )


def test_one_text_in_every_pair_gives_no_interval_and_a_reason() -> None:
    labels = np.tile([0, 1], 100)
    scores = np.random.default_rng(0).normal(size=200) + labels
    for a, b in (
        (np.zeros(200, np.int64), 1 + np.arange(200)),
        (np.where(np.arange(200) < 90, 0, 1 + np.arange(200)), np.where(np.arange(200) < 90, 1 + np.arange(200), 0)),
    ):
        drawn = bootstrap_over(labels, a, b, draws=10)
        assert drawn.bootstrap.interval(scores) is None
        assert drawn.bootstrap.difference(scores, -scores).low is None
        assert drawn.to_json()["method"] is None
        assert drawn.sentence() == (
            "no intervals can be given: one text is in 100% of the test pairs, so nothing shows what the result would"
            " be with another"
        )
    most = bootstrap_over(labels, np.where(np.arange(200) < 190, 0, np.arange(200)), 1000 + np.arange(200), draws=10)
    assert "one text is in 95% of the test pairs" in most.bootstrap.reason
    two = bootstrap_over(labels, np.arange(200) // 2 % 2, 1000 + np.arange(200), draws=10)
    assert two.bootstrap.reason == "one side of the test pairs has only 2 different texts"
    assert bootstrap_over(labels, np.arange(200) // 2 % 3, 1000 + np.arange(200)).bootstrap.interval(scores) is not None


def test_invalid_input_is_refused() -> None:
    labels, a, b = catalogue()
    with pytest.raises(ValueError, match="two integers per label"):
        TwoWayBootstrap(labels, a[1:], b)
    with pytest.raises(ValueError, match="two integers per label"):
        TwoWayBootstrap(labels, a, b.astype(float))
    with pytest.raises(ValueError, match="both classes"):
        TwoWayBootstrap(np.ones_like(labels), a, b)
    with pytest.raises(ValueError, match="draws"):
        TwoWayBootstrap(labels, a, b, draws=0)
