"""Holm's correction against values computed by hand and two other implementations."""

import itertools
import random

import pytest

from tune.metrics.multiple import holm


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        # 0.01*4, max(0.04, 0.02*3), max(0.06, 0.03*2), max(0.06, 0.04*1)
        ([0.01, 0.04, 0.03, 0.02], [0.04, 0.06, 0.06, 0.06]),
        # 0.005*4, 0.01*3, 0.03*2, 0.04: monotone, put back in the order given
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_by_hand(given: list[float], adjusted: list[float]) -> None:
    assert holm(given) == pytest.approx(adjusted)


def accepted_step_by_step(p_values: list[float], alpha: float) -> set[int]:
    """Holm's own statement: the smallest first, against alpha/m, alpha/(m-1), ..., up to the first that fails."""
    m = len(p_values)
    accepted: set[int] = set()
    for rank, place in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        if p_values[place] > alpha / (m - rank):
            break
        accepted.add(place)
    return accepted


def closed_testing(p_values: list[float], alpha: float) -> set[int]:
    """The same by closed testing with Bonferroni: i is accepted if every set of tests that holds i is."""
    places = range(len(p_values))
    sets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(places, size)]
    return {i for i in places if all(min(p_values[j] for j in s) <= alpha / len(s) for s in sets if i in s)}


def test_holm_accepts_what_its_procedure_and_closed_testing_accept() -> None:
    draw = random.Random(0)
    for _ in range(200):
        p_values = [round(draw.random() ** 3, 3) for _ in range(draw.randint(1, 6))]
        for alpha in (0.0101, 0.0503):
            accepted = {i for i, p in enumerate(holm(p_values)) if p <= alpha}
            assert accepted == accepted_step_by_step(p_values, alpha) == closed_testing(p_values, alpha)


@pytest.mark.parametrize("bad", [[-0.1], [1.1, 0.2], [float("nan")]])
def test_invalid_p_values_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="p-value"):
        holm(bad)
