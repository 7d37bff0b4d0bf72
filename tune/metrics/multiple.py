"""Multiple comparisons: p-values from bootstrap draws, and Holm's correction.

Of many models level with the baseline, some look "significantly" different by luck. After the correction, the chance
that any of them does is at most alpha.
"""

import math
from collections.abc import Sequence


def two_sided_p(share_above_zero: float, draws: int) -> float:
    """Return the p-value of "no difference" from the share of bootstrap draws in which a is ahead (ties count half).

    2 (r + 1) / (draws + 1), at most 1, with r the number of draws on the rarer side: Davison and Hinkley 1997,
    "Bootstrap Methods and their Application", section 4.2. Never 0: with 2,000 draws it is at least 0.001, so with many
    comparisons no single one can become significant; use more draws then.

    Raises ValueError if the share is outside [0, 1] or draws is below 1.
    """
    if not 0 <= share_above_zero <= 1:
        raise ValueError(f"a share must be in [0, 1], got {share_above_zero}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    rarer = draws * min(share_above_zero, 1 - share_above_zero)
    return min(1.0, 2 * (rarer + 1) / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values in the given order; a difference is significant if its value is below alpha.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure": the i-th smallest of m (from 0) is multiplied
    by m - i, then raised to at least the one before it and capped at 1. Valid under any dependence between the tests.

    Raises ValueError if a value is outside [0, 1] or NaN.
    """
    for p in p_values:
        if math.isnan(p) or not 0 <= p <= 1:
            raise ValueError(f"a p-value must be in [0, 1], got {p}")
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = floor
    return adjusted
