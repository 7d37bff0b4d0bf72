"""Cleaning: every rule and every count, on data small enough to count by hand."""

import numpy as np
import pytest

from tests.data.pair_files import pairs_of
from tune.data.clean import clean_pairs, normalise
from tune.errors import DataError

Row = tuple[str, str, int]


def test_every_reason_is_counted_once() -> None:
    rows: list[Row] = [
        ("a", "b", 1),  # 0 kept
        ("b", "a", 1),  # 1 repeated: the pair is unordered
        ("a", "b", 1),  # 2 repeated
        ("A", "b", 1),  # 3 kept: raw texts count
        ("c", "d", 0),  # 4 contradicting
        ("d", "c", 1),  # 5 contradicting
        ("c", "d", 0),  # 6 contradicting
        ("same", "same", 1),  # 7 kept, identical
        ("same", "same", 1),  # 8 repeated
        ("other", "other", 0),  # 9 identical, dropped
        ("both", "both", 0),  # 10 contradicting
        ("both", "both", 1),  # 11 contradicting
        ("", "x", 1),  # 12 empty
        (" \t\n", "x", 0),  # 13 empty
        ("e", "f", -1),  # 14 unlabelled
        ("", "", -1),  # 15 unlabelled comes first
        ("a", "b", -1),  # 16 unlabelled rows contradict nothing
        ("g", "h", 0),  # 17 kept
    ]
    cleaned, counts = clean_pairs(pairs_of(rows))
    assert cleaned.row.tolist() == [0, 3, 7, 17]
    assert counts == {
        "read": 18,
        "unlabelled": 3,
        "empty": 2,
        "contradicting": 5,
        "identical_dropped": 1,
        "repeated": 3,
        "kept": 4,
        "identical_kept": 1,
    }
    assert set(cleaned.label.tolist()) == {0, 1}
    again, counts = clean_pairs(cleaned)
    assert again.row.tolist() == cleaned.row.tolist() and counts["kept"] == counts["read"] == 4


def test_with_a_given_split_test_keeps_its_row_before_val_before_train() -> None:
    rows = [
        ("a", "b", 1, "train"),
        ("a", "b", 1, "val"),
        ("b", "a", 1, "test"),
        ("a", "b", 1, "test"),
        ("c", "d", 0, "train"),
        ("d", "c", 0, "val"),
        ("e", "f", 0, "train"),
        ("e", "f", 0, "train"),
    ]
    cleaned, counts = clean_pairs(pairs_of([row[:3] for row in rows], side=[row[3] for row in rows]))
    assert cleaned.row.tolist() == [2, 5, 6]
    assert cleaned.side == ["test", "val", "train"]
    assert counts["repeated"] == 5


def test_reasons_add_up_on_random_data() -> None:
    rng = np.random.default_rng(0)
    words = ["", " ", "a", "A", "b", "c", "d", "e", "f", "g", "h"]
    for n in (1, 5, 300):
        drawn = rng.integers(0, len(words), (n, 2)).tolist()
        rows: list[Row] = [(words[a], words[b], int(rng.integers(-1, 2))) for a, b in drawn]
        rows += [("one", "two", 1), ("three", "four", 0)]
        cleaned, counts = clean_pairs(pairs_of(rows))
        reasons = ("unlabelled", "empty", "contradicting", "identical_dropped", "repeated")
        assert counts["read"] == n + 2 == counts["kept"] + sum(counts[reason] for reason in reasons)
        seen = [frozenset(pair) for pair in zip(cleaned.text_a, cleaned.text_b, strict=True)]
        assert len(set(seen)) == len(seen) == counts["kept"]


def test_nothing_or_one_class_left_is_refused() -> None:
    for rows in ([("a", "b", 1), ("a", "b", 0)], [("a", "a", 0), ("c", "d", 1)]):
        with pytest.raises(DataError, match="after cleaning") as refused:
            clean_pairs(pairs_of(list(rows)))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("How do I pay?", "how  do i\tpay"),
        ("  (Wi-Fi) off!! ", "wi fi off"),
        ("STRASSE", "straße"),
        ("«Où»…", "où"),
        ("`code`", "code"),
        ("你好。", "你好"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u1112\u1161\u11ab", "\ud55c"),
        ("\uff21\uff22\uff23\u3000\uff11", "ABC 1"),
        ("\uff76\uff9e", "\u30ac"),
        ("pass\u200bword", "password"),
        ("co\u00adoperate\ufeff", "cooperate"),
    ],
)
def test_same_text(text: str, same: str) -> None:
    assert normalise(text) == normalise(same)


@pytest.mark.parametrize(
    ("text", "other"), [("C++", "C"), ("की", "का"), ("🙂", "🙁"), ("$5", "5"), ("?!", "..."), ("a b", "ab")]
)
def test_other_text(text: str, other: str) -> None:
    assert normalise(text) != normalise(other)


def test_twins_in_other_code_points_are_one_text() -> None:
    twins = [("caf\u00e9 au lait", "cafe\u0301 au lait"), ("\uff21\uff22", "AB"), ("a\u200bb", "ab")]
    rows = [(one, f"answer {i}", 1) for i, (one, _) in enumerate(twins)]
    rows += [(f"answer {i}", other, 1 if i else 0) for i, (_, other) in enumerate(twins)]
    rows += [("\u200b \u00ad", "seen by nobody", 1), ("Ab", "answer 1", 1), ("x", "y", 0)]
    cleaned, counts = clean_pairs(pairs_of(rows))
    assert counts == {
        "read": 9, "unlabelled": 0, "empty": 1, "contradicting": 2, "identical_dropped": 0, "repeated": 2, "kept": 4,
        "identical_kept": 0,
    }  # fmt: skip
    assert cleaned.text_a == ["\uff21\uff22", "a\u200bb", "Ab", "x"], (
        "texts stay as they were written, and so does case"
    )


def test_raw_text_where_nothing_remains() -> None:
    assert normalise(" ?! ") == " ?! "


@pytest.mark.parametrize("code", [0x200E, 0x200F, 0x2061, 0x2064, 0x202A, 0x202E, 0x2066, 0x2069, 0xFE0E, 0xFE0F])
def test_marks_that_cannot_be_seen_make_no_other_text(code: int) -> None:
    marked = f"open{chr(code)} \u2600{chr(code)}"
    assert normalise(marked) == normalise("open \u2600")
    cleaned, counts = clean_pairs(
        pairs_of([("open \u2600", "b", 1), (marked, "b", 1), ("c", chr(code), 1), ("d", "e", 0)])
    )
    assert cleaned.row.tolist() == [0, 3] and counts["repeated"] == counts["empty"] == 1


@pytest.mark.parametrize("code", [0x200A, 0x2065, 0x202F, 0x206A, 0xFE0D, 0xFE10])
def test_the_characters_beside_them_stay_or_are_spaces(code: int) -> None:
    assert normalise(f"a{chr(code)}b") != "ab"


@pytest.mark.parametrize("code", range(128))
def test_an_ascii_text_is_normalised_like_any_other(code: int) -> None:
    text = f" A{chr(code)}b"
    assert normalise(f"{text} é") == f"{normalise(text)} é"
