"""One plain sentence on whether one model beats another, and the numbers behind it.

Owns the wording. A model "beats" or "falls behind" another only if the whole interval is on that side of 0 and the
p-value, corrected for the number of comparisons, is below ALPHA. There is one sentence and one outcome.
"""

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from tune.metrics.intervals import Difference

ALPHA = 0.05

Outcome = Literal["beats", "level", "behind", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """Outcome of comparing `name` with `other`; points in the sentence are AUC x 100.

    outcome: "unknown" if no interval can be given, which is neither "level" nor "behind". p_holm: the p-value after
    Holm's correction for a family of comparisons; None if unknown.
    """

    name: str
    other: str
    outcome: Outcome
    sentence: str
    difference: Difference
    p_holm: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for summary.json: the fields and, beside them, those of the difference; AUC in [-1, 1]."""
        return {
            "name": self.name,
            "other": self.other,
            "outcome": self.outcome,
            "sentence": self.sentence,
            **asdict(self.difference),
            "p_holm": self.p_holm,
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
    share = share_of(part)
    if share == "1":
        return f"at {dims} dims, about the same storage"
    return f"at {dims} dims, {share} of its storage"


def share_of(part: Fraction) -> str:
    """Phrase a share below 1: "a sixth", "3/8", "0.22"; "1" if it rounds to that."""
    if part.numerator == 1 and part.denominator in _PARTS:
        return _PARTS[part.denominator]
    return str(part) if part.denominator <= _LARGEST_DENOMINATOR else f"{float(part):.2g}"


def in_brackets(low: float | None, high: float | None) -> str:
    """Return the ends of an interval behind a number, with a space before them: " [0.9150, 0.9603]"; "" without any."""
    return "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"


def counted(number: int, what: str) -> str:
    """Return a number of things, in the plural unless it is 1."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def as_sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def correction(comparisons: int) -> str:
    """Return the sentence on the correction, without a full stop; "" if there is nothing to correct."""
    return f"p-values of the {comparisons} primary comparisons are Holm-corrected" if comparisons > 1 else ""


@dataclass(frozen=True)
class Compared:
    """Two models that are compared, as they should read: "the untouched minilm".

    aside: the end of the sentence, such as the phrase from `storage`.
    """

    name: str
    other: str
    aside: str = ""


def verdict(models: Compared, difference: Difference, p_holm: float | None, comparisons: int) -> Verdict:
    """Return the verdict on model `name` against `other`. p_holm: corrected for that many comparisons."""
    if difference.low is None or difference.high is None or p_holm is None:
        sentence = (
            f"no interval can be given for {models.name} against {models.other}"
            f" ({difference.delta * 100:+z.1f} points): {difference.reason}"
        )
        return Verdict(models.name, models.other, "unknown", sentence, difference, None)
    delta, low, high = difference.delta * 100, difference.low * 100, difference.high * 100
    side = 1 if low > 0 else -1 if high < 0 else 0
    outcome: Outcome = "level" if side == 0 or p_holm >= ALPHA else "beats" if side > 0 else "behind"
    if outcome == "beats":
        sentence = f"{models.name} beats {models.other} by {_points(delta, low, high)}"
    elif outcome == "behind":
        sentence = f"{models.name} falls behind {models.other} by {_points(-delta, -high, -low)}"
    else:
        sentence = f"{models.name} is level with {models.other}: {_points(delta, low, high, sign='+')}"
    sentence = f"{sentence} {models.aside}".strip()
    if outcome == "level" and side:
        sentence += f", not significant after correction for {comparisons} comparisons"
    return Verdict(models.name, models.other, outcome, sentence, difference, p_holm)


def _points(delta: float, low: float, high: float, sign: str = "") -> str:
    """Format as "4.2 points of AUC [3.1, 5.4]": one decimal, up to three if an end would otherwise read as 0."""
    decimals = next((d for d in (1, 2) if all(round(end, d) or not end for end in (low, high))), 3)
    unit = "points" if sign else "points of AUC"
    return f"{delta:{sign}z.{decimals}f} {unit} [{low:z.{decimals}f}, {high:z.{decimals}f}]"
