"""Graded scores (--score): read, scaled to [0, 1], made into labels, cleaned and split; and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.pair_files import jsonl, pairs_of, put, read, refusal, refused_early, table
from tune.config.search import search_config
from tune.data.clean import clean_pairs
from tune.data.pairs import Pairs
from tune.data.split import labelled_sides, split_pairs
from tune.errors import ConfigError, DataError
from tune.pipeline.pairs import read_split

STS = [("a", "b", 0.0), ("c", "d", 2.5), ("e", "f", 5.0), ("g", "h", 4.0), ("i", "j", 1.0)]
LABELLED = "text1,text2,label,grade\na,b,0,1\nc,d,1,4\ne,f,0,2\ng,h,1,3\n"


def sts(folder: Path, *more: tuple[str, str, Any]) -> Path:
    return put(folder / "sts.csv", table([*STS, *more], header="sentence1 sentence2 score"))


def test_scores_are_scaled_and_labels_come_from_the_threshold(tmp_path: Path) -> None:
    pairs = read(sts(tmp_path), score="score", positive_from=4)
    assert pairs.score is not None and pairs.score.tolist() == [0.0, 0.5, 1.0, 0.8, 0.2]
    assert pairs.label.tolist() == [0, 0, 1, 1, 0]
    assert (pairs.columns.label, pairs.columns.score) == ("score", "score")
    assert pairs.scale is not None and pairs.scale.described() == "0 (lowest found) to 5 (highest found)"
    given = read(sts(tmp_path), score="Score", positive_from=4, score_min=-5, score_max=5)
    assert given.score is not None and given.score.tolist() == [0.5, 0.75, 1.0, 0.9, 0.6]
    assert given.scale is not None and given.scale.described() == "-5 to 5"
    plain = read(sts(tmp_path), positive_from=4)
    assert plain.score is None and plain.scale is None and plain.label.tolist() == pairs.label.tolist()


def test_labels_may_have_a_column_of_their_own(tmp_path: Path) -> None:
    path = put(tmp_path / "p.csv", LABELLED)
    pairs = read(path, score="grade")
    assert pairs.label.tolist() == [0, 1, 0, 1] and pairs.score is not None
    np.testing.assert_allclose(pairs.score, [0, 1, 1 / 3, 2 / 3])
    assert read(path, score="grade", label="label").label.tolist() == [0, 1, 0, 1]
    # With a threshold, the score is what it applies to.
    assert read(path, score="grade", positive_from=2).label.tolist() == [0, 1, 1, 1]
    assert read(path, score="grade", label="grade", positive_from=2).label.tolist() == [0, 1, 1, 1]
    line = refused_early(path, score="grade", label="label", positive_from=2)
    assert "'grade' (--score)" in line and "'label' (--label)" in line and "leave out --label" in line


def test_all_files_of_a_folder_share_one_scale(tmp_path: Path) -> None:
    for side, rows in {"train": STS[:3], "val": STS[3:4], "test": STS[4:]}.items():
        put(tmp_path / f"{side}.jsonl", jsonl(rows, "sentence1 sentence2 score"))
    pairs = read(tmp_path, score="score", positive_from=4)
    assert pairs.score is not None and pairs.score.tolist() == [0.0, 0.5, 1.0, 0.8, 0.2]
    assert pairs.side == ["train"] * 3 + ["val", "test"]


@pytest.mark.parametrize("missing", ["", "NA", "nan", "null"])
def test_rows_without_a_score_are_dropped_and_counted(tmp_path: Path, missing: str) -> None:
    pairs, counts = clean_pairs(read(sts(tmp_path, ("k", "l", missing)), score="score", positive_from=4))
    assert (counts["unlabelled"], counts["unscored"], counts["kept"]) == (1, 0, 5)
    path = put(tmp_path / "p.csv", LABELLED + f"k,l,1,{missing}\nm,n,,2\n")
    pairs, counts = clean_pairs(read(path, score="grade"))
    assert (counts["unlabelled"], counts["unscored"], counts["kept"]) == (1, 1, 4)
    assert pairs.score is not None and np.isfinite(pairs.score).all()
    assert "unscored" not in clean_pairs(read(path))[1], "only graded pairs can lack a score"


def test_of_a_repeated_pair_the_first_score_is_kept() -> None:
    rows = [("a", "b", 1), ("b", "a", 1), ("a", "b", 1), ("c", "d", 0), ("d", "c", 0), ("c", "d", 0)]
    sides = ["train", "train", "test", "train", "train", "val"]
    scores = np.array([0.7, 0.8, 0.9, 0.1, 0.2, 0.1])
    for side, kept, other in ((None, [0.7, 0.1], 3), (sides, [0.9, 0.1], 3)):
        plain = pairs_of(rows, side)
        pairs, counts = clean_pairs(Pairs(**{**plain.__dict__, "score": scores}))
        assert pairs.score is not None and pairs.score.tolist() == kept
        assert (counts["repeated"], counts["other_score"], counts["kept"]) == (4, other, 2)


REFUSED: dict[str, tuple[list[tuple[str, str, Any]], dict[str, Any], list[str]]] = {
    "no number": (
        [("k", "l", "good"), ("m", "n", "a\nb")],
        {"positive_from": 4},
        ["'good', 'a\\nb'", "finite numbers"],
    ),
    "infinite": ([("k", "l", "inf")], {"positive_from": 4}, ["'inf'", "finite numbers"]),
    "outside": ([], {"positive_from": 4, "score_max": 4}, ["contains 5, outside 0 to 4", "--score-max"]),
    "below": ([], {"positive_from": 4, "score_min": 2}, ["contains 0, 1, outside 2 to 5", "--score-min"]),
    "no threshold": ([], {}, ["nothing says which", "--positive-from 2.5 (3 of 5 pairs positive)", "--label"]),
    "nothing positive": ([], {"positive_from": 6}, ["none of the 5 pairs", "--positive-from 2.5 (3 of 5"]),
    "all positive": ([], {"positive_from": -1}, ["all of the 5 pairs", "--positive-from 2.5 (3 of 5"]),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_scores_that_cannot_be_used(case: str, tmp_path: Path) -> None:
    rows, options, says = REFUSED[case]
    line = refusal(sts(tmp_path, *rows), score="score", **options)
    assert line.startswith("sts.csv: ") and all(words in line for words in says), line


def test_columns_that_cannot_be_scores(tmp_path: Path) -> None:
    path = put(tmp_path / "p.csv", "text1,text2,label,same,none,distance\na,b,0,3,,9\nc,d,1,3,,1\n")
    assert "all scores of column 'same' are 3" in refusal(path, score="same")
    assert "score column 'none' is empty" in refusal(path, score="none")
    line = refusal(path, score="distance")
    assert "lower for pairs labelled 1 (mean 1) than for pairs labelled 0 (9)" in line and "reverse them" in line
    assert "no column 'grade' (--score)" in refused_early(path, score="grade")
    assert "two purposes" in refused_early(path, score="text1", positive_from=1)
    assert "two purposes" in refused_early(path, score="same", split_column="same", positive_from=1)


def test_a_long_threshold_is_proposed_only_if_a_short_one_does_not_split(tmp_path: Path) -> None:
    def proposed(*scores: float) -> str:
        rows = [(f"a{i}", f"b{i}", score) for i, score in enumerate(scores)]
        path = put(tmp_path / "p.csv", table(rows, header="text1 text2 score"))
        return refusal(path, score="score").partition("such as ")[2].partition(",")[0]

    assert proposed(0.12, 0.34, 0.5678, 0.9) == "--positive-from 0.57 (1 of 4 pairs positive)"
    assert proposed(0.12341, 0.12342) == "--positive-from 0.12342 (1 of 2 pairs positive)"
    assert proposed(1.00000001, 1.00000002) == "--positive-from 1.00000002 (1 of 2 pairs positive)"
    assert proposed(*[0] * 90, 1, 2, 3) == "--positive-from 1 (3 of 93 pairs positive)"


def test_limits_are_checked_with_all_other_options() -> None:
    for data, line in {
        ("score_min",): "[data] score_min limits graded scores: name their column with --score",
        ("score", "score_min", "score_max"): "[data] score_max must be above score_min (3)",
    }.items():
        with pytest.raises(ConfigError) as refused:
            search_config(data={name: 3 if name != "score" else "score" for name in data})
        assert refused.value.problems == (line,)
    with pytest.raises(ConfigError, match="finite number"):
        search_config(data={"score": "score", "score_max": "inf"})
    with pytest.raises(DataError, match="--score given without --data"):
        read_split(search_config(data={"score": "score"}), lambda event: None)


def made(count: int, scores: bool = True) -> Pairs:
    generator = np.random.default_rng(0)
    score = np.round(generator.random(count), 1)
    rows = [(f"left {i // 2}", f"right {i}", int(score[i] >= 0.5)) for i in range(count)]
    return Pairs(**{**pairs_of(rows).__dict__, "score": score if scores else None})


def test_scores_move_no_row_but_are_part_of_what_a_search_resumes_on() -> None:
    graded, plain = (split_pairs(made(3000, scores)) for scores in (True, False))
    assert graded.row_hash == plain.row_hash and graded.side.tolist() == plain.side.tolist()
    assert graded.digest != plain.digest
    changed = made(3000)
    assert changed.score is not None
    changed.score[7] += 0.01
    assert split_pairs(changed).digest != graded.digest
    for name, side in labelled_sides(graded, 0).items():
        other = labelled_sides(plain, 0)[name]
        assert side.text_b == other.text_b and other.score is None and side.score is not None
        assert ((side.score >= 0.5) == (side.label == 1)).all(), "every pair keeps its own score"
    # As it was before there were scores.
    assert split_pairs(pairs_of([(f"a{i}", f"b{i}", i % 2) for i in range(3000)])).digest == (
        "4e0a4da84a57e398b730d61080295352"
    )
