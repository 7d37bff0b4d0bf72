"""Several comparisons at once: p-values from the bootstrap's draws, and Holm's correction of them.

Pure numbers. Ten models that are all level with the baseline give one "significant" difference in ten by luck; after
the correction the chance that any of them does is what was asked for.
"""

import math
from collections.abc import Sequence


def two_sided_p(share_above_zero: float, draws: int) -> float:
    """p-value of "no difference" from the share of bootstrap draws in which a is ahead (equal draws count half).

    2 (r + 1) / (draws + 1), at most 1, with r the number of draws on the rarer side: Davison and Hinkley 1997,
    "Bootstrap Methods and their Application", section 4.2. Never 0: with 2,000 draws it is at least 0.001, so where
    many models are compared it cannot become significant by itself; take more draws then.

    ValueError: a share outside [0, 1], or draws below 1.
    """
    if not 0 <= share_above_zero <= 1:
        raise ValueError(f"a share lies in [0, 1], got {share_above_zero}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    rarer = draws * min(share_above_zero, 1 - share_above_zero)
    return min(1.0, 2 * (rarer + 1) / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: those below alpha are the differences that Holm's procedure accepts.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure": the i-th smallest of m (from 0) is multiplied
    by m - i, is never below the one before it, and at most 1. Holds whatever the dependence between the tests.

    ValueError: a value outside [0, 1], or not a number.
    """
    for p in p_values:
        if math.isnan(p) or not 0 <= p <= 1:
            raise ValueError(f"a p-value lies in [0, 1], got {p}")
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted
