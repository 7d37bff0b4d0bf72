"""Columns of texts that know which of their texts are equal, so that a text is hashed once, not by every phase."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tune.data._arrow_texts import as_texts, ids_of

Ids = NDArray[np.int64]


class NumberedTexts(list[str]):
    """A list of texts, not to be changed. ids [n]: the number of each; distinct: the text of each number.

    Columns that were made from one another share `distinct`, which may have more texts than occur here.
    """

    def __init__(self, ids: Ids, distinct: list[str]) -> None:
        super().__init__([distinct[number] for number in ids.tolist()])
        self.ids, self.distinct = ids, distinct

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the texts that do not occur here: they may be those of test.
        return list, (list(self),)


def taken(texts: list[str], index: Ids) -> list[str]:
    """Return the texts at `index`, in that order."""
    if isinstance(texts, NumberedTexts):
        return NumberedTexts(texts.ids[index], texts.distinct)
    return [texts[at] for at in index.tolist()]


def joined(first: list[str], second: list[str]) -> list[str]:
    """Return the first texts, then the second ones."""
    if isinstance(first, NumberedTexts) and isinstance(second, NumberedTexts) and first.distinct is second.distinct:
        return NumberedTexts(np.concatenate([first.ids, second.ids]), first.distinct)
    return first + second


def text_ids(*columns: Sequence[str]) -> tuple[Ids, list[str]]:
    """Return an id per text of all columns, one after the other, [n], dense and in order of first appearance; and the
    distinct texts by id.
    """
    numbered = [column for column in columns if isinstance(column, NumberedTexts)]
    if numbered and len(numbered) == len(columns) and len({id(column.distinct) for column in numbered}) == 1:
        ids, numbers = pd.factorize(np.concatenate([column.ids for column in numbered]))
        known = numbered[0].distinct
        return ids.astype(np.int64), [known[number] for number in numbers.tolist()]
    texts = [text for column in columns for text in column] if len(columns) > 1 else columns[0]
    column = as_texts(texts)
    if column is not None:
        ids, first = ids_of(column)
        return ids, [texts[at] for at in first.tolist()]
    with_surrogates = np.empty(len(texts), dtype=object)
    with_surrogates[:] = texts
    ids, distinct = pd.factorize(with_surrogates)
    return ids.astype(np.int64), list(distinct)
