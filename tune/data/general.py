"""The general guard pairs: 480 labelled pairs of everyday requests, of our own invention.

They show what a base model knows of plain English besides the user's subject. As with the demo pairs, a seed gives the
same pairs everywhere: only `Random.random` is used.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tune.data._general_phrases import TOPICS

GROUPS: Final = 240
"""Groups of three texts, which share none with another group; each gives two pairs, one with either label."""

Pair = tuple[str, str, int]


@dataclass(frozen=True)
class _Request:
    """What is asked (topic, request, thing) and how it is worded."""

    topic: int
    request: int
    thing: int
    phrasing: int

    @property
    def text(self) -> str:
        things, requests = TOPICS[self.topic]
        return requests[self.request][self.phrasing].format(x=things[self.thing])


def general_pairs(seed: int = 0) -> list[Pair]:
    """Return 480 triples (text a, text b, label), label 1 if both ask the same about the same thing.

    Pairs with label 1 are paraphrases. Of those with label 0, half ask something else about the same thing, a third ask
    the same about another thing, and the others belong to another subject.
    """
    rng = random.Random(seed)
    used: set[str] = set()
    pairs: list[Pair] = []
    while len(pairs) < 2 * GROUPS:
        asked = _request(rng)
        again = replace(asked, phrasing=_other(rng, asked.phrasing, _phrasings(asked)))
        missed = _near_miss(rng, asked)
        texts = {asked.text, again.text, missed.text}
        if len(texts) < 3 or texts & used:
            continue
        used |= texts
        pairs += [_swapped_at_random(rng, (asked.text, again.text, 1)), (asked.text, missed.text, 0)]
    order = sorted((rng.random(), at) for at in range(len(pairs)))
    return [pairs[at] for _, at in order]


def _request(rng: random.Random) -> _Request:
    topic = _drawn(rng, TOPICS)
    things, requests = TOPICS[topic]
    request = _drawn(rng, requests)
    return _Request(topic, request, _drawn(rng, things), _drawn(rng, requests[request]))


def _near_miss(rng: random.Random, asked: _Request) -> _Request:
    things, requests = TOPICS[asked.topic]
    kind = rng.random()
    if kind < 1 / 2:
        request = _other(rng, asked.request, len(requests))
        return replace(asked, request=request, phrasing=_drawn(rng, requests[request]))
    if kind < 5 / 6:
        thing = _other(rng, asked.thing, len(things))
        return replace(asked, thing=thing, phrasing=_other(rng, asked.phrasing, _phrasings(asked)))
    return _elsewhere(rng, asked)


def _elsewhere(rng: random.Random, asked: _Request) -> _Request:
    while (drawn := _request(rng)).topic == asked.topic:
        pass
    return drawn


def _phrasings(asked: _Request) -> int:
    return len(TOPICS[asked.topic][1][asked.request])


def _drawn(rng: random.Random, items: Sequence[object]) -> int:
    return int(rng.random() * len(items))


def _other(rng: random.Random, this: int, count: int) -> int:
    """A number below `count` that is not `this`."""
    return (this + 1 + int(rng.random() * (count - 1))) % count


def _swapped_at_random(rng: random.Random, pair: Pair) -> Pair:
    a, b, label = pair
    return (b, a, label) if rng.random() < 0.5 else pair
