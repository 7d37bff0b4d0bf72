"""Values of a space's axes: ranges, and parsers of what flags and TOML keys give, which raise ValueError."""

import math
from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from tune.config.train_sizes import ALL, Doubling


class Range(BaseModel):
    """A closed range of numbers, sampled uniformly, or log-uniformly if `log`."""

    model_config = ConfigDict(frozen=True)
    low: float
    high: float
    log: bool = False

    @classmethod
    def parse(cls, text: str, log: bool) -> Self:
        """Parse `LOW:HIGH`. Raises ValueError with a message if it is not a range or is reversed."""
        low_text, _, high_text = text.partition(":")
        try:
            low, high = float(low_text), float(high_text)
        except ValueError:
            raise ValueError(f"{text!r} is not a range; write LOW:HIGH, such as 1e-4:1e-2") from None
        if not low < high:
            raise ValueError(f"range {text!r} is reversed or empty; write the smaller number first")
        return cls(low=low, high=high, log=log)

    def __str__(self) -> str:
        return f"{self.low!r}:{self.high!r}"


def _parts(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not isinstance(value, list | tuple):
        value = [value]
    if not value:
        raise ValueError("is empty; give at least one value")
    return list(value)


def _distinct(values: list[Any]) -> tuple[Any, ...]:
    repeated = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if repeated:
        raise ValueError(f"lists {repeated[0]!r} twice; list each value once")
    return tuple(values)


def words(*known: str) -> Callable[[Any], tuple[str, ...]]:
    """Return a parser of lists of names; with `known`, of those alone."""

    def parse(value: Any) -> tuple[str, ...]:
        parts = _parts(value)
        for part in parts:
            if not isinstance(part, str) or (known and part not in known):
                raise ValueError(
                    f"does not accept {part!r}; choose from {', '.join(known)}" if known else f"{part!r} is not a name"
                )
        return _distinct(parts)

    return parse


def _number(part: Any, kind: type[int] | type[float]) -> Any:
    try:
        number = float(part)
    except (TypeError, ValueError):
        raise ValueError(f"{part!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{part!r} is not finite")
    if kind is int:
        if number != int(number):
            raise ValueError(f"{part!r} is not a whole number")
        return int(number)
    return number


def _check(number: float, low: float, above: bool, below: float) -> None:
    if number < low or (above and number == low):
        raise ValueError(f"{number:g} is too small; it must be {'above' if above else 'at least'} {low:g}")
    if number >= below:
        raise ValueError(f"{number:g} is too large; it must be below {below:g}")


def numbers(
    kind: type[int] | type[float],
    low: float,
    *,
    above: bool = False,
    below: float = math.inf,
    ranged: str = "",
    named: dict[str, int | None] | None = None,
) -> Callable[[Any], Range | tuple[Any, ...]]:
    """Return a parser of number lists within limits, and of ranges if `ranged` is "log" or "linear".

    A logarithmic range cannot begin at 0. If 0 is within the limits, a range from 0 is linear.
    """

    def parse(value: Any) -> Range | tuple[Any, ...]:
        if isinstance(value, Range):
            return value
        parts = _parts(value)
        if any(isinstance(part, str) and ":" in part for part in parts):
            if not ranged:
                raise ValueError(f"takes a list, not a range ({parts[0]}); write the values, such as 64,128")
            if len(parts) > 1:
                raise ValueError("takes either one range or a list, not both")
            span = Range.parse(parts[0], ranged == "log")
            if span.log and above and span.low == low:
                raise ValueError(f"range {parts[0]!r} is logarithmic, so its low end must be above {low:g}")
            _check(span.low, low, above, below)
            _check(span.high, low, above, below)
            return span.model_copy(update={"log": span.log and span.low > 0})
        given = [named[part] if named and part in named else _number(part, kind) for part in parts]
        for number in given:
            if number is not None:
                _check(number, low, above, below)
        return _distinct(given)

    return parse


_size_list = numbers(int, 0, named={"all": ALL})


def train_sizes(value: Any) -> Any:
    """Parse a list of train sizes, or sizes that double: LOW:HIGH, and LOW:all, which the data resolve."""
    if isinstance(value, Doubling):
        return value
    parts = _parts(value)
    if not any(isinstance(part, str) and ":" in part for part in parts):
        return _size_list(parts)
    if len(parts) > 1:
        raise ValueError("takes either one range or a list, not both")
    return Doubling.parse(parts[0])


_BOOLEANS = {"true": True, "false": False}


def booleans(value: Any) -> tuple[bool, ...]:
    """Parse a list of true and false."""
    parts = [_BOOLEANS.get(part.lower(), part) if isinstance(part, str) else part for part in _parts(value)]
    for part in parts:
        if not isinstance(part, bool):
            raise ValueError(f"{part!r} is neither true nor false")
    return _distinct(parts)


AUTO = "auto"


def bias_choices(value: Any) -> tuple[bool | str, ...]:
    """Parse a list of booleans, or `auto` alone."""
    parts = _parts(value)
    if AUTO not in parts:
        try:
            return booleans(parts)
        except ValueError as error:
            raise ValueError(str(error).replace("neither true nor false", "not true, false or auto")) from None
    if len(parts) > 1:
        raise ValueError("takes either auto or a list of true and false, not both")
    return (AUTO,)
