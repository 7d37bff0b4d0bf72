"""Space: the axes of a search, each a list of choices or, where it makes sense, a range LOW:HIGH.

A value is written the same way as a flag (`64,128`, `1e-4:1e-2`) and as a TOML key (`[64, 128]`, `"1e-4:1e-2"`).
"""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from tune.config.trial import Activation, Loss, Scheduler

LOSSES: tuple[str, ...] = get_args(Loss)
DEMO_BASE_MODELS = ("minilm", "wordllama")
DEFAULT_BASE_MODELS = (
    "sentence-transformers/all-MiniLM-L6-v2",
    "BAAI/bge-base-en-v1.5",
    "sentence-transformers/all-mpnet-base-v2",
)
GRID_LEARNING_RATES = (1e-3,)


class Range(BaseModel):
    """A closed range of numbers, drawn from uniformly, or uniformly in the logarithm where `log`."""

    model_config = ConfigDict(frozen=True)
    low: float
    high: float
    log: bool = False

    @classmethod
    def parse(cls, text: str, log: bool) -> Self:
        """`LOW:HIGH`; ValueError with a sentence where it is no range or is reversed."""
        low_text, _, high_text = text.partition(":")
        try:
            low, high = float(low_text), float(high_text)
        except ValueError:
            raise ValueError(f"{text!r} is no range; write LOW:HIGH, such as 1e-4:1e-2") from None
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
        raise ValueError(f"names {repeated[0]!r} twice; name each value once")
    return tuple(values)


def _words(*known: str) -> Callable[[Any], tuple[str, ...]]:
    def parse(value: Any) -> tuple[str, ...]:
        parts = _parts(value)
        for part in parts:
            if not isinstance(part, str) or (known and part not in known):
                raise ValueError(
                    f"does not know {part!r}; known are {', '.join(known)}" if known else f"{part!r} is no name"
                )
        return _distinct(parts)

    return parse


def _number(part: Any, kind: type[int] | type[float]) -> Any:
    try:
        number = float(part)
    except (TypeError, ValueError):
        raise ValueError(f"{part!r} is no number") from None
    if not math.isfinite(number):
        raise ValueError(f"{part!r} is not finite")
    if kind is int:
        if number != int(number):
            raise ValueError(f"{part!r} is no whole number")
        return int(number)
    return number


def _check(number: float, low: float, above: bool, below: float) -> None:
    if number < low or (above and number == low):
        raise ValueError(f"{number:g} is too small; it must be {'above' if above else 'at least'} {low:g}")
    if number >= below:
        raise ValueError(f"{number:g} is too large; it must be below {below:g}")


def _numbers(
    kind: type[int] | type[float],
    low: float,
    *,
    above: bool = False,
    below: float = math.inf,
    ranged: str = "",
    words: dict[str, int] | None = None,
) -> Callable[[Any], Range | tuple[Any, ...]]:
    """A parser of lists of numbers within limits; `ranged` is "", "log" or "linear"."""

    def parse(value: Any) -> Range | tuple[Any, ...]:
        if isinstance(value, Range):
            return value
        parts = _parts(value)
        if any(isinstance(part, str) and ":" in part for part in parts):
            if not ranged:
                raise ValueError(f"takes a list, no range ({parts[0]}); write the values, such as 64,128")
            if len(parts) > 1:
                raise ValueError("takes either one range or a list, not both")
            span = Range.parse(parts[0], ranged == "log")
            _check(span.low, low, above or span.log, below)
            _check(span.high, low, above, below)
            return span
        numbers = [words[part] if words and part in words else _number(part, kind) for part in parts]
        for number in numbers:
            _check(number, low, above, below)
        return _distinct(numbers)

    return parse


Words = tuple[str, ...]
Ints = tuple[int, ...]
Floats = Range | tuple[float, ...]


class Space(BaseModel):
    """The `[[space]]` table. Every field is an axis; its values are choices, or one Range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: Annotated[Words, PlainValidator(_words()), Field(description="hub name, path, minilm or wordllama")] = (
        DEFAULT_BASE_MODELS
    )
    dims: Annotated[Ints, PlainValidator(_numbers(int, 1)), Field(description="dimensions of the result")] = (
        64,
        128,
        256,
    )
    loss: Annotated[Words, PlainValidator(_words(*LOSSES)), Field(description=", ".join(LOSSES))] = LOSSES
    learning_rate: Annotated[
        Floats, PlainValidator(_numbers(float, 0, above=True, ranged="log")), Field(description="of AdamW")
    ] = Range(low=1e-4, high=1e-2, log=True)
    batch_size: Annotated[Ints, PlainValidator(_numbers(int, 1)), Field(description="pairs per step")] = (32,)
    epochs: Annotated[Ints, PlainValidator(_numbers(int, 1)), Field(description="passes over the pairs")] = (8,)
    warmup: Annotated[
        Floats,
        PlainValidator(_numbers(float, 0, ranged="linear")),
        Field(description="below 1 a share of the steps, else a number of steps"),
    ] = (0.1,)
    scheduler: Annotated[
        Words, PlainValidator(_words(*get_args(Scheduler))), Field(description="of the learning rate")
    ] = ("warmuplinear",)
    dropout: Annotated[
        Floats,
        PlainValidator(_numbers(float, 0, below=1, ranged="linear")),
        Field(description="on the base model's vectors while training"),
    ] = (0.0,)
    weight_decay: Annotated[Floats, PlainValidator(_numbers(float, 0, ranged="log")), Field(description="of AdamW")] = (
        0.0,
    )
    activation: Annotated[
        Words, PlainValidator(_words(*get_args(Activation))), Field(description="after the Dense layer")
    ] = ("identity",)
    train_size: Annotated[
        Ints,
        PlainValidator(_numbers(int, 0, words={"all": 0})),
        Field(description="labelled pairs to train on; 0 or all means all"),
    ] = (0,)

    def axes(self) -> Iterator[tuple[str, Floats | Words]]:
        """Name and values of every axis, in the order of the fields."""
        for name in type(self).model_fields:
            yield name, getattr(self, name)

    def ranges(self) -> list[str]:
        """The axes that are ranges."""
        return [name for name, values in self.axes() if isinstance(values, Range)]

    def grid(self) -> list[dict[str, Any]]:
        """Every point of the full product, in the order of the fields; ValueError where an axis is a range."""
        if ranged := self.ranges():
            raise ValueError(f"{ranged[0]} is a range; a grid takes lists")
        names = [name for name, _ in self.axes()]
        return [dict(zip(names, point, strict=True)) for point in product(*(v for _, v in self.axes()))]

    def plain(self) -> dict[str, Any]:
        """As TOML writes it: lists, and ranges as LOW:HIGH."""
        return {name: str(values) if isinstance(values, Range) else list(values) for name, values in self.axes()}


AXES: tuple[str, ...] = tuple(Space.model_fields)
