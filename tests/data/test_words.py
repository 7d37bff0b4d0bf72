"""Words that pairs share, pairs that nearly repeat each other with another label, and pairs with both labels."""

import random

import numpy as np

from tests.data.pair_files import pairs_of
from tune.data.clean import clean_pairs
from tune.data.conflicts import contradicting_rows
from tune.data.words import Near, Words


def drawn_texts(count: int) -> list[str]:
    drawn = random.Random(0)
    return [" ".join(f"w{drawn.randrange(400)}" for _ in range(10)) for _ in range(count)]


def test_overlap_is_the_share_of_common_words() -> None:
    words = Words.of(["The cat sat.", "one two", "a"], ["the CAT, ran", "three", "a a"])
    assert words.overlap().tolist() == [0.5, 0.0, 1.0]
    assert Words.of(["明天下雨"], ["明天下雪"], "characters").overlap().tolist() == [0.5]


def test_pairs_that_nearly_repeat_each_other_are_found_in_either_order() -> None:
    texts = drawn_texts(2000)
    a, b = texts[:1000], texts[1000:]
    # Copies with a word more, in the same order, the other order, and of one text only.
    a += [f"{a[0]} more", f"{b[1]} more", a[2]]
    b += [b[0], a[1], drawn_texts(2001)[-1]]
    label = np.ones(len(a), np.int8)
    label[1000:] = 0
    share = len(set(texts[0].split())) / (len(set(texts[0].split())) + 1)
    found = Words.of(a, b).near(label)
    assert [(near.positive, near.negative) for near in found] in ([(0, 1000), (1, 1001)], [(1, 1001), (0, 1000)])
    assert Near(0, 1000, share) in found
    label[1000:] = 1
    assert Words.of(a, b).near(label) == []


def test_boilerplate_takes_no_forever() -> None:
    a, b = [f"the same text {i % 3}" for i in range(20_000)], ["the other text"] * 20_000
    label = (np.arange(20_000) % 2).astype(np.int8)
    assert 1 <= len(Words.of(a, b).near(label)) <= 400 * 10 * 3


def test_rows_with_both_labels_are_those_that_cleaning_drops() -> None:
    drawn = random.Random(1)
    names = ["a", "b", "c", "d", "e", "\uff41", " ", "a\u200b"]
    for _ in range(30):
        rows = [(drawn.choice(names), drawn.choice(names), drawn.choice([0, 1, 1, -1])) for _ in range(40)]
        pairs = pairs_of([("x", "y", 0), ("x", "z", 1), *rows])
        groups = contradicting_rows(pairs)
        assert sum(map(len, groups)) == clean_pairs(pairs)[1]["contradicting"]
        assert all(set(pairs.label[group].tolist()) == {0, 1} for group in groups)
    assert groups
