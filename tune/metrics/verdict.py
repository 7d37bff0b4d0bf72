"""One plain sentence on whether one model beats another, and the numbers behind it.

Owns the wording. A model "beats" or "falls behind" another only if the whole interval is on that side of 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from tune.metrics.intervals import Difference


@dataclass(frozen=True)
class Verdict:
    """Outcome of comparing `name` with `other`; points in the sentence are AUC x 100."""

    name: str
    other: str
    outcome: Literal["beats", "level", "behind"]
    sentence: str
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """Return plain data for summary.json: the fields and, beside them, those of the difference; AUC in [-1, 1]."""
        return {
            "name": self.name,
            "other": self.other,
            "outcome": self.outcome,
            "sentence": self.sentence,
            **asdict(self.difference),
        }


_PARTS = {
    2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 7: "a seventh", 8: "an eighth", 9: "a ninth",
    10: "a tenth", 12: "a twelfth",
}  # fmt: skip
_LARGEST_DENOMINATOR = 64
"""Fractions with a larger denominator are written as a decimal."""


def storage(dims: int, other: int) -> str:
    """Phrase comparing the storage of a model's vectors with another's: "at 256 dims, a sixth of its storage"."""
    part = Fraction(dims, other)
    if part >= 1:
        return f"at {dims} dims"
    if part.numerator == 1 and part.denominator in _PARTS:
        share = _PARTS[part.denominator]
    else:
        share = str(part) if part.denominator <= _LARGEST_DENOMINATOR else f"{float(part):.2g}"
    if share == "1":
        return f"at {dims} dims, about the same storage"
    return f"at {dims} dims, {share} of its storage"


def correction(shown: Sequence[Mapping[str, Any]], comparisons: int, draws: int, alpha: float = 0.05) -> str:
    """Sentence on which of these differences hold after Holm's correction for all comparisons.

    shown: plain verdicts with `other`, `outcome` and `p_holm`. draws: bootstrap draws, which bound p from below.
    """
    head = f"p-values are corrected for {comparisons} comparisons (Holm)"
    by_interval = [entry["other"] for entry in shown if entry["outcome"] != "level"]
    sure = [entry["other"] for entry in shown if entry["p_holm"] < alpha]
    if by_interval == sure:
        return f"{head}; what the intervals show still holds" if sure else head
    if comparisons * 2 / (draws + 1) >= alpha:
        head += f", too many to resolve with {draws} draws"
    lost = [other for other in by_interval if other not in sure]
    parts = [f"to {_and(names)} {verb}" for names, verb in ((sure, "hold"), (lost, "do not hold")) if names]
    return f"{head}; after correction the differences {', those '.join(parts)}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verdict(name: str, other: str, difference: Difference, aside: str = "") -> Verdict:
    """Return the verdict on `name` against `other`, named as they should read: "the untouched minilm".

    aside: the end of the sentence, such as the phrase from `storage`.
    """
    delta, low, high = difference.delta * 100, difference.low * 100, difference.high * 100
    outcome: Literal["beats", "level", "behind"]
    # The difference itself must be on that side too: the interval of a skewed bootstrap may not contain it.
    if low > 0 and delta > 0:
        outcome, sentence = "beats", f"{name} beats {other} by {_points(delta, low, high)}"
    elif high < 0 and delta < 0:
        outcome, sentence = "behind", f"{name} falls behind {other} by {_points(-delta, -high, -low)}"
    else:
        outcome, sentence = "level", f"{name} is level with {other}: {_points(delta, low, high, sign='+')}"
    return Verdict(name, other, outcome, f"{sentence} {aside}".strip(), difference)


def _points(delta: float, low: float, high: float, sign: str = "") -> str:
    """Format as "4.2 points of AUC [3.1, 5.4]": one decimal, up to three if an end would otherwise read as 0."""
    decimals = next((d for d in (1, 2) if all(round(end, d) or not end for end in (low, high))), 3)
    unit = "points" if sign else "points of AUC"
    return f"{delta:{sign}z.{decimals}f} {unit} [{low:z.{decimals}f}, {high:z.{decimals}f}]"
