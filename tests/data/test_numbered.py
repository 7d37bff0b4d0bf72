"""Columns that know their equal texts, and the normalisation of many texts at once: the same as text by text."""

import hashlib
import pickle
import random

import numpy as np
import pytest

from tests.data.pair_files import pairs_of
from tune.data._arrow_texts import ids_of_digests, sorted_order
from tune.data.clean import clean_pairs, normalise, normalised_ids
from tune.data.numbered import NumberedTexts, joined, taken, text_ids
from tune.data.split import split_pairs
from tune.events import Event, Working

PLAIN, ODD = "ab .?\t\x1f`\x00", "aB. ?`'-_+$\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x00\x7f\xa0é\u0301\u200b\u3000\uff21ßİŒ😀"
"""White space of all kinds, punctuation, what cannot be seen, and letters that NFKC or case folding changes."""


def some_texts(seed: int) -> list[str]:
    draw = random.Random(seed)
    return [
        "".join(draw.choices(draw.choice([PLAIN, ODD]), k=draw.randrange(8))) for _ in range(draw.choice([0, 1, 500]))
    ]


def first_seen(texts: list[str]) -> tuple[list[int], list[str]]:
    distinct = list(dict.fromkeys(texts))
    return [distinct.index(text) for text in texts], distinct


@pytest.mark.parametrize("seed", range(12))
def test_many_texts_are_normalised_as_one_is(seed: int) -> None:
    texts = some_texts(seed)
    ids, digests = normalised_ids(texts)
    expected, names = first_seen([normalise(text) for text in texts])
    assert ids.tolist() == expected
    assert [row.tobytes() for row in digests] == [hashlib.sha256(name.encode()).digest() for name in names]


def test_digests_that_begin_alike_have_ids_of_their_own() -> None:
    digests = np.zeros((4, 32), np.uint8)
    digests[1, 31] = digests[3, 31] = 1
    ids, first = ids_of_digests(digests)
    assert ids.tolist() == [0, 1, 0, 1] and first.tolist() == [0, 1]


def test_rows_are_sorted_by_the_next_column_where_one_is_equal() -> None:
    few, many = np.random.default_rng(0).integers(0, [[3], [9]], (2, 50)).astype(np.uint64)
    assert sorted_order(few, many).tolist() == np.lexsort((many, few)).tolist()
    assert sorted_order(np.arange(5, dtype=np.uint64)[::-1], few[:5]).tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("seed", range(12))
def test_ids_are_in_order_of_first_appearance(seed: int) -> None:
    one, other = some_texts(seed), some_texts(seed + 100)
    ids, distinct = text_ids(one, other)
    assert (ids.tolist(), distinct) == first_seen(one + other)
    a, b = NumberedTexts(ids[: len(one)], distinct), NumberedTexts(ids[len(one) :], distinct)
    assert a == one and b == other and joined(a, b) == one + other
    ids, distinct = text_ids(b, a)
    assert (ids.tolist(), distinct) == first_seen(other + one)
    index = np.arange(len(one))[::-2]
    assert taken(a, index) == taken(one, index) == one[::-2]
    ids, distinct = text_ids(taken(a, index))
    assert (ids.tolist(), distinct) == first_seen(one[::-2])


def test_texts_that_cannot_be_encoded_have_ids_too() -> None:
    ids, distinct = text_ids(["\ud800", "a", "\ud800"])
    assert ids.tolist() == [0, 1, 0] and distinct == ["\ud800", "a"]


def test_a_column_travels_without_the_texts_of_others() -> None:
    column = NumberedTexts(np.array([0, 0]), ["here", "of test"])
    assert b"of test" not in pickle.dumps(column) and pickle.loads(pickle.dumps(column)) == ["here", "here"]


def test_long_phases_say_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of([(f"question {number}", f"answer {number}", number % 2) for number in range(4000)])
    events: list[Event] = []
    split_pairs(clean_pairs(pairs, events.append)[0], emit=events.append)
    assert not events, "small data are silent"
    monkeypatch.setattr("tune.events._QUIET_SECONDS", -1)
    split_pairs(clean_pairs(pairs, events.append)[0], emit=events.append)
    told = [(event.what, event.done, event.total, event.unit) for event in events if isinstance(event, Working)]
    assert told == [
        ("cleaning", 8000, 8000, "texts"),
        ("splitting: texts normalised", 8000, 8000, "texts"),
        ("splitting: rows hashed", 4000, 4000, "rows"),
    ]
