"""What holds between the axes of a [[space]] table: defaults that depend on others, and what cannot be together."""

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from tune.config.closed import provider_of
from tune.config.space import DEMO_BASE_MODELS, Space

_STATIC = ("wordllama",)
"""Packaged base models without attention layers; of others that is known when they are looked at."""

NO_ATTENTION = "train: lora needs attention layers, and {} has none; use train=full for it"

# (range, value of a grid) by (freeze, train): a whole model is spoilt by rates that a new layer needs.
_LEARNING_RATES = {
    (True, "full"): ("1e-4:1e-2", 1e-3),
    (False, "full"): ("1e-6:1e-4", 2e-5),
    (False, "lora"): ("1e-5:1e-3", 2e-4),
}
_EPOCHS_OF_THE_BASE = 2
"""A pass through the base model costs some thousand times one through a layer on its vectors."""


def with_defaults(table: dict[str, Any], algorithm: str | None, demo: bool) -> list[dict[str, Any]]:
    """The table with the defaults that depend on others; several tables where these differ within it.

    demo: the search is on the demo pairs.
    """
    table = dict(table)
    if demo:
        table.setdefault("base_model", list(DEMO_BASE_MODELS))
    try:
        given = Space(**{name: table[name] for name in ("freeze", "train") if name in table})
    except ValidationError:
        return [table]
    kinds = [(False, train) for train in given.train] if False in given.freeze else []
    if True in given.freeze:
        kinds.insert(0, (True, "full"))
    if "learning_rate" in table and ("epochs" in table or False not in given.freeze):
        return [table]
    tables = []
    for freeze, train in kinds:
        span, single = _LEARNING_RATES[freeze, train]
        only_frozen = freeze and False not in given.freeze
        kind = {**table, "freeze": [freeze], "train": list(given.train) if only_frozen else [train]}
        kind.setdefault("learning_rate", [single] if algorithm == "grid" else span)
        if not freeze:
            kind.setdefault("epochs", [_EPOCHS_OF_THE_BASE])
        tables.append(kind)
    return tables


def space_problems(space: Space, algorithm: str | None, folds: int, bad: Collection[str]) -> list[str]:
    """A line for everything that cannot be, without the table's name. bad: axes whose values are wrong already."""
    found = []
    if algorithm == "grid":
        found += [
            f"{name}: a grid takes a list, no range; write the values, or use --search random"
            for name in space.ranges()
            if name not in bad
        ]
    frozen, whole = True in space.freeze, False in space.freeze
    if frozen and None in space.dims:
        found.append(
            "dims: none leaves a frozen base model nothing to train; give numbers, or put freeze=false with dims=none "
            "into a [[space]] table of its own"
        )
    closed = [one for one in space.base_model if provider_of(one) is not None]
    if whole and closed:
        how = "freeze=false or train=lora" if "lora" in space.train else "freeze=false"
        found.append(
            f"freeze: {closed[0]} is a closed model, so its weights cannot be trained; {how} needs an open base model "
            "(give the closed ones a [[space]] table of their own, with freeze=true)"
        )
    if "lora" in space.train and not whole:
        found.append("train: lora trains the base model, so it needs freeze=false")
    if "lora" in space.train and whole and (static := [one for one in space.base_model if one in _STATIC]):
        found.append(NO_ATTENTION.format(static[0]))
    if True in space.matryoshka and len(space.dims) < 2:
        found.append("matryoshka: needs two dims or more, such as dims=64,128,256")
    if folds and whole:
        found.append("freeze: false and --folds cannot be together; folds are of frozen base models alone")
    return found
