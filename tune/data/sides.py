"""The three sides of a split, and the labelled pairs of each as plain data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.data.split import Split, train_order

SIDES = ("train", "val", "test")


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of one side, in order: text_a, text_b [n], label [n].

    component [n]: equal for pairs of the split that are linked by shared texts; folds alone need it.
    """

    text_a: list[str]
    text_b: list[str]
    label: NDArray[np.int8]
    component: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.label)


def labelled_sides(split: Split, seed: int) -> dict[str, LabelledPairs]:
    """The pairs of each side; train in its seeded order."""
    index = {side: np.flatnonzero(split.side == side) for side in ("val", "test")}
    index["train"] = train_order(split, seed)
    return {side: _labelled(split, index[side]) for side in SIDES}


def _labelled(split: Split, index: NDArray[np.int64]) -> LabelledPairs:
    taken = split.pairs.take(index)
    return LabelledPairs(taken.text_a, taken.text_b, taken.label, split.component[index])
