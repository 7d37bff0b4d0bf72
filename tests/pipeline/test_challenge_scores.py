"""Two searches are compared on the pairs that both have scored, known by texts and label, in whatever order."""

import json
from pathlib import Path

import numpy as np
import pytest

from tune.config.search import search_config
from tune.data.sides import LabelledPairs
from tune.data.split import Split, labelled_sides, row_hashes, write_split
from tune.errors import ResultsError
from tune.events import ignore
from tune.pipeline.challenge_scores import common_scores, kept_cosines
from tune.pipeline.pairs import read_split
from tune.results.layout import ResultsFolder
from tune.results.scores import Scores, write_scores


def split_of(path: Path, rows: list[dict[str, object]]) -> Split:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = search_config(data={"data": str(path), "split_column": "side"}, space={"base_model": "wordllama"})
    return read_split(config, ignore)[0]


def cosine_of(pairs: LabelledPairs) -> np.ndarray:
    """A number of its own for every pair, whatever its row."""
    return np.array([int(own[:6], 16) / 2**24 for own in row_hashes(pairs)], np.float32)


def write(folder: Path, split: Split, pairs: LabelledPairs) -> tuple[ResultsFolder, str]:
    folder.mkdir()
    results = ResultsFolder(folder)
    write_split(split, results.split)
    assert pairs.row is not None
    side = np.full(len(pairs), "test")
    write_scores(results, Scores(pairs.row, side, pairs.label, {"winner": cosine_of(pairs)}))
    return results, "winner"


def test_triplets_in_another_order_and_pairs_that_one_lacks(tmp_path: Path) -> None:
    """Both negatives of a triplet share row and label: with one of them left out, nobody knows which it was."""
    rows: list[dict[str, object]] = [
        {"anchor": f"a {i}", "positive": f"p {i}", "negative": [f"n {i}", f"m {i}"], "side": side}
        for side, count in {"train": 5, "val": 110, "test": 110}.items()
        for i in (f"{side} {number}" for number in range(count))
    ]
    before, now = split_of(tmp_path / "a.jsonl", rows), split_of(tmp_path / "b.jsonl", rows[::-1])
    assert before.digest == now.digest
    old, new = labelled_sides(before, 0)["test"], labelled_sides(now, 0)["test"]
    gone = old.take(np.flatnonzero([text not in ("n test 3", "p test 5") for text in old.text_b]))
    first, second = write(tmp_path / "first", now, new), write(tmp_path / "second", before, gone)
    found = common_scores(*(kept_cosines(*one, now) for one in (first, second)), now, new)
    assert found.left_out == 3 and len(found.pairs) == len(new) - 3
    assert not {"n test 3", "m test 3", "p test 5"}.intersection(found.pairs.text_b)
    for scores in found.scores:
        assert np.array_equal(scores, cosine_of(found.pairs))
    with pytest.raises(ResultsError, match=r"the winner's column in .*scores.parquet is missing"):
        kept_cosines(second[0], "another", now)
