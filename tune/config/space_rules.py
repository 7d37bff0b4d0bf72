"""Rules between the axes of a [[space]] table: defaults that depend on other axes, and invalid combinations."""

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from tune.config.closed import provider_of
from tune.config.space import DEMO_BASE_MODELS, Space

_STATIC = ("wordllama",)
"""Packaged base models without attention layers; other models are checked when they are opened."""

NO_ATTENTION = "train: lora needs attention layers, and {} has none; use train=full for it"

# (range, value in a grid) by (freeze, train): the rates that a new layer needs would ruin a pretrained model.
_LEARNING_RATES = {
    (True, "full"): ("1e-4:1e-2", 1e-3),
    (False, "full"): ("1e-6:1e-4", 2e-5),
    (False, "lora"): ("1e-5:1e-3", 2e-4),
}
_WHOLE_EPOCHS = 2
"""A pass through the base model costs about a thousand times one through a layer on its vectors."""


def with_defaults(table: dict[str, Any], algorithm: str | None, demo: bool) -> list[dict[str, Any]]:
    """Return the table with the defaults that depend on other axes; several tables if these differ within it.

    demo: the search uses the demo pairs.
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
            kind.setdefault("epochs", [_WHOLE_EPOCHS])
        tables.append(kind)
    return tables


def space_problems(space: Space, algorithm: str | None, folds: int, bad: Collection[str]) -> list[str]:
    """Return a line per invalid combination, without the table's name. bad: axes already reported as invalid."""
    found = []
    if algorithm == "grid":
        found += [
            f"{name}: a grid takes a list, not a range; write the values, or use --search random"
            for name in space.ranges()
            if name not in bad
        ]
    frozen, whole = True in space.freeze, False in space.freeze
    if frozen and None in space.dims:
        found.append(
            "dims: none leaves nothing to train on a frozen base model; give numbers, or put freeze=false with "
            "dims=none in a separate [[space]] table"
        )
    closed = [name for name in space.base_model if provider_of(name) is not None]
    if whole and closed:
        how = "freeze=false or train=lora" if "lora" in space.train else "freeze=false"
        found.append(
            f"freeze: {closed[0]} is a closed model, so its weights cannot be trained; {how} needs an open base model "
            "(put closed ones in a separate [[space]] table with freeze=true)"
        )
    if "lora" in space.train and not whole:
        found.append("train: lora trains the base model, so it needs freeze=false")
    if "lora" in space.train and whole and (static := [name for name in space.base_model if name in _STATIC]):
        found.append(NO_ATTENTION.format(static[0]))
    if True in space.matryoshka and len(space.dims) < 2:
        found.append("matryoshka: needs at least two dims, such as dims=64,128,256")
    if folds and whole:
        found.append("freeze: false cannot be combined with --folds, which needs frozen base models")
    return found
