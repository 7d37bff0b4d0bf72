"""Names of results folders, made from the search and its data; names of base models, as tables show them."""

from pathlib import Path

from tune.config.addresses import shown
from tune.config.closed import provider_of
from tune.config.pins import short_pin, split_pin
from tune.config.search import SearchConfig


def name_stem(config: SearchConfig) -> str:
    """Return the beginning of a search's default name."""
    return f"{config.search.search}-{data_name(config)}"


def data_name(config: SearchConfig) -> str:
    """Return the data's name, fit for a file name."""
    given = "demo" if config.data.data is None else shown(config.data.data)
    # Of a hub name, the part before :CONFIG; in an address, a colon comes before its host and its port.
    data = Path(given if "://" in given else given.split(":")[0]).name.split(".")[0]
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in data)[:40]


def short_name(base_model: str) -> str:
    """Return the last part of a hub name or path, with its pin if it has one; a closed model's name stays whole."""
    if provider_of(base_model):
        return base_model
    name, revision = split_pin(base_model)
    last = name.rstrip("/").rsplit("/", 1)[-1]
    return last if revision is None else f"{last}@{short_pin(revision)}"
