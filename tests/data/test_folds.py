"""Folds: linked pairs stay together, folds are balanced and reproducible; errors name the fix."""

import numpy as np
import pytest

from tune.config.search import search_config
from tune.data.clean import normalise
from tune.data.folds import LARGEST_SHARES, MOST_FOLDS, fold_of
from tune.data.split import labelled_sides
from tune.errors import DataError
from tune.events import ignore
from tune.pipeline.pairs import read_split


def some_components(pairs: int, seed: int = 0) -> np.ndarray:
    """Components of one to a few dozen pairs, in random order."""
    generator = np.random.default_rng(seed)
    sizes = generator.geometric(0.2, pairs)
    return generator.permutation(np.repeat(np.arange(pairs), sizes)[:pairs])


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_a_component_is_in_one_fold_and_folds_are_equal_in_size(folds: int) -> None:
    component = some_components(2000)
    fold = fold_of(component, folds, seed=1)
    assert fold.dtype == np.int8 and fold.shape == component.shape
    assert all(len(set(fold[component == number].tolist())) == 1 for number in np.unique(component))
    size = np.bincount(fold, minlength=folds)
    assert size.max() - size.min() <= 1, "single pairs come last and even out what the large ones left"


def test_folds_depend_on_the_seed_but_not_on_the_numbering() -> None:
    component = some_components(500)
    first = fold_of(component, 4, seed=1)
    assert np.array_equal(first, fold_of(component, 4, seed=1))
    assert not np.array_equal(first, fold_of(component, 4, seed=2))
    renumbered = np.random.default_rng(0).permutation(10_000)[component]
    assert np.array_equal(first, fold_of(renumbered, 4, seed=1))


def test_no_text_of_a_split_is_in_two_folds() -> None:
    split, _ = read_split(search_config(space={"base_model": "wordllama"}), ignore)
    sides = labelled_sides(split, 0)
    train, val = sides["train"], sides["val"]
    assert train.component is not None and val.component is not None
    component = np.concatenate([train.component, val.component])
    fold = fold_of(component, 5, 0, np.concatenate([train.label, val.label]))
    seen: dict[str, int] = {}
    for a, b, own in zip(train.text_a + val.text_a, train.text_b + val.text_b, fold.tolist(), strict=True):
        assert seen.setdefault(normalise(a), own) == own and seen.setdefault(normalise(b), own) == own


def refusal(component: np.ndarray, folds: int, label: np.ndarray | None = None) -> str:
    with pytest.raises(DataError) as caught:
        fold_of(component, folds, 0, label)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_component_above_twice_the_share_is_refused_with_its_share_and_the_fix() -> None:
    component = np.arange(1000)
    component[:420] = 0
    line = refusal(component, 5)
    assert "42.0%" in line and "fewer folds" in line and "leave --folds out" in line
    fold = fold_of(component, 4, 0)
    assert np.bincount(fold).max() == 420 <= LARGEST_SHARES * 250, "within the limit it is accepted"


def test_a_fold_that_would_lack_a_class_is_refused() -> None:
    component = np.arange(100)
    few = np.zeros(100, np.int8)
    few[:2] = 1
    line = refusal(component, 3, few)
    assert "no positive (label 1) pair" in line and "1.0%" in line and "fewer folds" in line
    assert "no negative (label 0) pair" in refusal(component, 3, 1 - few)
    assert "fewer folds" not in refusal(component, 2, np.zeros(100, np.int8)), "there is nothing below two folds"
    fold_of(component, 3, 0)


def test_a_rare_class_is_dealt_evenly() -> None:
    label = np.zeros(200, np.int8)
    label[np.random.default_rng(0).choice(200, 20, replace=False)] = 1
    plain = [np.bincount(fold_of(np.arange(200), 5, seed)[label == 1], minlength=5) for seed in range(40)]
    assert min(counts.min() for counts in plain) < 2, "by chance, some fold would have few or none"
    for seed in range(40):
        fold = fold_of(np.arange(200), 5, seed, label)
        assert np.bincount(fold[label == 1], minlength=5).min() >= 2 and np.bincount(fold).tolist() == [40] * 5


def test_linked_positives_are_dealt_by_how_many_there_are() -> None:
    # 21 positives in six components, negatives in single ones.
    sizes = [8, 5, 3, 2, 2, 1]
    component = np.concatenate([np.repeat(np.arange(6), sizes), np.arange(6, 90)])
    label = np.repeat(np.array([1, 0], np.int8), [21, 84])
    for seed in range(20):
        fold = fold_of(component, 3, seed, label)
        assert np.bincount(fold[label == 1], minlength=3).min() >= 4, "at least half of its share of 7"
        assert all(len(set(fold[component == number].tolist())) == 1 for number in range(6))
        assert np.bincount(fold, minlength=3).tolist() == [35, 35, 35]
    line = refusal(component, 7, label)
    assert "no positive (label 1) pair" in line and "use fewer folds (6 at most), or leave --folds out" in line


def test_too_few_components_and_too_many_folds_are_refused() -> None:
    assert "empty" in refusal(np.array([0, 0, 1, 1]), 3)
    assert "empty" in refusal(np.array([], dtype=np.int64), 2)
    assert str(MOST_FOLDS) in refusal(np.arange(1000), MOST_FOLDS + 1)
    with pytest.raises(ValueError, match="two or more"):
        fold_of(np.arange(10), 1, 0)
