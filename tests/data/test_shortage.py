"""Splits with too few pairs are refused with what would help: an option that works, or more pairs than there are."""

import re
from typing import Any

import numpy as np
import pytest

from tests.data.pair_files import pairs_of
from tests.data.test_queries import tickets, turned
from tests.data.test_split import DENSE, SPARSE, random_rows, refusal
from tune.config.search import SearchOptions
from tune.data._shortage import FOLDED_NEEDED
from tune.data.sides import SIDES
from tune.data.split import split_pairs

CONSTANT = [("the one search term", f"candidate {i} of many", i % 2) for i in range(2800)]


def either_way(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    return [(b, a, label) if i % 2 else (a, b, label) for i, (a, b, label) in enumerate(rows)]


SYMMETRIC = either_way(random_rows(40_000, 20_000))


def proposed(line: str) -> list[str]:
    """The values of --split in a refusal, each checked to split these pairs."""
    return re.findall(r"--split ([\w-]+), which", line)


def asked_for(line: str) -> tuple[int, int]:
    """The number of pairs that a refusal asks for, and the number that it says there are."""
    found = re.search(r"about ([\d,]+) pairs like these should be enough \(there are ([\d,]+)\)", line)
    assert found, line
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def rare(count: int, positives: int) -> list[tuple[str, str, int]]:
    return [(f"question {i} of it", f"answer {i} to that", int(i < positives)) for i in range(count)]


@pytest.mark.parametrize("mode", ["components", "cut", "queries-a"])
def test_one_text_in_all_pairs(mode: Any) -> None:
    line = refusal(CONSTANT, mode=mode)
    assert "one text, in column 'a', is in 100% of the pairs and ties them together" in line
    assert "more pairs like these will not help; use --split queries, which keeps the texts of 'b' apart" in line
    assert "about" not in line, "no number of pairs would do"
    split = split_pairs(pairs_of(CONSTANT), mode="queries")
    rows, positives = split.counts["rows"], split.counts["positives"]
    held = "; ".join(f"{side} {rows[side]} pairs, {positives[side]} positive" for side in ("val", "test"))
    assert f"({held})" in line and set(split.side.tolist()) == set(SIDES)


@pytest.mark.parametrize("rows", [tickets(), turned(tickets())], ids=["articles second", "articles first"])
def test_a_catalogue(rows: list[tuple[str, str, int]]) -> None:
    line = refusal(rows)
    assert "shared texts link 100.0% of the pairs into one component too large for val or test" in line
    assert proposed(line) == ["queries"], "cut would leave too little"
    assert proposed(refusal(rows, mode="cut")) == ["queries"]


def test_cut_is_proposed_and_dismissed_by_its_own_count() -> None:
    """Pairs of one kind of text: a catalogue would be half of all texts, so queries is no way out."""
    assert proposed(refusal(SYMMETRIC)) == proposed(refusal(SYMMETRIC, mode="queries")) == ["cut"]
    cut = split_pairs(pairs_of(SYMMETRIC), mode="cut")
    held = f"(val {cut.counts['rows']['val']} pairs, {cut.counts['positives']['val']} positive; test "
    assert held in refusal(SYMMETRIC)
    few = either_way(DENSE)
    line = refusal(few)
    assert proposed(line) == [] and "more pairs like these will not help alone; with --split cut about" in line
    needed, there = asked_for(line)
    assert there == 6000 < needed < 100_000
    needed, there = asked_for(refusal(few, mode="cut"))
    assert there == 6000 < needed


def test_components_are_proposed_where_cut_drops_too_much() -> None:
    split_pairs(pairs_of(SPARSE))
    line = refusal(SPARSE, mode="cut")
    assert proposed(line) == ["components"] and "keeps linked texts together" in line


def test_both_options_are_proposed_where_both_work() -> None:
    rng = np.random.default_rng(0)
    rows = {(q, d): (f"query {q}", f"document {d}", 0) for q, d in rng.integers(0, (9000, 4000), (60_000, 2)).tolist()}
    both = [(a, b, i % 2) for i, (a, b, _) in enumerate(rows.values())]
    assert proposed(refusal(both)) == ["queries", "cut"]


@pytest.mark.parametrize("mode", ["components", "queries", "cut"])
@pytest.mark.parametrize("seed", range(3))
def test_the_number_asked_for_is_above_the_number_there_is_and_is_enough(mode: Any, seed: int) -> None:
    rows = random_rows(500, 30_000, seed)
    needed, there = asked_for(refusal(rows, seed=seed, mode=mode))
    assert there == 500 < needed
    split_pairs(pairs_of(random_rows(needed, needed * 8, seed)), seed)
    constant, _ = asked_for(refusal(CONSTANT[:300], seed=seed))
    many = [("the one search term", f"candidate {i} of many", i % 2) for i in range(constant)]
    assert constant > 300
    split_pairs(pairs_of(many), seed, "queries")


@pytest.mark.parametrize(("count", "positives"), [(900, 10), (900, 890), (20_000, 150), (300, 150), (1900, 950)])
def test_rare_classes(count: int, positives: int) -> None:
    line = refusal(rare(count, positives))
    needed, there = asked_for(line)
    assert there == count < needed
    # Of each class that is short, more than there are; and that many are enough.
    of_class = {"positive": positives, "negative": count - positives}
    asked = {name: int(n.replace(",", "")) for n, name in re.findall(r"([\d,]+) (positive|negative) ones", line)}
    assert bool(asked) == (min(of_class.values()) < max(of_class.values()) / 2)
    assert all(asked[name] > of_class[name] for name in asked)
    if asked:
        grown = {name: asked.get(name, there) for name, there in of_class.items()}
        split_pairs(pairs_of(rare(sum(grown.values()), grown["positive"])))


def test_the_scarcer_class_of_a_large_file_is_the_only_one_named() -> None:
    line = refusal(rare(20_000, 150))
    assert "positive ones (there are 150)" in line and "negative ones" not in line


def test_only_a_split_of_ones_own_is_left() -> None:
    """Few texts on both sides, all linked: no rule can split these, and no number of such pairs would change it."""
    rows = [(f"text {i}", f"text {j}", (i + j) % 2) for i in range(40) for j in range(i)]
    line = refusal(rows)
    assert "more pairs like these will not help; add pairs of other texts" in line and "--split-column" in line


def test_a_given_split_with_too_few_is_not_offered_another_rule() -> None:
    side = ["test" if i < 150 else "val" if i < 1000 else "train" for i in range(len(DENSE))]
    line = refusal(DENSE, side)
    assert "the given split has only" in line and "--split queries" not in line


FOLDS_WORK = "; or search --folds 5, which judges all of them out of fold"


def test_folds_are_proposed_where_they_work_and_else_what_they_need() -> None:
    line = refusal(rare(300, 150))
    assert f"{FOLDS_WORK} (150 positive and 150 negative; it needs 20 of either class)" in line
    assert FOLDS_WORK in refusal(rare(40, 20)) and FOLDS_WORK in refusal(rare(20_000, 150))
    few = "; search --folds 5, which judges out of fold, needs 20 of either class (only "
    assert f"{few}10 are positive)" in refusal(rare(900, 10)) and f"{few}19 are negative)" in refusal(rare(900, 881))
    assert "--folds" not in refusal(CONSTANT), "one component cannot be put into folds"
    side = ["val" if i < 150 else "test" if i < 1500 else "train" for i in range(len(SPARSE))]
    line = refusal(SPARSE, side)
    assert "; or search --folds 5, which cross-validates over train and val, so val can be any size" in line
    split = split_pairs(pairs_of(SPARSE, side), folds=5)
    assert split.side.tolist() == side and not split.out_of_fold


@pytest.mark.parametrize(("count", "positives"), [(40, 20), (300, 150), (600, 20), (600, 580)])
def test_with_folds_few_pairs_have_no_test_side(count: int, positives: int) -> None:
    for seed in range(3):
        split = split_pairs(pairs_of(rare(count, positives)), seed, folds=5)
        assert split.out_of_fold and set(split.side.tolist()) == {"train"} and len(split.pairs) == count
        assert split.counts["rows"] == {"train": count, "val": 0, "test": 0}
        assert split.counts["positives"]["train"] == positives and split.counts["moved_to_train"] == 0
    plain = split_pairs(pairs_of(rare(count, positives)), 0, folds=3)
    assert split.digest == plain.digest and split.row_hash == plain.row_hash, "folds and seed move no pair"


def test_with_folds_enough_pairs_are_split_as_without() -> None:
    plain, folded = split_pairs(pairs_of(SPARSE)), split_pairs(pairs_of(SPARSE), folds=5)
    assert plain.digest == folded.digest and not folded.out_of_fold and plain.counts == folded.counts


def test_with_folds_no_mode_drops_a_pair() -> None:
    """Without sides held out, nothing crosses them."""
    linked = [(f"question {i // 2}", f"answer {i}", i % 2) for i in range(400)]
    for mode in ("cut", "queries", "components"):
        split = split_pairs(pairs_of(linked), mode=mode, folds=4)
        assert len(split.pairs) == 400 and split.counts["crossing_dropped"] == 0


def test_the_least_that_folds_take() -> None:
    assert f"needs {FOLDED_NEEDED} pairs of either class" in str(SearchOptions.model_fields["folds"].description)
    line = refusal(rare(900, 10), folds=5)
    assert line == (
        "test: only 10 positive (label 1) pairs among 900, but judging out of fold (--folds) needs 20 of either class:"
        " add at least 10 positive pairs"
    )
    assert "only 19 negative" in refusal(rare(400, 381), folds=2) and refusal(rare(39, 20), folds=5).endswith(
        "add at least 1 negative pair"
    )
    line = refusal(rare(40, 20), folds=30)
    assert "a fold would hold no" in line and "use fewer folds (20 at most), or add pairs of other texts" in line


def test_one_component_is_told_of_another_split_with_folds_as_without() -> None:
    assert proposed(refusal(CONSTANT, folds=5)) == ["queries"]
    assert not split_pairs(pairs_of(CONSTANT), mode="queries", folds=5).out_of_fold


@pytest.mark.parametrize("folds", [0, 2, 5])
def test_folds_do_not_take_over_where_another_split_is_enough(folds: int) -> None:
    linked = [*tickets(), *((f"question {i}", f"answer {i}", i % 2) for i in range(300))]
    line = refusal(linked, folds=folds)
    assert "into one component too large for val or test" in line and proposed(line) == ["queries"]
    assert "--folds" not in line and "fewer folds" not in line
    assert ("val " in line.partition("--split queries")[2]) == (not folds), "with folds, val may be of any size"
    assert not split_pairs(pairs_of(linked), mode="queries", folds=folds).out_of_fold


def test_one_component_with_most_of_few_pairs_is_not_judged_out_of_fold() -> None:
    rows = [("one", f"answer {i}", i % 2) for i in range(180)] + [(f"q {i}", f"b {i}", i % 2) for i in range(120)]
    for folds in (2, 5):
        line = refusal(rows, folds=folds)
        assert "one text, in column 'a', is in 60% of the pairs" in line and "fewer folds" not in line
    assert "--folds" not in refusal(rows)


def test_folds_are_proposed_only_if_they_can_be_made_on_train_and_val() -> None:
    """Test is given and large enough; train and val share one text."""
    test = [(f"question {i}", f"answer {i}", i % 2) for i in range(400)]
    rows = [*test, *(("one text", f"other {i}", i % 2) for i in range(150))]
    side = ["test"] * 400 + ["val"] * 50 + ["train"] * 100
    line = refusal(rows, side)
    assert "the given split has only" in line and "--folds" not in line


def test_a_given_test_side_that_is_too_small_stays_refused() -> None:
    side = ["test" if i < 30 else "train" for i in range(300)]
    line = refusal(rare(300, 150), side, folds=5)
    assert "the given split has only" in line and "leave the given split out" in line
    assert line.endswith("to judge all pairs out of fold")
    split = split_pairs(pairs_of(rare(300, 150), ["val" if i < 30 else "train" for i in range(300)]), folds=5)
    assert split.out_of_fold and set(split.side.tolist()) == {"train"}, "no test side was given"
    assert split.counts["mode"] == "given" and split.counts["cut_from_train"] == []
