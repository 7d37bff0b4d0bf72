"""Doubling: train sizes that depend on the data, written LOW:all, such as 250:all.

Until the pairs are read and split, their number is unknown; `Doubling.up_to` then gives the sizes.
"""

from dataclasses import dataclass
from typing import Self

ALL = 0
"""The train size that stands for all pairs."""
_FORM = "write LOW:all, such as 250:all, or LOW:HIGH, such as 250:4000"
_APART = 1.4
"""A size closer to the last one than this factor is left out: halfway between two doublings."""


@dataclass(frozen=True)
class Doubling:
    """Train sizes that double from `low` up to all pairs, to be resolved with the data."""

    low: int

    @classmethod
    def parse(cls, text: str) -> "Self | tuple[int, ...]":
        """Parse `LOW:all`; return the sizes themselves for `LOW:HIGH`. Raises ValueError with a message."""
        low_text, _, high_text = (part.strip() for part in text.partition(":"))
        low = _whole(low_text, text)
        if low < 1:
            raise ValueError(f"range {text!r} must begin with 1 pair or more, such as 250:all")
        if high_text == "all":
            return cls(low)
        high = _whole(high_text, text)
        if not low < high:
            raise ValueError(f"range {text!r} is reversed or empty; write the smaller number first")
        return (*(_doubled(low, high) or [low]), high)

    def up_to(self, pairs: int) -> tuple[int, ...]:
        """Return the sizes if there are so many pairs to train on, ascending, the last one ALL."""
        return (*_doubled(self.low, pairs), ALL)

    def __str__(self) -> str:
        return f"{self.low}:all"


def listed(sizes: tuple[int, ...] | Doubling) -> tuple[int, ...]:
    """Return the sizes that are numbers: none while they depend on the data."""
    return () if isinstance(sizes, Doubling) else sizes


def _doubled(low: int, last: int) -> list[int]:
    """Return the doublings of `low` that are clearly below `last`."""
    sizes = []
    while low * _APART < last:
        sizes.append(low)
        low *= 2
    return sizes


def _whole(number: str, text: str) -> int:
    if not number.isascii() or not number.isdigit():
        raise ValueError(f"{text!r} is not a range of sizes; {_FORM}")
    return int(number)
