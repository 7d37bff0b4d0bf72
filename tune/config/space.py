"""Space: the axes of a search, each a list of choices or, for some axes, a range LOW:HIGH.

Flags (`64,128`, `1e-4:1e-2`) and TOML keys (`[64, 128]`, `"1e-4:1e-2"`) take the same values. A point of the space
(axis -> value) holds only the axes that apply together: LoRA's rank only if LoRA is trained. So no two points are the
same trial.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from tune.config.axis_values import AUTO, Range, bias_choices, booleans, numbers, train_sizes, words
from tune.config.train_sizes import ALL, Doubling
from tune.config.trial import RANKING_LOSSES, Activation, Loss, Scheduler, Train, TrainedSide, TrialConfig

LOSSES: tuple[str, ...] = get_args(Loss)
DEMO_BASE_MODELS = ("minilm", "wordllama")
DEFAULT_BASE_MODELS = (
    "sentence-transformers/all-MiniLM-L6-v2",
    "BAAI/bge-base-en-v1.5",
    "sentence-transformers/all-mpnet-base-v2",
)


Words = tuple[str, ...]
Ints = tuple[int, ...]
Dims = tuple[int | None, ...]
Booleans = tuple[bool, ...]
Bias = tuple[bool | str, ...]
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
        PlainValidator(words()),
        Field(description="hub name[@REVISION], path, minilm, wordllama, openai:MODEL[@DIMS] or cohere:MODEL[@DIMS]"),
    ] = DEFAULT_BASE_MODELS
    freeze: Annotated[
        Booleans,
        PlainValidator(booleans),
        Field(description="true trains a layer on the base model's vectors, false trains the base model as well"),
    ] = (True,)
    train: Annotated[
        Words,
        PlainValidator(words(*get_args(Train))),
        Field(
            description="with freeze=false: full for all weights, lora for small matrices beside the attention layers"
        ),
    ] = ("full",)
    lora_rank: Annotated[Ints, PlainValidator(numbers(int, 1)), Field(description="rank of LoRA's matrices")] = (16,)
    lora_alpha: Annotated[
        tuple[float, ...], PlainValidator(numbers(float, 0, above=True)), Field(description="LoRA's scale")
    ] = (32.0,)
    side: Annotated[
        Words,
        PlainValidator(words(*get_args(TrainedSide))),
        Field(
            description="with freeze=true: both trains a layer for both texts of a pair, query a square one for first "
            "texts, so that stored vectors of second texts stay valid"
        ),
    ] = ("both",)
    matryoshka: Annotated[
        Booleans,
        PlainValidator(booleans),
        Field(description="true: one trial serves all of dims, each by its first components"),
    ] = (False,)
    dims: Annotated[
        Dims,
        PlainValidator(numbers(int, 1, named={"none": None})),
        Field(description="dimensions of the result; none for the base model's own (freeze=false or side=query)"),
    ] = (64, 128, 256)
    loss: Annotated[Words, PlainValidator(words(*LOSSES)), Field(description=", ".join(LOSSES))] = LOSSES
    hard_negatives: Annotated[
        Booleans,
        PlainValidator(booleans),
        Field(description="with mnr: true also contrasts every text with texts from pairs labelled 0"),
    ] = (True,)
    learning_rate: Annotated[
        Floats,
        PlainValidator(numbers(float, 0, above=True, ranged="log")),
        Field(description="AdamW's learning rate; a range is logarithmic"),
    ] = Range(low=1e-4, high=1e-2, log=True)
    batch_size: Annotated[Ints, PlainValidator(numbers(int, 1)), Field(description="pairs per step")] = (32,)
    epochs: Annotated[Ints, PlainValidator(numbers(int, 1)), Field(description="passes over the training pairs")] = (8,)
    warmup: Annotated[
        Floats,
        PlainValidator(numbers(float, 0, ranged="linear")),
        Field(
            description="learning rate warmup: below 1 a share of the steps, otherwise a number of steps; a range is "
            "linear"
        ),
    ] = (0.1,)
    scheduler: Annotated[
        Words, PlainValidator(words(*get_args(Scheduler))), Field(description="learning rate schedule")
    ] = ("warmuplinear",)
    dropout: Annotated[
        Floats,
        PlainValidator(numbers(float, 0, below=1, ranged="linear")),
        Field(description="dropout on the base model's vectors while training; a range is linear"),
    ] = (0.0,)
    weight_decay: Annotated[
        Floats,
        PlainValidator(numbers(float, 0, ranged="log")),
        Field(description="AdamW's weight decay; a range is logarithmic, but linear if it begins at 0"),
    ] = (0.0,)
    activation: Annotated[
        Words, PlainValidator(words(*get_args(Activation))), Field(description="activation after the Dense layer")
    ] = ("identity",)
    bias: Annotated[
        Bias,
        PlainValidator(bias_choices),
        Field(
            description="whether the Dense layer has a bias; auto: only with activation=tanh, since some servers apply "
            "a layer with a bias wrongly"
        ),
    ] = (AUTO,)
    train_size: Annotated[
        Ints | Doubling,
        PlainValidator(train_sizes),
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
            value: Any = bool(point.get(name)) if name == "matryoshka" else point[name]
            if values == (AUTO,):
                value = AUTO
            if not (values.low <= value <= values.high if isinstance(values, Range) else value in values):
                raise KeyError(name)
            chosen[name] = value
            return value

        try:
            return chosen if self.walk(pick) == point else None
        except KeyError:
            return None

    def _extended(self, point: Point, name: str, value: Any) -> Point:
        if name == "side":
            return {**point, **_of_side(value)}
        if name == "bias" and value == AUTO:
            return {**point, name: point.get("activation") == "tanh"}
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

__all__ = ["AXES", "DEFAULT_BASE_MODELS", "DEMO_BASE_MODELS", "LOSSES", "Point", "Range", "Space", "point_of"]


def _of_side(side: str) -> Point:
    """Return what a choice of `side` says about a point: a layer for queries alone keeps the base's own dims."""
    return {"side": side, "dims": None} if side == "query" else {"side": side}


def _applies(name: str, point: Point) -> bool:
    """Whether an axis applies, given the axes before it."""
    if name in point:
        return False
    query = point.get("side") == "query"
    if name == "side":
        return bool(point["freeze"])
    if name == "matryoshka":
        return not query
    if name in ("dropout", "bias"):
        return query or point["dims"] is not None
    if name == "activation":
        # tanh cannot start as the identity.
        return point["dims"] is not None
    if name == "train":
        return not point["freeze"]
    if name in ("lora_rank", "lora_alpha"):
        return point.get("train") == "lora"
    if name == "hard_negatives":
        return point["loss"] in RANKING_LOSSES
    return True


def point_of(config: TrialConfig) -> Point:
    """Return the point of the space that a trial is."""
    point: Point = {}
    for name in AXES:
        value = getattr(config, name)
        if name == "matryoshka":
            point |= {name: value, "dims": config.dims} if value else {}
        elif _applies(name, point):
            point |= _of_side(value) if name == "side" else {name: value}
    return point
