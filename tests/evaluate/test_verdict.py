"""The verdict's sentence says what its interval says, and no more."""

import json

import pytest

from tune.evaluate.intervals import Difference
from tune.evaluate.verdict import verdict


def difference(delta: float, low: float, high: float) -> Difference:
    return Difference(delta, low, high, share_above_zero=0.9, level=0.95, draws=2000)


@pytest.mark.parametrize(
    ("numbers", "outcome", "sentence"),
    [
        ((0.042, 0.031, 0.054), "beats", "A beats B by 4.2 points of AUC [3.1, 5.4]"),
        ((0.001, -0.004, 0.006), "level", "A is level with B: +0.1 points [-0.4, 0.6]"),
        ((-0.02, -0.03, -0.011), "behind", "A falls behind B by 2.0 points of AUC [1.1, 3.0]"),
        # An end that touches 0 does not decide; nor does an interval that leaves out the difference itself.
        ((0.01, 0.0, 0.02), "level", "A is level with B: +1.0 points [0.0, 2.0]"),
        ((-0.01, -0.02, 0.0), "level", "A is level with B: -1.0 points [-2.0, 0.0]"),
        ((-0.001, 0.001, 0.02), "level", "A is level with B: -0.1 points [0.1, 2.0]"),
        # More decimals where the end nearest 0 would read as 0; no minus zero.
        ((0.01, 0.0002, 0.02), "beats", "A beats B by 1.00 points of AUC [0.02, 2.00]"),
        ((0.01, -0.00003, 0.02), "level", "A is level with B: +1.000 points [-0.003, 2.000]"),
        ((0.01, -1e-9, 0.02), "level", "A is level with B: +1.000 points [0.000, 2.000]"),
        ((0.0, 0.0, 0.0), "level", "A is level with B: +0.0 points [0.0, 0.0]"),
        ((0.1, -1.0, 1.0), "level", "A is level with B: +10.0 points [-100.0, 100.0]"),
    ],
)
def test_sentence(numbers: tuple[float, float, float], outcome: str, sentence: str) -> None:
    said = verdict("A", "B", difference(*numbers))
    assert (said.outcome, said.sentence) == (outcome, sentence)


def test_to_json_holds_names_outcome_sentence_and_numbers() -> None:
    said = verdict("the winner", "the untouched minilm", difference(0.042, 0.031, 0.054))
    assert json.loads(json.dumps(said.to_json())) == {
        "name": "the winner",
        "other": "the untouched minilm",
        "outcome": "beats",
        "sentence": "the winner beats the untouched minilm by 4.2 points of AUC [3.1, 5.4]",
        "delta": 0.042,
        "low": 0.031,
        "high": 0.054,
        "share_above_zero": 0.9,
        "level": 0.95,
        "draws": 2000,
    }
