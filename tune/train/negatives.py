"""Hard negatives: pairs labelled 0 as a third column for losses that contrast an anchor with other texts (mnr).

A batch of positive pairs gets up to one text per pair. First come texts that the data say do not belong to an anchor
of the batch, then texts of other pairs labelled 0, in a seeded order. Every anchor is contrasted with all of them, as
sentence-transformers does with a column of negatives. A text that is in the batch already, or belongs to one of its
anchors, is left out: as a negative it would be a false one.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tune.embed.view import PairRows

Rows = NDArray[np.int64]

_TRIES = 4
"""How many texts are tried for each place, so that a text in very many pairs cannot make a batch slow."""


class HardNegatives:
    """The texts labelled 0 among `pairs`, which hold both labels.

    same [rows]: for each row of the vectors, the row that is its text, whatever the prompt. seed: of the order.
    """

    def __init__(self, pairs: PairRows, same: Rows, seed: int) -> None:
        self._same = same
        self._belongs: dict[int, set[int]] = defaultdict(set)
        self._own: dict[int, list[int]] = defaultdict(list)
        positives, negatives = pairs.take(pairs.label == 1), pairs.take(pairs.label == 0)
        for a, b in zip(same[positives.a].tolist(), same[positives.b].tolist(), strict=True):
            self._belongs[a].add(b)
            self._belongs[b].add(a)
        anchors = set(positives.a.tolist())
        others: list[int] = []
        for a, b in zip(negatives.a.tolist(), negatives.b.tolist(), strict=True):
            # With one prompt for both sides, a text has one row, so it may be an anchor in either place.
            mine = [(anchor, text) for anchor, text in ((a, b), (b, a)) if anchor in anchors]
            for anchor, text in mine:
                self._own[anchor].append(text)
            if not mine:
                others.append(b)
        self._generator = np.random.default_rng([seed, 1])
        self._others = deque(self._generator.permutation(np.array(others, dtype=np.int64)).tolist())

    def over(self, pairs: PairRows, batches: Sequence[Rows]) -> list[Rows]:
        """Return for every batch of positive pairs the rows of its negatives, at most as many as its pairs."""
        return [np.array(list(self._of(pairs.a[batch], pairs.b[batch])), dtype=np.int64) for batch in batches]

    def _of(self, anchors: Rows, positives: Rows) -> Iterator[int]:
        used = set(self._same[anchors].tolist()) | set(self._same[positives].tolist())
        for anchor in self._same[anchors].tolist():
            used |= self._belongs[anchor]
        left = len(anchors)
        for anchor in anchors.tolist():
            own = self._own.get(anchor, [])
            text = own[int(self._generator.integers(len(own)))] if own else -1
            if text >= 0 and self._same[text] not in used:
                used.add(int(self._same[text]))
                left -= 1
                yield text
        for _ in range(min(len(self._others), _TRIES * left)):
            if not left:
                return
            text = self._others.popleft()
            self._others.append(text)
            if self._same[text] not in used:
                used.add(int(self._same[text]))
                left -= 1
                yield text
