"""One plain sentence on whether one model beats another, and the numbers behind it.

Owns the wording. "Beats" and "falls behind" are said only where the whole interval lies on that side of 0.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from tune.evaluate.intervals import Difference


@dataclass(frozen=True)
class Verdict:
    """What the difference of `name` to `other` says; points in the sentence are AUC x 100."""

    name: str
    other: str
    outcome: Literal["beats", "level", "behind"]
    sentence: str
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """Plain data for summary.json: the fields, those of the difference beside them, AUC in [-1, 1]."""
        return {
            "name": self.name,
            "other": self.other,
            "outcome": self.outcome,
            "sentence": self.sentence,
            **asdict(self.difference),
        }


def verdict(name: str, other: str, difference: Difference) -> Verdict:
    """The verdict on `name` against `other`, named as the sentence should read: "the untouched minilm"."""
    delta, low, high = difference.delta * 100, difference.low * 100, difference.high * 100
    outcome: Literal["beats", "level", "behind"]
    # The point itself must lie on that side too: a skewed bootstrap's interval need not hold it.
    if low > 0 and delta > 0:
        outcome, sentence = "beats", f"{name} beats {other} by {_points(delta, low, high)}"
    elif high < 0 and delta < 0:
        outcome, sentence = "behind", f"{name} falls behind {other} by {_points(-delta, -high, -low)}"
    else:
        outcome, sentence = "level", f"{name} is level with {other}: {_points(delta, low, high, sign='+')}"
    return Verdict(name, other, outcome, sentence, difference)


def _points(delta: float, low: float, high: float, sign: str = "") -> str:
    """As in "4.2 points of AUC [3.1, 5.4]": one decimal, up to three where an end would else read as 0."""
    decimals = next((d for d in (1, 2) if all(round(end, d) or not end for end in (low, high))), 3)
    unit = "points" if sign else "points of AUC"
    return f"{delta:{sign}z.{decimals}f} {unit} [{low:z.{decimals}f}, {high:z.{decimals}f}]"
