"""The order of validation pairs: a permutation, nested, repeatable, and closer to all of val than a random sample."""

import numpy as np
import pytest

from tune.metrics.sample import stratified_order
from tune.metrics.score import roc_auc


def scored(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, the base's scores, and those of a trained model that agrees with the base for the most part."""
    generator = np.random.default_rng(seed)
    label = (generator.random(n) < 0.35).astype(np.int8)
    ease = generator.normal(size=n) + label
    return label, ease + 0.6 * generator.normal(size=n), ease + 0.4 * generator.normal(size=n)


@pytest.mark.parametrize("n", [1, 2, 3, 200, 1024, 5471])
def test_it_is_a_permutation_and_depends_on_the_seed_alone(n: int) -> None:
    label, base, _ = scored(n, 0)
    order = stratified_order(label, [base], seed=3)
    assert sorted(order.tolist()) == list(range(n))
    assert (stratified_order(label, [base], seed=3) == order).all()
    assert (stratified_order(label, [2 * base + 1], seed=3) == order).all(), "ranks count, not the scale"
    if n > 100:
        assert (stratified_order(label, [base], seed=4) != order).any()


def test_both_classes_come_first_and_in_proportion() -> None:
    label = np.zeros(1000, np.int8)
    label[[17, 500, 900]] = 1
    order = stratified_order(label, [np.arange(1000.0)], seed=0)
    assert set(label[order[:2]].tolist()) == {0, 1}
    label, base, _ = scored(5471, 1)
    order = stratified_order(label, [base], seed=0)
    for size in (250, 1000, 2000):
        assert label[order[:size]].mean() == pytest.approx(label.mean(), abs=1.5 / np.sqrt(size) / 4)


def test_a_prefix_estimates_auc_better_than_a_random_sample() -> None:
    label, base, model = scored(5471, 2)
    whole = roc_auc(model, label)
    errors: dict[str, list[float]] = {"stratified": [], "random": []}
    for seed in range(60):
        for name, order in {
            "stratified": stratified_order(label, [base], seed),
            "random": np.random.default_rng(seed).permutation(len(label)),
        }.items():
            sample = order[:1000]
            errors[name].append(roc_auc(model[sample], label[sample]) - whole)
    spread = {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in errors.items()}
    assert spread["stratified"] < 0.75 * spread["random"], spread


def test_several_bases_count_alike() -> None:
    label, base, other = scored(800, 3)
    together = stratified_order(label, [base, other], 0)
    assert (together == stratified_order(label, [other, base], 0)).all()
    assert (together != stratified_order(label, [base], 0)).any()
