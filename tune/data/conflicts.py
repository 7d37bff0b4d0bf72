"""Pairs that occur with both labels, which `clean_pairs` drops: which rows they are, to be read."""

import numpy as np
import pandas as pd

from tune.data._label_values import UNLABELLED
from tune.data.clean import canonical
from tune.data.numbered import text_ids
from tune.data.pairs import Pairs


def contradicting_rows(pairs: Pairs) -> list[list[int]]:
    """Return the indices of the rows of every pair that has both labels, by the rules of `clean_pairs`.

    Groups are in order of their first row.
    """
    usable = pairs.label != UNLABELLED
    if pairs.score is not None:
        usable &= ~np.isnan(pairs.score)
    rows = np.flatnonzero(usable).tolist()
    texts = [canonical(text[row]) for text in (pairs.text_a, pairs.text_b) for row in rows]
    ids, _ = text_ids(texts)
    first, second = ids[: len(rows)], ids[len(rows) :]
    filled = np.array([bool(text.strip()) for text in texts])
    found = pd.DataFrame(
        {
            "row": rows,
            "label": pairs.label[rows],
            "low": np.minimum(first, second),
            "high": np.maximum(first, second),
        }
    )[filled[: len(rows)] & filled[len(rows) :]]
    groups = found.groupby(["low", "high"], sort=False)
    both = found[groups["label"].transform("nunique") == 2]
    return [group["row"].tolist() for _, group in both.groupby(["low", "high"], sort=False)]
