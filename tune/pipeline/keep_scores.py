"""Keeps the cosines of single pairs, as they were when test was opened or the winner was judged out of fold.

Pairs are in the order of split.parquet, each side by itself.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.evaluate.final_test import Opened
from tune.pipeline.run import Run
from tune.results.scores import FOLDS, Scores, write_scores


def keep_opened(run: Run, sides: Mapping[str, LabelledPairs], opened: Opened) -> None:
    """Write the cosines on val (with folds, on train and val) and on test."""
    on_val = {key: cosines.val for key, cosines in opened.cosines.items()}
    on_test = {key: cosines.test for key, cosines in opened.cosines.items()}
    if run.config.search.folds:
        judged = _folded(run, sides["train"].joined(sides["val"]), on_val)
    else:
        judged = _part("val", sides["val"], on_val)
    _write(run, judged, _part("test", sides["test"], on_test))


def keep_folded(run: Run, pairs: LabelledPairs, cosines: Mapping[str, NDArray[np.floating]]) -> None:
    """Write the cosines of all pairs of a search without a test side."""
    _write(run, _folded(run, pairs, cosines))


def _folded(run: Run, pairs: LabelledPairs, cosines: Mapping[str, NDArray[np.floating]]) -> Scores:
    split = run.split.pairs
    # Several pairs of a triplet may share row and label, so only their texts tell them apart.
    rows = zip(split.row.tolist(), split.text_a, split.text_b, strict=True)
    place = {row: number for number, row in enumerate(rows)}
    assert pairs.row is not None
    found = [place[row] for row in zip(pairs.row.tolist(), pairs.text_a, pairs.text_b, strict=True)]
    order = np.argsort(np.array(found, np.int64))
    return _part(FOLDS, pairs.take(order), {key: scores[order] for key, scores in cosines.items()})


def _part(side: str, pairs: LabelledPairs, cosines: Mapping[str, NDArray[np.floating]]) -> Scores:
    assert pairs.row is not None  # the pairs of a split have their rows
    models = {key: scores.astype(np.float32) for key, scores in cosines.items()}
    return Scores(pairs.row, np.full(len(pairs), side), pairs.label, models)


def _write(run: Run, *parts: Scores) -> None:
    write_scores(
        run.folder,
        Scores(
            np.concatenate([part.row for part in parts]),
            np.concatenate([part.side for part in parts]),
            np.concatenate([part.label for part in parts]),
            {key: np.concatenate([part.models[key] for part in parts]) for key in parts[0].models},
        ),
    )
