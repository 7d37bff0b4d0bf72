"""Text-disjoint folds: pairs linked by shared texts go to one fold as a whole.

Folds depend only on the order of the pairs, on which of them are linked, and on the seed.
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


def fold_of(
    component: NDArray[np.int64], folds: int, seed: int, label: NDArray[np.int8] | None = None
) -> NDArray[np.int8]:
    """Return the fold of each pair, [n], 0..folds-1.

    component: [n], equal for pairs linked by their texts; the numbering does not matter. Components are shuffled by the
    seed and sorted by size; each, largest first, goes to the fold that is smallest at the time (the first on a tie).
    label: [n], 0 or 1; if given, every fold must hold pairs of both classes.
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
    smallest = [(0, fold) for fold in range(folds)]
    place = np.zeros(len(size), dtype=np.int8)
    for item in order.tolist():
        held, fold = smallest[0]
        place[item] = fold
        heapq.heapreplace(smallest, (held + int(size[item]), fold))
    fold_of_pair: NDArray[np.int8] = place[number]
    if wrong := _wrong(fold_of_pair, folds, label):
        share = int(size.max(initial=0)) / max(len(component), 1)
        fix = "use fewer folds, or leave --folds out" if folds > 2 else "leave --folds out"
        raise DataError(
            f"--folds {folds}: {wrong}. The largest group linked by shared texts holds {share:.1%} of the "
            f"{len(component):,} pairs of train and val and cannot be split: {fix}"
        )
    return fold_of_pair


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
