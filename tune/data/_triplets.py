"""Triplets as pairs: each row is a text with one or more that belong to it and one or more that do not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.data import DataConfig
from tune.data._columns import Columns, parse_texts
from tune.data._labels import Meaning
from tune.errors import DataError

MEANING = Meaning(
    "triplets: 1 for positive, 0 for negative", "1", "0", given=True, as_given="the columns of the triplets say"
)


def refuse_options(config: DataConfig, where: str) -> None:
    """Raise DataError if an option says which pairs are positive: the columns do."""
    given = {"--positive-label": config.positive_label, "--positive-from": config.positive_from}
    for option, value in given.items():
        if value is not None:
            raise DataError(
                f"{where}: {option} is for a label column, but these are triplets, and their columns say which texts"
                f" belong together: leave out {option}"
            )


def as_pairs(
    values: Mapping[str, Sequence[Any]], columns: Columns, against: Sequence[str], where: str
) -> tuple[dict[str, list[Any]], NDArray[np.int8], NDArray[np.int64]]:
    """Return the columns of pairs, their labels and the number of the row each comes from, [n].

    A row gives a pair with label 1, then one with label 0 per text in the columns `against`; a value may also be a list
    of texts. Where texts to go against are missing, there is no pair. Raises DataError for values that are not texts.
    """
    first = parse_texts(values[columns.text_a], columns.text_a, where)
    positives = _texts(values[columns.text_b], columns.text_b, where)
    negatives = [_texts(values[name], name, where) for name in against]
    second: list[Any] = []
    label: list[int] = []
    row: list[int] = []
    for number, (positive, *others) in enumerate(zip(positives, *negatives, strict=True)):
        found = [(text, 1) for text in positive] + [(text, 0) for texts in others for text in texts if text]
        for text, kind in found:
            second.append(text)
            label.append(kind)
            row.append(number)
    pairs = {name: [values[name][at] for at in row] for name in columns.names()}
    pairs |= {columns.text_a: [first[at] for at in row], columns.text_b: second}
    return pairs, np.array(label, np.int8), np.array(row, np.int64)


def _texts(values: Sequence[Any], column: str, where: str) -> list[list[str]]:
    """Return the texts of each row; an error then names the row and column of the source."""
    rows = [list(value) if isinstance(value, list | tuple) else [value] for value in values]
    longest = max(map(len, rows), default=0)
    parsed = [parse_texts([row[i] if i < len(row) else "" for row in rows], column, where) for i in range(longest)]
    return [[texts[number] for texts in parsed[: len(row)]] for number, row in enumerate(rows)]
