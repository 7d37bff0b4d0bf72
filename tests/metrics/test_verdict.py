"""The verdict's sentence claims no more than its interval shows."""

import json

import pytest

from tune.metrics.intervals import Difference
from tune.metrics.verdict import correction, storage, verdict


def difference(delta: float, low: float, high: float) -> Difference:
    return Difference(delta, low, high, share_above_zero=0.9, level=0.95, draws=2000)


@pytest.mark.parametrize(
    ("numbers", "outcome", "sentence"),
    [
        ((0.042, 0.031, 0.054), "beats", "A beats B by 4.2 points of AUC [3.1, 5.4]"),
        ((0.001, -0.004, 0.006), "level", "A is level with B: +0.1 points [-0.4, 0.6]"),
        ((-0.02, -0.03, -0.011), "behind", "A falls behind B by 2.0 points of AUC [1.1, 3.0]"),
        # An interval that touches 0 or does not contain the difference itself decides nothing.
        ((0.01, 0.0, 0.02), "level", "A is level with B: +1.0 points [0.0, 2.0]"),
        ((-0.01, -0.02, 0.0), "level", "A is level with B: -1.0 points [-2.0, 0.0]"),
        ((-0.001, 0.001, 0.02), "level", "A is level with B: -0.1 points [0.1, 2.0]"),
        # More decimals if the end nearest 0 would read as 0; no minus zero.
        ((0.01, 0.0002, 0.02), "beats", "A beats B by 1.00 points of AUC [0.02, 2.00]"),
        ((0.01, -0.00003, 0.02), "level", "A is level with B: +1.000 points [-0.003, 2.000]"),
        ((0.01, -1e-9, 0.02), "level", "A is level with B: +1.000 points [0.000, 2.000]"),
        ((0.0, 0.0, 0.0), "level", "A is level with B: +0.0 points [0.0, 0.0]"),
        ((0.1, -1.0, 1.0), "level", "A is level with B: +10.0 points [-100.0, 100.0]"),
    ],
)
def test_sentence(numbers: tuple[float, float, float], outcome: str, sentence: str) -> None:
    found = verdict("A", "B", difference(*numbers))
    assert (found.outcome, found.sentence) == (outcome, sentence)


def test_to_json_holds_names_outcome_sentence_and_numbers() -> None:
    found = verdict("the winner", "the untouched minilm", difference(0.042, 0.031, 0.054))
    assert json.loads(json.dumps(found.to_json())) == {
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
    sentence = verdict("A", "B", difference(0.018, 0.009, 0.026), storage(dims, other)).sentence
    assert sentence == f"A beats B by 1.8 points of AUC [0.9, 2.6] {phrase}"


def entry(other: str, outcome: str, p_holm: float) -> dict[str, object]:
    return {"other": other, "outcome": outcome, "p_holm": p_holm}


def test_correction_names_what_it_changes() -> None:
    a, b, c = entry("A", "beats", 0.01), entry("B", "beats", 0.2), entry("C", "level", 1.0)
    head = "p-values are corrected for 6 comparisons (Holm)"
    assert correction([a, c], 6, 2000) == f"{head}; what the intervals show still holds"
    assert correction([c], 6, 2000) == head
    assert (
        correction([a, b, c], 6, 2000) == f"{head}; after correction the differences to A hold, those to B do not hold"
    )
    assert (
        correction([b, {**b, "other": "D"}], 6, 2000)
        == f"{head}; after correction the differences to B and D do not hold"
    )
    assert ", too many to resolve with 2000 draws; after correction" in correction([b], 60, 2000)
