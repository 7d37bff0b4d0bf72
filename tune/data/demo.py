"""Demo data: 4,000 labelled pairs of support questions about Osierly, an invented till for farm shops.

A seed gives the same pairs in every process and on every machine (only `Random.random` is used, whose sequence Python
guarantees). Groups are small and share no text, and shared words do not reveal the labels.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tune.data._demo_phrases import CLOSERS, FEATURES, INTENTS, OPENERS

PAIRS: Final = 4_000
WRONG_LABELS: Final = 0.02  # human labellers err at least this often
NAMES: Final = 3  # per feature

_ALTERNATIVE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_NOT_A_WORD = re.compile(r"[\W_]+")

Pair = tuple[str, str, int]


@dataclass(frozen=True)
class _Question:
    """What is asked (feature, intent, side: equal means the questions belong together) and how it is worded."""

    feature: int
    intent: int
    side: int
    name: int
    phrasing: int
    opener: str
    closer: str

    @property
    def text(self) -> str:
        line = _ALTERNATIVE.sub(lambda found: found.group(self.side + 1), INTENTS[self.intent][self.phrasing])
        asked = line.format(f=FEATURES[self.feature][self.name])
        return " ".join(part for part in (self.opener, asked, self.closer) if part)


def demo_pairs(seed: int = 0) -> list[Pair]:
    """Return 4,000 triples (question a, question b, label), label 1 if both ask the same about the same feature.

    Two in three pairs with label 1 rephrase the question, mostly with another house name of the feature; the others
    differ only in that name. Half the pairs with label 0 are near misses: the same question except for one slot
    (another feature's name, or a word that reverses the request); the others ask something else. Small talk is drawn
    independently of the label. So shared words reveal little, in either direction, and house knowledge nearly all.

    The pairs form about 1,100 groups of two to five. No two groups share a text, ignoring case and punctuation, so a
    text-disjoint split finds no giant component. Names and phrasings recur across groups, so what is learned from some
    applies to others. About 43% have label 1, and 2% of all labels are wrong on purpose.
    """
    rng = random.Random(seed)
    used: dict[str, None] = {}
    pairs: list[Pair] = []
    while len(pairs) < PAIRS:
        group = [(a.text, b.text, label) for a, b, label in _group(rng)]
        texts = {_normal(text): None for a, b, _ in group for text in (a, b)}
        if len(texts) <= len(group) or any(text in used for text in texts):
            continue  # a repeated text could contradict itself in its group, or link two groups
        used.update(texts)
        pairs += group
    order = sorted((rng.random(), at) for at in range(PAIRS))
    return [_mislabelled_at_random(rng, _swapped_at_random(rng, pairs[at])) for _, at in order]


def _group(rng: random.Random) -> list[tuple[_Question, _Question, int]]:
    """The pairs of one situation: a tree of questions rooted in the first one, so texts = pairs + 1."""
    asked = _question(rng)
    again = _rephrased(rng, asked)
    pairs = [(asked, again, 1), (asked, _near_miss(rng, asked), 0)]
    if rng.random() < 0.55:
        pairs.append((asked, _renamed(rng, asked), 1))
    if rng.random() < 0.55:
        pairs.append((asked, _something_else(rng, asked), 0))
    if rng.random() < 0.55:
        pairs.append((again, _something_else(rng, again), 0))
    return pairs


def _question(rng: random.Random) -> _Question:
    intent = int(rng.random() * len(INTENTS))
    return _Question(
        feature=int(rng.random() * len(FEATURES)),
        intent=intent,
        side=int(rng.random() * 2),
        name=int(rng.random() * NAMES),
        phrasing=int(rng.random() * len(INTENTS[intent])),
        opener=_opener(rng),
        closer=_closer(rng),
    )


def _rephrased(rng: random.Random, asked: _Question) -> _Question:
    """The same question in another phrasing."""
    phrasing = _other(rng, asked.phrasing, len(INTENTS[asked.intent]))
    return _small_talk(rng, asked, replace(asked, name=int(rng.random() * NAMES), phrasing=phrasing))


def _renamed(rng: random.Random, asked: _Question) -> _Question:
    """The same question with another name of the feature: only house knowledge tells it from a near miss."""
    return _small_talk(rng, asked, replace(asked, name=_other(rng, asked.name, NAMES)))


def _near_miss(rng: random.Random, asked: _Question) -> _Question:
    """The same words except for one slot: another feature, or the opposite request."""
    if rng.random() < 0.7:
        missed = replace(asked, feature=_other(rng, asked.feature, len(FEATURES)))
    else:
        missed = replace(asked, side=1 - asked.side)
    return _small_talk(rng, asked, missed)


def _something_else(rng: random.Random, asked: _Question) -> _Question:
    """Another question: mostly about another feature, otherwise another request about the same one."""
    drawn = _question(rng)
    if rng.random() < 0.8:
        other = replace(drawn, feature=_other(rng, asked.feature, len(FEATURES)))
    else:
        intent = _other(rng, asked.intent, len(INTENTS))
        phrasing = int(rng.random() * len(INTENTS[intent]))
        other = replace(drawn, feature=asked.feature, name=asked.name, intent=intent, phrasing=phrasing)
    return _small_talk(rng, asked, other)


def _small_talk(rng: random.Random, asked: _Question, question: _Question) -> _Question:
    """`question` with the small talk of `asked`, or two times in five with new small talk."""
    if rng.random() < 0.6:
        return replace(question, opener=asked.opener, closer=asked.closer)
    return replace(question, opener=_opener(rng), closer=_closer(rng))


def _opener(rng: random.Random) -> str:
    return _pick(rng, OPENERS) if rng.random() < 0.5 else ""


def _closer(rng: random.Random) -> str:
    return _pick(rng, CLOSERS) if rng.random() < 0.4 else ""


def _pick(rng: random.Random, items: Sequence[str]) -> str:
    return items[int(rng.random() * len(items))]


def _other(rng: random.Random, this: int, count: int) -> int:
    """A number below `count` that is not `this`."""
    return (this + 1 + int(rng.random() * (count - 1))) % count


def _swapped_at_random(rng: random.Random, pair: Pair) -> Pair:
    """The pair in random order, so that order reveals nothing."""
    a, b, label = pair
    return (b, a, label) if rng.random() < 0.5 else pair


def _mislabelled_at_random(rng: random.Random, pair: Pair) -> Pair:
    a, b, label = pair
    return (a, b, 1 - label) if rng.random() < WRONG_LABELS else pair


def _normal(text: str) -> str:
    return _NOT_A_WORD.sub(" ", text.casefold()).strip()
