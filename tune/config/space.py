"""Space: the axes of a search, each a list of choices or, for some axes, a range LOW:HIGH.

Flags (`64,128`, `1e-4:1e-2`) and TOML keys (`[64, 128]`, `"1e-4:1e-2"`) take the same values. A point of the space
(axis -> value) holds only the axes that apply together: LoRA's rank only if LoRA is trained. So no two points are the
same trial.
"""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from tune.config.train_sizes import ALL, Doubling
from tune.config.trial import RANKING_LOSSES, Activation, Loss, Scheduler, Train, TrialConfig

LOSSES: tuple[str, ...] = get_args(Loss)
DEMO_BASE_MODELS = ("minilm", "wordllama")
DEFAULT_BASE_MODELS = (
    "sentence-transformers/all-MiniLM-L6-v2",
    "BAAI/bge-base-en-v1.5",
    "sentence-transformers/all-mpnet-base-v2",
)


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


def _words(*known: str) -> Callable[[Any], tuple[str, ...]]:
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


def _numbers(
    kind: type[int] | type[float],
    low: float,
    *,
    above: bool = False,
    below: float = math.inf,
    ranged: str = "",
    words: dict[str, int | None] | None = None,
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
        numbers = [words[part] if words and part in words else _number(part, kind) for part in parts]
        for number in numbers:
            if number is not None:
                _check(number, low, above, below)
        return _distinct(numbers)

    return parse


_size_list = _numbers(int, 0, words={"all": ALL})


def _train_sizes(value: Any) -> Any:
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


def _booleans(value: Any) -> tuple[bool, ...]:
    parts = [_BOOLEANS.get(part.lower(), part) if isinstance(part, str) else part for part in _parts(value)]
    for part in parts:
        if not isinstance(part, bool):
            raise ValueError(f"{part!r} is neither true nor false")
    return _distinct(parts)


Words = tuple[str, ...]
Ints = tuple[int, ...]
Dims = tuple[int | None, ...]
Booleans = tuple[bool, ...]
Floats = Range | tuple[float, ...]
Point = dict[str, Any]
"""Axis -> value, for the axes that apply together."""


class Space(BaseModel):
    """A `[[space]]` table. Every field is an axis, with a tuple of choices or one Range.

    An axis comes after the axes that decide whether it applies (`_applies`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: Annotated[
        Words,
        PlainValidator(_words()),
        Field(description="hub name[@REVISION], path, minilm, wordllama, openai:MODEL[@DIMS] or cohere:MODEL[@DIMS]"),
    ] = DEFAULT_BASE_MODELS
    freeze: Annotated[
        Booleans,
        PlainValidator(_booleans),
        Field(description="true trains a layer on the base model's vectors, false trains the base model as well"),
    ] = (True,)
    train: Annotated[
        Words,
        PlainValidator(_words(*get_args(Train))),
        Field(
            description="with freeze=false: full for all weights, lora for small matrices beside the attention layers"
        ),
    ] = ("full",)
    lora_rank: Annotated[Ints, PlainValidator(_numbers(int, 1)), Field(description="rank of LoRA's matrices")] = (16,)
    lora_alpha: Annotated[
        tuple[float, ...], PlainValidator(_numbers(float, 0, above=True)), Field(description="LoRA's scale")
    ] = (32.0,)
    matryoshka: Annotated[
        Booleans,
        PlainValidator(_booleans),
        Field(description="true: one trial serves all of dims, each by its first components"),
    ] = (False,)
    dims: Annotated[
        Dims,
        PlainValidator(_numbers(int, 1, words={"none": None})),
        Field(description="dimensions of the result; none for the base model's own (freeze=false only)"),
    ] = (64, 128, 256)
    loss: Annotated[Words, PlainValidator(_words(*LOSSES)), Field(description=", ".join(LOSSES))] = LOSSES
    hard_negatives: Annotated[
        Booleans,
        PlainValidator(_booleans),
        Field(description="with mnr: true also contrasts every text with texts from pairs labelled 0"),
    ] = (True,)
    learning_rate: Annotated[
        Floats,
        PlainValidator(_numbers(float, 0, above=True, ranged="log")),
        Field(description="AdamW's learning rate; a range is logarithmic"),
    ] = Range(low=1e-4, high=1e-2, log=True)
    batch_size: Annotated[Ints, PlainValidator(_numbers(int, 1)), Field(description="pairs per step")] = (32,)
    epochs: Annotated[Ints, PlainValidator(_numbers(int, 1)), Field(description="passes over the training pairs")] = (
        8,
    )
    warmup: Annotated[
        Floats,
        PlainValidator(_numbers(float, 0, ranged="linear")),
        Field(
            description="learning rate warmup: below 1 a share of the steps, otherwise a number of steps; a range is "
            "linear"
        ),
    ] = (0.1,)
    scheduler: Annotated[
        Words, PlainValidator(_words(*get_args(Scheduler))), Field(description="learning rate schedule")
    ] = ("warmuplinear",)
    dropout: Annotated[
        Floats,
        PlainValidator(_numbers(float, 0, below=1, ranged="linear")),
        Field(description="dropout on the base model's vectors while training; a range is linear"),
    ] = (0.0,)
    weight_decay: Annotated[
        Floats,
        PlainValidator(_numbers(float, 0, ranged="log")),
        Field(description="AdamW's weight decay; a range is logarithmic, but linear if it begins at 0"),
    ] = (0.0,)
    activation: Annotated[
        Words, PlainValidator(_words(*get_args(Activation))), Field(description="activation after the Dense layer")
    ] = ("identity",)
    train_size: Annotated[
        Ints | Doubling,
        PlainValidator(_train_sizes),
        Field(description="labelled pairs to train on; 0 or all for all of them, LOW:all doubles from LOW up to all"),
    ] = (ALL,)

    def axes(self) -> Iterator[tuple[str, Any]]:
        """Yield name and values (a tuple or a Range) of every axis, in field order."""
        for name in type(self).model_fields:
            yield name, getattr(self, name)

    def ranges(self) -> list[str]:
        """Return the names of the axes that are ranges."""
        return [name for name, values in self.axes() if isinstance(values, Range)]

    def walk(self, choose: Callable[[str, Any], Any]) -> Point:
        """Return the point picked by `choose(axis, values)`, which is called only for axes that apply."""
        point: Point = {}
        for name, values in self.axes():
            if _applies(name, point):
                point = self._extended(point, name, choose(name, values))
        return point

    def grid(self) -> list[Point]:
        """Return every point, in field order; no axis may be a range."""
        points: list[Point] = [{}]
        for name, values in self.axes():
            points = [
                longer
                for point in points
                for longer in (
                    [self._extended(point, name, value) for value in values] if _applies(name, point) else [point]
                )
            ]
        return points

    def choices(self, point: Point) -> dict[str, Any] | None:
        """Return the choices by axis that lead to this point; None if it is not a point of this table."""
        chosen: dict[str, Any] = {}

        def pick(name: str, values: Any) -> Any:
            value = bool(point.get(name)) if name == "matryoshka" else point[name]
            if not (values.low <= value <= values.high if isinstance(values, Range) else value in values):
                raise KeyError(name)
            chosen[name] = value
            return value

        try:
            return chosen if self.walk(pick) == point else None
        except KeyError:
            return None

    def _extended(self, point: Point, name: str, value: Any) -> Point:
        if name != "matryoshka":
            return {**point, name: value}
        if not value:
            return point
        ascending = sorted(self.dims, key=lambda dims: (dims is None, dims or 0))
        return {**point, "matryoshka": tuple(ascending[:-1]), "dims": ascending[-1]}

    def plain(self) -> dict[str, Any]:
        """Return the axes as TOML values: lists, and ranges as LOW:HIGH."""
        return {
            name: ["none" if value is None else value for value in values] if isinstance(values, tuple) else str(values)
            for name, values in self.axes()
        }


AXES: tuple[str, ...] = tuple(Space.model_fields)


def _applies(name: str, point: Point) -> bool:
    """Whether an axis applies, given the axes before it."""
    if name in point:
        return False
    if name == "train":
        return not point["freeze"]
    if name in ("lora_rank", "lora_alpha"):
        return point.get("train") == "lora"
    if name == "hard_negatives":
        return point["loss"] in RANKING_LOSSES
    if name in ("dropout", "activation"):
        return point["dims"] is not None
    return True


def point_of(config: TrialConfig) -> Point:
    """Return the point of the space that a trial is."""
    point: Point = {}
    for name in AXES:
        value = getattr(config, name)
        if name == "matryoshka":
            point |= {name: value, "dims": config.dims} if value else {}
        elif _applies(name, point):
            point[name] = value
    return point
