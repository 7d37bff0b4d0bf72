"""What the reports of a trial that trains its base look at: how often they come, and at how many validation pairs.

A frozen trial scores all of val in milliseconds; here every text takes a forward pass, which a short trial would spend
most of its time on. So validation has a budget, a share of the trial, and a trial that can pay for few looks at enough
pairs has fewer reports rather than many of little worth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.config.trial import TrialConfig
from tune.embed.view import PairRows
from tune.train.stream import REPORTS_PER_TRIAL

_SHARE = 0.13
"""Of a trial's forward and backward passes; tests/benchmarks/validation_share.py measures that of its time."""

# What training on a pair costs, in forward passes. LoRA has no gradients of the base's weights.
_PASSES = {"full": 3, "lora": 2}
_MOST_PAIRS = 4000

# (sixteenths of the plan with a report, val pairs that a look is worth with), the first that can be paid. All but the
# last have what asha's rungs wait for: 1, 4 and 16.
_MARKS = (
    (tuple(range(1, REPORTS_PER_TRIAL + 1)), 500),
    ((1, 2, 4, 6, 8, 10, 12, 14, 16), 500),
    ((1, 4, 8, 12, 16), 500),
    ((1, 4, 16), 200),
    ((16,), 0),
)
_LEAST_PAIRS = 200
"""Of the only look: on fewer, luck decides which trials are the best, and a trial so short takes seconds anyway."""


def looking_order(val: PairRows, config: TrialConfig) -> NDArray[np.int64]:
    """Places of all val pairs in the order of which every look takes a prefix."""
    return np.random.default_rng([config.seed, len(val)]).permutation(len(val))


@dataclass(frozen=True)
class Looks:
    """marks: the sixteenths of the plan that have a report, ascending. places: of the val pairs that each looks at."""

    marks: tuple[int, ...]
    places: NDArray[np.int64]


def planned_looks(val: PairRows, config: TrialConfig, planned_pairs: int) -> Looks:
    """How often a trial looks at val, and at which of its pairs: a prefix of one order by the seed, of both classes.

    planned_pairs: training pairs that the whole plan sees. Where the configuration says how many val pairs, there are
    sixteen reports; where it does not, all of them together stay below 15% of the trial. A trial too short to pay for
    one look at 200 pairs (450 training pairs, with LoRA 670) has that all the same, and more where a class is rare.
    """
    order = looking_order(val, config)
    if config.eval_pairs is None:
        passes = int(planned_pairs * _PASSES[config.train] * _SHARE / (1 - _SHARE))
        marks = next(marks for marks, worth in _MARKS if len(marks) * min(worth, len(val)) <= passes)
        size = max(min(passes // len(marks), _MOST_PAIRS), _LEAST_PAIRS)
    else:
        marks, size = _MARKS[0][0], config.eval_pairs or len(val)
    label = val.label[order]
    for kind in (0, 1):
        there = np.flatnonzero(label == kind)
        if len(there):
            size = max(size, int(there[0]) + 1)
    return Looks(marks, order[:size])
