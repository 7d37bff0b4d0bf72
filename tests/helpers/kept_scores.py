"""Checks scores.parquet against what else a search left, and against the user's own file."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from tests.helpers.command import leaderboard
from tune.embed.tfidf import Tfidf
from tune.results.layout import ResultsFolder
from tune.results.scores import Scores, read_scores

Pair = tuple[str, str, int]
"""First text, second text, label."""


def checked_scores(folder: Path, pairs: Sequence[Pair], left_out: Collection[str] = ()) -> Scores:
    """Read the scores of a search; check their rows, their order and their AUCs. pairs: of the data, by row number.

    left_out: texts whose pairs the search left out. The column of TF-IDF is computed again from the texts in `pairs`,
    so rows that are not those pairs would show.
    """
    scores = read_scores(ResultsFolder(folder))
    assert scores is not None
    assert pq.read_schema(folder / "scores.parquet").names == ["row", "side", "label", *scores.models], "no texts"
    split = pd.read_parquet(folder / "split.parquet")
    train = [pairs[row][:2] for row in split.row[split.side == "train"]]
    fitting = [text for pair in train if not {*pair} & {*left_out} for text in pair]
    words = Tfidf.fit(fitting).cosine([pairs[row][0] for row in scores.row], [pairs[row][1] for row in scores.row])
    assert len(np.unique(words)) > 10 and np.allclose(words, scores.models["baseline:tf-idf"], atol=1e-6)
    assert [pairs[row][2] for row in scores.row] == scores.label.tolist()
    place = {row: number for number, row in enumerate(split.row)}
    for side in np.unique(scores.side):
        one = scores.on(side)
        sides = {"train", "val"} if side == "folds" else {side}
        assert set(split.set_index("row").side[one.row]) <= sides
        places = [place[row] for row in one.row]
        assert places == sorted(places), "in the order of split.parquet"
    _check_aucs(folder, scores)
    return scores


def _check_aucs(folder: Path, scores: Scores) -> None:
    rows = {row["trial"] + (f"@{row['dims']}" if row["matryoshka"] else ""): row for row in leaderboard(folder)}
    baselines = {key for key, row in rows.items() if row["status"] == "baseline"}
    winner = [key for key, row in rows.items() if row["rank"] == "1"][:1]
    assert set(scores.models) == {*baselines, *winner} and "baseline:tf-idf" in baselines
    for key, cosines in scores.models.items():
        assert np.isfinite(cosines).all() and np.abs(cosines).max() < 1 + 1e-6
        for side in ("val", "test"):
            if (at := scores.side == side).any():
                auc = roc_auc_score(scores.label[at], cosines[at])
                assert auc == pytest.approx(float(rows[key][f"{side}_auc"]), abs=1e-6), (key, side)
