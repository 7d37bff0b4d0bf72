"""The TOML form of a SearchConfig: `[search]`, `[data]`, `[closed]` and `[[space]]`.

A written file runs again unchanged from the same working directory. It says what to search, not where: name, results
folder and Ray address are left out.
"""

import tomllib
from pathlib import Path
from typing import Any, TypedDict

import tomli_w

from tune.config.addresses import without_secrets
from tune.config.data import NO_GUARD
from tune.config.search import DEFAULT_CACHE, SearchConfig
from tune.errors import ConfigError

TABLES = ("search", "data", "closed", "space")


class Tables(TypedDict):
    """The tables of a file as plain values; several [[space]] tables are alternatives."""

    search: dict[str, Any]
    data: dict[str, Any]
    closed: dict[str, Any]
    space: list[dict[str, Any]]


def read_toml(path: Path, problems: list[str] | None = None) -> Tables:
    """Return the tables of a file as plain values, not yet checked. Raises ConfigError if it cannot be read.

    problems: collects what is wrong with the tables, to be reported with other problems; raised if None.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; give the TOML file of a search"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{path} is a folder; give the TOML file of a search"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path} is not valid TOML: {error}"]) from None
    except OSError as error:
        raise ConfigError([f"{path} cannot be read ({error.strerror})"]) from None
    found = [
        f"{path}: unknown table [{name}]; use [search], [data], [closed] and [[space]]"
        for name in document
        if name not in TABLES
    ]
    spaces = document.get("space", {})
    spaces = spaces if isinstance(spaces, list) and spaces else [spaces or {}]
    single = {name: document.get(name, {}) for name in TABLES if name != "space"}
    found += [f"{path}: {name} must be a table" for name, table in single.items() if not isinstance(table, dict)]
    found += [f"{path}: space must be a table" for table in spaces if not isinstance(table, dict)]
    if problems is None and found:
        raise ConfigError(found)
    if problems is not None:
        problems += found
    valid = {name: table if isinstance(table, dict) else {} for name, table in single.items()}
    return Tables(
        search=valid["search"],
        data=valid["data"],
        closed=valid["closed"],
        space=[table for table in spaces if isinstance(table, dict)] or [{}],
    )


_BEFORE: dict[str, Any] = {"bias": [True], "side": ["both"]}
"""Axes that earlier versions did not have, with what their trials were."""


def read_resolved(path: Path) -> Tables:
    """Return the tables of a results folder's search.toml, which names every axis.

    In a file of an earlier version, the axes that it lacks are what they were then, whatever their default is now; and
    it had no guard sets.
    """
    tables = read_toml(path)
    tables["space"] = [{**_BEFORE, **table} for table in tables["space"]]
    if "guard_loss" not in tables["search"]:
        tables["data"].setdefault("guard", [NO_GUARD])
    return tables


def write_toml(config: SearchConfig) -> str:
    """Return the resolved configuration as TOML text."""
    search = config.search.model_dump(mode="json", exclude={"name", "results", "ray_address"})
    if config.search.cache == DEFAULT_CACHE:
        del search["cache"]
    data = config.data.model_dump(mode="json")
    if config.data.data is not None:
        data["data"] = without_secrets(config.data.data)
    if config.data.guard is not None:
        data["guard"] = [without_secrets(name) for name in config.data.guard]
    tables: dict[str, Any] = {"search": search, "data": data}
    if config.closed_models:
        tables["closed"] = config.closed.model_dump(mode="json")
    given = {name: {key: value for key, value in table.items() if value is not None} for name, table in tables.items()}
    return tomli_w.dumps(given | {"space": [space.plain() for space in config.spaces]})
