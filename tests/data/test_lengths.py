"""Lengths of texts, as the summary and the report have them."""

from tune.data.lengths import spread, text_lengths


def test_each_text_counts_once_in_words_and_characters() -> None:
    found = text_lengths(["a b c", "a b c", "one"], ["two words", "a b c", ""])
    assert found["texts"] == 4
    assert found["words"] == {"median": 1, "p95": 3, "longest": 3}
    assert found["characters"] == {"median": 3, "p95": 9, "longest": 9}


def test_the_spread_is_of_lengths_that_occur() -> None:
    assert spread(range(1, 101)) == {"median": 50, "p95": 95, "longest": 100}
    assert spread([]) == {} and text_lengths([], []) == {"texts": 0, "words": {}, "characters": {}}
