"""Names of the three sides of a split and of the two classes, and the labelled pairs of each side as plain data."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tune.data.numbered import joined, taken

SIDES = ("train", "val", "test")
HELD_OUT = ("val", "test")
CLASS_NAMES = {0: "negative (label 0)", 1: "positive (label 1)"}
_T = TypeVar("_T", np.float64, np.int64)


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of one side, in order: text_a, text_b [n], label [n].

    component [n]: equal for pairs of the split that are linked by shared texts; only folds need it. shared: the column
    that all sides share by design, as a catalogue (--split queries). score [n]: graded scores in [0, 1], if the pairs
    have them. row [n]: the pair's number in the data, as in split.parquet; None if the pairs are of no split.
    """

    text_a: list[str]
    text_b: list[str]
    label: NDArray[np.int8]
    component: NDArray[np.int64] | None = None
    shared: Literal["a", "b"] | None = None
    score: NDArray[np.float64] | None = None
    row: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: NDArray[np.int64]) -> "LabelledPairs":
        """Return the pairs at `index`, in that order."""
        return LabelledPairs(
            taken(self.text_a, index),
            taken(self.text_b, index),
            self.label[index],
            None if self.component is None else self.component[index],
            self.shared,
            None if self.score is None else self.score[index],
            None if self.row is None else self.row[index],
        )

    def joined(self, others: "LabelledPairs") -> "LabelledPairs":
        """Return these pairs, then the others; what only one of the two has is left out."""
        return LabelledPairs(
            joined(self.text_a, others.text_a),
            joined(self.text_b, others.text_b),
            np.concatenate([self.label, others.label]),
            _both(self.component, others.component),
            self.shared,
            _both(self.score, others.score),
            _both(self.row, others.row),
        )


def _both(first: NDArray[_T] | None, second: NDArray[_T] | None) -> NDArray[_T] | None:
    return None if first is None or second is None else np.concatenate([first, second])
