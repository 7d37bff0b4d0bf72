"""Folds such that no text is in two of them: what is linked by shared texts goes whole to one fold.

Pure: the folds depend on the order of the pairs, on which of them are linked, and on the seed.
"""

import heapq

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tune.errors import DataError

MOST_FOLDS = 127
"""As many as int8 can number."""
LARGEST_SHARES = 2
"""A fold may hold at most so many times its share of the pairs."""

_CLASS = {0: "negative (label 0)", 1: "positive (label 1)"}


def fold_of(
    component: NDArray[np.int64], folds: int, seed: int, label: NDArray[np.int8] | None = None
) -> NDArray[np.int8]:
    """[n] the fold of each pair, 0..folds-1.

    component: [n], equal for pairs that are linked by their texts; how they are numbered does not matter. The
    components are shuffled by the seed, and the largest goes first, each into the fold that is smallest then (of
    equal ones the first).
    label: [n], 0 or 1; where given, every fold must hold pairs of both.
    DataError where a fold would be empty, lack a class, or hold more than LARGEST_SHARES times its share; ValueError
    where folds is below 2.
    """
    if folds < 2:
        raise ValueError(f"{folds} folds: there must be two or more")
    if folds > MOST_FOLDS:
        raise DataError(f"{folds} folds are too many: choose {MOST_FOLDS} at most")
    # Numbered by first appearance: the same pairs in another split, numbered otherwise, have the same folds.
    number = pd.factorize(component)[0]
    size = np.bincount(number)
    order = np.random.default_rng([seed, folds]).permutation(len(size))
    order = order[np.argsort(-size[order], kind="stable")]
    smallest = [(0, fold) for fold in range(folds)]
    place = np.zeros(len(size), dtype=np.int8)
    for one in order.tolist():
        held, fold = smallest[0]
        place[one] = fold
        heapq.heapreplace(smallest, (held + int(size[one]), fold))
    fold_of_pair: NDArray[np.int8] = place[number]
    if wrong := _wrong(fold_of_pair, folds, label):
        share = int(size.max(initial=0)) / max(len(component), 1)
        mend = "choose fewer folds, or leave --folds out" if folds > 2 else "leave --folds out"
        raise DataError(
            f"--folds {folds}: {wrong}. Of the {len(component):,} pairs of train and val {share:.1%} hang together by "
            f"shared texts and cannot be parted: {mend}"
        )
    return fold_of_pair


def _wrong(fold: NDArray[np.int8], folds: int, label: NDArray[np.int8] | None) -> str:
    """What is wrong with these folds, or ""."""
    size = np.bincount(fold, minlength=folds)
    if not size.all():
        return "there are too few pairs that share no text, and a fold would be empty"
    if label is not None:
        for one, name in _CLASS.items():
            if not np.bincount(fold[label == one], minlength=folds).all():
                return f"a fold would hold no {name} pair"
    if size.max() * folds > LARGEST_SHARES * len(fold):
        return (
            f"a fold would hold {size.max() / len(fold):.1%} of the pairs, more than {LARGEST_SHARES} times its share"
        )
    return ""
