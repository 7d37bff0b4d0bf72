"""scores.parquet: the cosines behind a search's numbers, pair by pair, written at the moment test is opened.

It holds no texts: a pair is known by its row in the data.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tune.errors import ResultsError
from tune.files import replace_atomic
from tune.results.layout import ResultsFolder

FOLDS = "folds"
"""The side of pairs that a search with folds scored out of fold: all but those of test."""

_ABOUT_PAIRS = ("row", "side", "label")


@dataclass(frozen=True, eq=False)
class Scores:
    """n pairs and the cosines of some models, at the dims that rank them.

    row [n]: the pair's number in the data, as in split.parquet; the two pairs of a triplet share one, and differ in
    label. side [n]: val, test or FOLDS. label [n]. models: key (`baseline:NAME` for an untouched base model and for
    TF-IDF; a trial's `model_key` for the winner) -> cosines [n].
    """

    row: NDArray[np.int64]
    side: NDArray[np.str_]
    label: NDArray[np.int8]
    models: dict[str, NDArray[np.float32]]

    def on(self, side: str) -> "Scores":
        """Return the pairs of one side."""
        at = self.side == side
        models = {key: scores[at] for key, scores in self.models.items()}
        return Scores(self.row[at], self.side[at], self.label[at], models)


def write_scores(folder: ResultsFolder, scores: Scores) -> None:
    """Write scores.parquet atomically."""
    side = pa.array(scores.side.tolist(), pa.string()).dictionary_encode()
    table = pa.table({"row": scores.row, "side": side, "label": scores.label, **scores.models})
    replace_atomic(folder.scores, lambda part: pq.write_table(table, part))


def read_scores(folder: ResultsFolder) -> Scores | None:
    """Read scores.parquet; None if there is none, as in results of earlier versions. Raises ResultsError if damaged."""
    if not folder.scores.is_file():
        return None
    try:
        table = pq.read_table(folder.scores)
        row, side, label = (table.column(name) for name in _ABOUT_PAIRS)
        models = {
            name: table.column(name).to_numpy().astype(np.float32)
            for name in table.column_names
            if name not in _ABOUT_PAIRS
        }
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise ResultsError(f"{folder.scores} cannot be read ({reason}); restore a copy of it, or delete it") from None
    return Scores(
        row.to_numpy().astype(np.int64), np.array(side.to_pylist(), np.str_), label.to_numpy().astype(np.int8), models
    )
