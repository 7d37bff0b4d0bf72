"""Rules between the axes of a [[space]] table: defaults that depend on other axes, and invalid combinations."""

from collections.abc import Callable, Collection
from typing import Any

from pydantic import ValidationError

from tune.config.closed import provider_of
from tune.config.space import DEMO_BASE_MODELS, Space

_STATIC = ("wordllama",)
"""Packaged base models of static vectors, without attention layers; other models are looked up elsewhere."""

NO_ATTENTION = "train: lora needs attention layers, and {} has none that it can adapt; use train=full for it"

# (range, value in a grid) by (freeze, train): the rates that a new layer needs would ruin a pretrained model.
_LEARNING_RATES = {
    (True, "full"): ("1e-4:1e-2", 1e-3),
    (False, "full"): ("1e-6:1e-4", 2e-5),
    (False, "lora"): ("1e-5:1e-3", 2e-4),
}
_STATIC_RATES = ("1e-3:3e-2", 3e-3)
"""For static vectors trained whole: a word's vector learns only from the batches that the word is in."""
_WHOLE_EPOCHS = 2
"""A pass through the base model costs about a thousand times one through a layer on its vectors."""


def is_packaged_static(name: str) -> bool:
    """Return whether a base model is a packaged one of static vectors; no model is looked up."""
    return name in _STATIC


def with_defaults(
    table: dict[str, Any], algorithm: str | None, demo: bool, is_static: Callable[[str], bool] = is_packaged_static
) -> list[dict[str, Any]]:
    """Return the table with the defaults that depend on other axes; several tables if these differ within it.

    demo: the search uses the demo pairs. is_static: whether a base model is static vectors; asked only if default
    learning rates depend on it.
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
        only_frozen = freeze and False not in given.freeze
        kind = {**table, "freeze": [freeze], "train": list(given.train) if only_frozen else [train]}
        if not freeze:
            kind.setdefault("epochs", [_WHOLE_EPOCHS])
        for part, rates in _by_rates(kind, freeze, train, is_static):
            part.setdefault("learning_rate", [rates[1]] if algorithm == "grid" else rates[0])
            tables.append(part)
    return tables


def _by_rates(
    table: dict[str, Any], freeze: bool, train: str, is_static: Callable[[str], bool]
) -> list[tuple[dict[str, Any], tuple[str, float]]]:
    """Return the table with its default learning rates; two tables if some base models are static vectors."""
    usual = _LEARNING_RATES[freeze, train]
    if freeze or train != "full" or "learning_rate" in table:
        return [(table, usual)]
    try:
        names = Space(**{name: table[name] for name in ("base_model",) if name in table}).base_model
    except ValidationError:
        return [(table, usual)]
    static = [name for name in names if provider_of(name) is None and is_static(name)]
    if not static:
        return [(table, usual)]
    others = [name for name in names if name not in static]
    groups = ((others, usual), (static, _STATIC_RATES))
    return [({**table, "base_model": group}, rates) for group, rates in groups if group]


def without_default_rates(table: dict[str, Any], algorithm: str) -> dict[str, Any]:
    """Return a resolved table of whole models without its learning rates if they are the default ones.

    These depend on the base model (`is_static`), so another base model must get its own.
    """
    if table.get("freeze") != [False] or table.get("train") != ["full"] or "learning_rate" not in table:
        return table
    defaults = (_LEARNING_RATES[False, "full"], _STATIC_RATES)
    given = Space.model_validate({"learning_rate": table["learning_rate"]})
    if all(Space.model_validate({"learning_rate": rates[algorithm == "grid"]}) != given for rates in defaults):
        return table
    return {name: values for name, values in table.items() if name != "learning_rate"}


def _side_problems(space: Space) -> list[str]:
    """Return what is wrong with side=query in a table."""
    if "query" not in space.side:
        return []
    found = []
    if False in space.freeze:
        found.append(
            "side: query trains a layer on a frozen base model and needs freeze=true (put freeze=false in a separate "
            "[[space]] table)"
        )
    if "identity" not in space.activation:
        found.append(
            "activation: a layer for queries alone starts as the identity, which tanh is not; use activation=identity "
            "with side=query"
        )
    if space.side == ("query",) and True in space.matryoshka:
        found.append(
            "matryoshka: side=query keeps the base model's own dims, so that stored vectors stay valid; leave out "
            "matryoshka, or use side=both"
        )
    return found


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
    if frozen and None in space.dims and "both" in space.side:
        found.append(
            "dims: none leaves nothing to train on a frozen base model; give numbers, or put freeze=false with "
            "dims=none in a separate [[space]] table"
        )
    found += _side_problems(space)
    closed = [name for name in space.base_model if provider_of(name) is not None]
    if whole and closed:
        how = "freeze=false or train=lora" if "lora" in space.train else "freeze=false"
        found.append(
            f"freeze: {closed[0]} is a closed model, so its weights cannot be trained; {how} needs an open base model "
            "(put closed ones in a separate [[space]] table with freeze=true)"
        )
    if "lora" in space.train and not whole:
        found.append("train: lora trains the base model, so it needs freeze=false")
    if "lora" in space.train and whole and (static := list(filter(is_packaged_static, space.base_model))):
        found.append(NO_ATTENTION.format(static[0]))
    if True in space.matryoshka and len(space.dims) < 2:
        found.append("matryoshka: needs at least two dims, such as dims=64,128,256")
    if folds and whole:
        found.append("freeze: false cannot be combined with --folds, which needs frozen base models")
    return found
