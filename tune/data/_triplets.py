"""Triplets as pairs: each row is a text with one or more that belong to it and one or more that do not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.data._columns import Columns


def as_pairs(
    values: Mapping[str, Sequence[Any]], columns: Columns, against: Sequence[str]
) -> tuple[dict[str, list[Any]], NDArray[np.int8], NDArray[np.int64]]:
    """Return the columns of pairs, their labels and the number of the row each comes from, [n].

    A row gives a pair with label 1, then one with label 0 per text in the columns `against`; a value may also be a list
    of texts. Where texts to go against are missing, there is no pair.
    """
    second: list[Any] = []
    label: list[int] = []
    row: list[int] = []
    for number, (positive, *negatives) in enumerate(
        zip(values[columns.text_b], *(values[name] for name in against), strict=True)
    ):
        found = [(text, 1) for text in _texts(positive)]
        found += [(text, 0) for value in negatives for text in _texts(value) if text not in (None, "")]
        for text, kind in found:
            second.append(text)
            label.append(kind)
            row.append(number)
    pairs = {name: [values[name][at] for at in row] for name in columns.names()} | {columns.text_b: second}
    return pairs, np.array(label, np.int8), np.array(row, np.int64)


def _texts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
