"""The verdict's sentence claims no more than its interval and its corrected p-value show."""

import json

import pytest

from tune.metrics.intervals import Difference
from tune.metrics.verdict import Compared, correction, storage, verdict

A_B = Compared("A", "B")


def difference(delta: float, low: float, high: float) -> Difference:
    return Difference(delta, low, high, p=0.01, level=0.95, draws=2000)


@pytest.mark.parametrize(
    ("numbers", "outcome", "sentence"),
    [
        ((0.042, 0.031, 0.054), "beats", "A beats B by 4.2 points of AUC [3.1, 5.4]"),
        ((0.001, -0.004, 0.006), "level", "A is level with B: +0.1 points [-0.4, 0.6]"),
        ((-0.02, -0.03, -0.011), "behind", "A falls behind B by 2.0 points of AUC [1.1, 3.0]"),
        # An interval that touches 0 decides nothing.
        ((0.01, 0.0, 0.02), "level", "A is level with B: +1.0 points [0.0, 2.0]"),
        ((-0.01, -0.02, 0.0), "level", "A is level with B: -1.0 points [-2.0, 0.0]"),
        # More decimals if the end nearest 0 would read as 0; no minus zero.
        ((0.01, 0.0002, 0.02), "beats", "A beats B by 1.00 points of AUC [0.02, 2.00]"),
        ((0.01, -0.00003, 0.02), "level", "A is level with B: +1.000 points [-0.003, 2.000]"),
        ((0.01, -1e-9, 0.02), "level", "A is level with B: +1.000 points [0.000, 2.000]"),
        ((0.0, 0.0, 0.0), "level", "A is level with B: +0.0 points [0.0, 0.0]"),
    ],
)
def test_sentence(numbers: tuple[float, float, float], outcome: str, sentence: str) -> None:
    found = verdict(A_B, difference(*numbers), 0.01, 3)
    assert (found.outcome, found.sentence) == (outcome, sentence)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_only_the_correction_voids_is_level_and_says_so(sign: int) -> None:
    ends = sorted((sign * 0.001, sign * 0.023))
    found = verdict(Compared("A", "B", "at 128 dims"), difference(sign * 0.012, *ends), 0.05, 6)
    assert found.outcome == "level" and found.p_holm == 0.05
    points = "+1.2 points [0.1, 2.3]" if sign > 0 else "-1.2 points [-2.3, -0.1]"
    assert found.sentence == (
        f"A is level with B: {points} at 128 dims, not significant after correction for 6 comparisons"
    )
    assert verdict(A_B, difference(sign * 0.012, *ends), 0.0499, 6).outcome == ("beats" if sign > 0 else "behind")


def test_without_an_interval_the_outcome_is_unknown_and_the_sentence_says_why() -> None:
    unknown = Difference(0.043, None, None, None, 0.95, 2000, "one text is in every test pair")
    found = verdict(Compared("the winner", "B", "at 128 dims"), unknown, None, 2)
    assert (found.outcome, found.p_holm) == ("unknown", None)
    assert found.sentence == (
        "no interval can be given for the winner against B (+4.3 points): one text is in every test pair"
    )


def test_to_json_holds_names_outcome_sentence_and_numbers() -> None:
    found = verdict(Compared("the winner", "the untouched minilm"), difference(0.042, 0.031, 0.054), 0.02, 2)
    assert json.loads(json.dumps(found.to_json())) == {
        "name": "the winner",
        "other": "the untouched minilm",
        "outcome": "beats",
        "sentence": "the winner beats the untouched minilm by 4.2 points of AUC [3.1, 5.4]",
        "delta": 0.042,
        "low": 0.031,
        "high": 0.054,
        "p": 0.01,
        "level": 0.95,
        "draws": 2000,
        "reason": "",
        "p_holm": 0.02,
    }


@pytest.mark.parametrize(
    ("dims", "other", "phrase"),
    [
        (256, 1536, "at 256 dims, a sixth of its storage"),
        (128, 256, "at 128 dims, half of its storage"),
        (32, 1536, "at 32 dims, 1/48 of its storage"),
        (256, 384, "at 256 dims, 2/3 of its storage"),
        (100, 1536, "at 100 dims, 0.065 of its storage"),
        (1535, 1536, "at 1535 dims, about the same storage"),
        (256, 256, "at 256 dims"),
        (512, 384, "at 512 dims"),
    ],
)
def test_storage(dims: int, other: int, phrase: str) -> None:
    assert storage(dims, other) == phrase
    sentence = verdict(Compared("A", "B", storage(dims, other)), difference(0.018, 0.009, 0.026), 0.001, 1).sentence
    assert sentence == f"A beats B by 1.8 points of AUC [0.9, 2.6] {phrase}"


def test_the_correction_is_one_line_and_only_said_if_there_is_one() -> None:
    assert correction(3) == "p-values of the 3 primary comparisons are Holm-corrected"
    assert correction(1) == correction(0) == ""
