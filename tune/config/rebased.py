"""The search of new base models: the tables of an earlier search with other base models, all else as it was."""

from collections.abc import Sequence
from typing import Any

from tune.config.closed import provider_of
from tune.config.space_rules import without_default_rates
from tune.config.toml import Tables


def with_base_models(tables: Tables, names: Sequence[str]) -> tuple[Tables, list[str]]:
    """Return the resolved tables of a search with these base models, and a line on each that gets a smaller space.

    Of a closed model no weights can be trained: where the space has layers as well, it gets those alone. If there are
    none, `search_config` refuses the model. Learning rates that were defaults for another kind of base model are left
    out, so that `search_config` fills in those of the new one.
    """
    spaces, narrowed = [], set[str]()
    layers = any(True in table.get("freeze", [True]) for table in tables["space"])
    for table in tables["space"]:
        freeze = table.get("freeze", [True])
        closed = [name for name in names if provider_of(name) is not None] if False in freeze and layers else []
        rest = [name for name in names if name not in closed]
        narrowed |= set(closed)
        if rest:
            spaces.append(without_default_rates({**table, "base_model": rest}, str(tables["search"].get("search"))))
        if closed and True in freeze:
            spaces.append({**table, "base_model": closed, "freeze": [True], "train": ["full"]})
    lines = [f"{name} is a closed model: only layers on its vectors are searched" for name in names if name in narrowed]
    return Tables(search=tables["search"], data=tables["data"], closed=tables["closed"], space=_distinct(spaces)), lines


def _distinct(spaces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [table for number, table in enumerate(spaces) if table not in spaces[:number]]
