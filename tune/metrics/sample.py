"""One order of validation pairs, every prefix of which stands for all of them.

Trials are compared on a prefix. Its AUC is off by much less than that of a random sample of the same size, because
the pairs are spread evenly over both labels and over what the untouched base models find easy or hard: one pair is
drawn from each of equally long stretches of a sorted list (Owen 1995, "Randomly permuted (t,m,s)-nets and
(t,s)-sequences", in one dimension).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]


def stratified_order(label: NDArray[np.integer[Any]], scores: Sequence[Scores], seed: int) -> NDArray[np.int64]:
    """Return the indices of all pairs in an order whose every prefix is spread over label and scores.

    label: [n] of 0 and 1. scores: of the same pairs by each base model, [n] each; several are combined by the mean of
    their ranks. The pairs are sorted by label, then by score, and visited in a scrambled van der Corput sequence: any
    prefix of 2^k visits has one pair from each of 2^k stretches of the sorted list. If both classes exist, the first
    two pairs of the order are one of each.
    """
    n = len(label)
    ranks = np.mean([np.argsort(np.argsort(one, kind="stable"), kind="stable") for one in scores], axis=0)
    by_difficulty = np.lexsort((np.arange(n), ranks, label))
    bits = max(1, int(n - 1).bit_length())
    visits = _scrambled(bits, np.random.default_rng([seed, n]))
    order: NDArray[np.int64] = by_difficulty[visits[visits < n]].astype(np.int64)
    # Without both classes there is no AUC, however short the prefix.
    other = np.flatnonzero(label[order] != label[order[0]]) if n else np.empty(0, np.int64)
    if len(other):
        first = int(other[0])
        order[1 : first + 1] = np.roll(order[1 : first + 1], 1)
    return order


def _scrambled(bits: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the numbers below 2^bits as an Owen-scrambled van der Corput sequence."""
    counted = np.arange(1 << bits, dtype=np.int64)
    stretch, visits = np.zeros_like(counted), np.zeros_like(counted)
    for depth in range(bits):
        # Bit-reversed counting: the lowest bit of the count says in which half, the next in which quarter of it, ...
        digit = (counted >> depth) & 1
        swapped = generator.integers(0, 2, 1 << depth)[stretch]
        visits = (visits << 1) | (digit ^ swapped)
        stretch = (stretch << 1) | digit
    return visits


STRATIFIED = 0.65
"""Error of an AUC on a stratified sample over that on a random one: 0.55 to 0.65 on simulated scores of a base and a
trained model. tests/benchmarks/choice_regret.py measures it on real ones."""


def sample_error(auc: float, positives: int, negatives: int, of_pairs: int) -> float:
    """Return the standard error of an AUC on a stratified sample, as an estimate of that on all `of_pairs` pairs.

    The standard error of Hanley and McNeil 1982 ("The meaning and use of the area under a ROC curve"), times
    STRATIFIED, times the finite population correction. positives, negatives: pairs of the sample.
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    left_out = max(0.0, 1 - (positives + negatives) / of_pairs)
    return STRATIFIED * float(np.sqrt(max(spread, 0.0) / (positives * negatives) * left_out))
