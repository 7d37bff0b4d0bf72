"""Looks of a trial that trains its base: how often it validates, and on which val pairs. One look = one report.

A frozen trial scores all of val in milliseconds. Here every text takes a forward pass, and a short trial would spend
most of its time on validation. So validation gets a share of the trial as its budget, and a trial that can afford only
a few looks at enough pairs has fewer reports instead of many noisy ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune.config.trial import TrialConfig
from tune.embed.view import PairRows
from tune.train.stream import REPORTS_PER_TRIAL

_SHARE = 0.13
"""Validation's share of a trial's passes; tests/benchmarks/validation_share.py measures its share of the time."""

# Cost of training on a pair, in forward passes. LoRA needs no gradients of the base's weights.
_PASSES = {"full": 3, "lora": 2}
_MOST_PAIRS = 4000

# (sixteenths of the plan with a report, val pairs that make a look worthwhile); the first affordable entry is used.
# All but the last include 1, 4 and 16, where ASHA's rungs are.
_MARKS = (
    (tuple(range(1, REPORTS_PER_TRIAL + 1)), 500),
    ((1, 2, 4, 6, 8, 10, 12, 14, 16), 500),
    ((1, 4, 8, 12, 16), 500),
    ((1, 4, 16), 200),
    ((16,), 0),
)
_LEAST_PAIRS = 200
"""Minimum for a single look: on fewer pairs luck picks the best trial, and such a short trial takes seconds anyway."""


def look_order(val: PairRows, config: TrialConfig) -> NDArray[np.int64]:
    """Return the indices of all val pairs in their seeded order; every look takes a prefix."""
    return np.random.default_rng([config.seed, len(val)]).permutation(len(val))


@dataclass(frozen=True)
class Looks:
    """The looks of a trial.

    marks: the sixteenths of the plan that end in a report, ascending. index: indices of the val pairs to score.
    """

    marks: tuple[int, ...]
    index: NDArray[np.int64]


def plan_looks(val: PairRows, config: TrialConfig, planned_pairs: int) -> Looks:
    """Plan how often a trial validates, and on which prefix of `look_order`, long enough to hold both classes.

    planned_pairs: training pairs over all epochs. If the configuration sets eval_pairs, there are sixteen reports;
    otherwise validation stays below 15% of the trial. A trial too short to afford one look at 200 pairs (450 training
    pairs, 670 with LoRA) gets that look anyway, and a longer one if a class is rare.
    """
    order = look_order(val, config)
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
