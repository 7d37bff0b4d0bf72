"""The cosines of two searches on the test pairs that both have scored, matched by the hash of texts and label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.data.sides import LabelledPairs
from tune.data.split import Split, SplitRows, read_split_rows, row_hashes
from tune.embed.exported import load_exported
from tune.embed.similarity import cosine
from tune.errors import ResultsError
from tune.events import Emit
from tune.metrics.score import roc_auc
from tune.pipeline.export_scores import Runtime, pair_vectors
from tune.results.layout import ResultsFolder, read_test
from tune.results.scores import Scores, read_scores

ByHash = Mapping[str, float]
"""Cosines of test pairs, by the hash of their texts and label."""
_SAME_AUC = 1e-3
"""How far the AUC of one model may differ between machines and precisions."""


@dataclass(frozen=True, eq=False)
class CommonScores:
    """The n test pairs that two models have scored, and the cosines of each, [n]. left_out: test pairs that one lacks.

    Closed models have no vector for some texts, and pairs with them are in no side of their search.
    """

    pairs: LabelledPairs
    scores: tuple[NDArray[np.float32], NDArray[np.float32]]
    left_out: int


def common_scores(first: ByHash, second: ByHash, split: Split, pairs: LabelledPairs) -> CommonScores:
    """Return the scores of two models on the pairs that both have.

    split: of the pairs as they are now. pairs: test pairs, with texts. Raises ResultsError if too few are in common.
    """
    hashes = row_hashes(pairs)
    index = np.array([i for i, own in enumerate(hashes) if own in first and own in second], np.int64)
    common = pairs.take(index)
    if len(np.unique(common.label)) < 2:
        raise ResultsError("the two searches have no scored test pairs of both classes in common")
    a, b = (np.array([found[hashes[i]] for i in index.tolist()], np.float32) for found in (first, second))
    return CommonScores(common, (a, b), int((split.side == "test").sum()) - len(index))


def read_kept(folder: ResultsFolder, key: str) -> tuple[Scores, SplitRows]:
    """Return scores.parquet, which has the model's column, and split.parquet. Raises ResultsError if one lacks them."""
    scores, rows = read_scores(folder), read_split_rows(folder.split)
    if scores is None or rows is None or key not in scores.models:
        missing = folder.split if rows is None else f"the winner's column in {folder.scores}"
        raise ResultsError(f"{missing} is missing; restore a copy of it")
    return scores, rows


def kept_cosines(folder: ResultsFolder, key: str, split: Split) -> ByHash:
    """Return a model's cosines of test pairs, from scores.parquet.

    It has a pair's row and label, which the pairs of a triplet may share; these keep their order. split: equal to that
    of the search, though rows may have another order. Raises ResultsError if the folder lacks the scores or the split.
    """
    scores, rows = read_kept(folder, key)
    about = dict(zip(split.row_hash, zip(split.side.tolist(), split.pairs.label.tolist(), strict=True), strict=True))
    hashes: dict[tuple[int, int], list[str]] = {}
    for row, own in zip(rows.row.tolist(), rows.row_hash, strict=True):
        side, label = about.get(own, ("", 0))
        if side == "test":
            hashes.setdefault((row, label), []).append(own)
    found: dict[str, float] = {}
    for place, cosines in _cosines(scores.on("test"), key).items():
        if len(cosines) == len(same := hashes.get(place, [])):
            # Of several pairs under one place some may be left out, and then nobody knows which.
            found |= dict(zip(same, cosines, strict=True))
    return found


def cosines_of_best(
    folder: ResultsFolder, key: str, dims: int, pairs: LabelledPairs, emit: Emit, *, trusted: bool
) -> ByHash:
    """Return the same from the winner itself, in best/, which embeds the texts of these test pairs.

    Raises ResultsError if it does not score what test.json says of the key: then it is another model.
    """
    model = load_exported(folder.best, trust_remote_code=trusted)
    vectors, rows = pair_vectors(Runtime.of_export(model, str(folder.best)), pairs, emit)
    cosines = cosine(vectors[:, :dims], rows)
    known, auc = read_test(folder)["models"].get(key, {}).get("test"), roc_auc(cosines, pairs.label)
    if known and known["n"] == len(pairs) and abs(known["auc"] - auc) > _SAME_AUC:
        raise ResultsError(
            f"{folder.best} scores {auc:.4f} on test, but {folder.test} says {known['auc']:.4f}: it is not the model"
            f" that won; move it away and export that one: python -m tune export {folder.root} --to {folder.best}"
        )
    return dict(zip(row_hashes(pairs), cosines.tolist(), strict=True))


def _cosines(scores: Scores, key: str) -> dict[tuple[int, int], Sequence[float]]:
    found: dict[tuple[int, int], list[float]] = {}
    rows = zip(scores.row.tolist(), scores.label.tolist(), scores.models[key].tolist(), strict=True)
    for row, label, score in rows:
        found.setdefault((row, label), []).append(score)
    return dict(found)
