"""Text-disjoint folds: pairs linked by shared texts go to one fold as a whole.

Folds depend only on the order of the pairs, on which of them are linked, on their labels and on the seed.
"""

import heapq

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tune.data.sides import CLASS_NAMES
from tune.errors import DataError

MOST_FOLDS = 127
"""The most that int8 can number."""
LARGEST_SHARES = 2
"""A fold may hold at most this many times its share of the pairs."""
LEAST_OF_A_CLASS = 0.5
"""Components are dealt by class if a fold would otherwise hold less than this part of its share of a class."""

Ints = NDArray[np.int64]


def fold_of(
    component: Ints, folds: int, seed: int, label: NDArray[np.int8] | None = None, otherwise: str = "leave --folds out"
) -> NDArray[np.int8]:
    """Return the fold of each pair, [n], 0..folds-1.

    component: [n], equal for pairs linked by their texts; the numbering does not matter. Components are shuffled by the
    seed and sorted by size; each, largest first, goes to the fold that is smallest at the time (the first on a tie).
    label: [n], 0 or 1; if given, every fold must hold pairs of both classes. If one would hold few of a class
    (LEAST_OF_A_CLASS), the components with the rarer class are dealt first, by their number of those pairs.
    otherwise: what to propose in an error besides fewer folds.
    Raises DataError if a fold would be empty, lack a class, or hold more than LARGEST_SHARES times its share, and
    ValueError if folds is below 2.
    """
    if folds < 2:
        raise ValueError(f"folds must be two or more, got {folds}")
    if folds > MOST_FOLDS:
        raise DataError(f"--folds {folds} is too many: use {MOST_FOLDS} at most")
    # Number by first appearance, so that the folds do not depend on how the components are numbered.
    number = pd.factorize(component)[0]
    size = np.bincount(number)
    order = np.random.default_rng([seed, folds]).permutation(len(size))
    order = order[np.argsort(-size[order], kind="stable")]
    fold = _dealt(order, size, np.zeros_like(size), folds)[number]
    if label is not None and len(label) and _uneven(fold, folds, label):
        rarer = int((label == 1).mean() < 0.5)
        rare = np.bincount(number[label == rarer], minlength=len(size))
        by_class = order[np.argsort(-rare[order], kind="stable")]
        fold = _dealt(by_class, size, rare, folds)[number]
    if wrong := _wrong(fold, folds, label):
        most = _most_folds(component, label)
        fewer = f"use fewer folds{f' ({most} at most)' if most < folds else ''}, or " if folds > 2 and most > 1 else ""
        raise DataError(
            f"--folds {folds}: {wrong}. The largest group linked by shared texts holds "
            f"{int(size.max(initial=0)) / max(len(component), 1):.1%} of the {len(component):,} pairs and cannot be"
            f" split: {fewer}{otherwise}"
        )
    return fold


def _dealt(order: Ints, size: Ints, rare: Ints, folds: int) -> NDArray[np.int8]:
    """Return the fold of each component. order: in which they are dealt, those with `rare` pairs first.

    A component goes to the fold with the fewest rare pairs if it has any, otherwise to the one with the fewest pairs.
    """
    place = np.zeros(len(size), dtype=np.int8)
    held = [0] * folds
    with_rare = int((rare > 0).sum())
    fewest = [(0, 0, fold) for fold in range(folds)]
    for item in order[:with_rare].tolist():
        of_rare, _, fold = fewest[0]
        place[item] = fold
        held[fold] += int(size[item])
        heapq.heapreplace(fewest, (of_rare + int(rare[item]), held[fold], fold))
    smallest = sorted((pairs, fold) for fold, pairs in enumerate(held))
    for item in order[with_rare:].tolist():
        pairs, fold = smallest[0]
        place[item] = fold
        heapq.heapreplace(smallest, (pairs + int(size[item]), fold))
    return place


def _uneven(fold: NDArray[np.int8], folds: int, label: NDArray[np.int8]) -> bool:
    """Whether a fold holds less than LEAST_OF_A_CLASS of its share of a class."""
    counts = [np.bincount(fold[label == value], minlength=folds) for value in CLASS_NAMES]
    return any(of.min() * folds < LEAST_OF_A_CLASS * of.sum() for of in counts)


def _most_folds(component: Ints, label: NDArray[np.int8] | None) -> int:
    """Return how many folds there can be at most, for want of components, with pairs of each class if labels count."""
    if label is None:
        return len(np.unique(component))
    return min(len(np.unique(component[label == value])) for value in CLASS_NAMES)


def _wrong(fold: NDArray[np.int8], folds: int, label: NDArray[np.int8] | None) -> str:
    """Return what is wrong with these folds, or ""."""
    size = np.bincount(fold, minlength=folds)
    if not size.all():
        return "too few pairs share no text, so a fold would be empty"
    if label is not None:
        for value, name in CLASS_NAMES.items():
            if not np.bincount(fold[label == value], minlength=folds).all():
                return f"a fold would hold no {name} pair"
    if size.max() * folds > LARGEST_SHARES * len(fold):
        return (
            f"a fold would hold {size.max() / len(fold):.1%} of the pairs, more than {LARGEST_SHARES} times its share"
        )
    return ""
