"""Multiple comparisons: Holm's correction of their p-values.

Of many models level with the baseline, some look "significantly" different by luck. After the correction, the chance
that any of them does is at most alpha.
"""

import math
from collections.abc import Sequence


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
