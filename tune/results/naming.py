"""Names of results folders, made from the search and its data; names of base models, as tables show them."""

from pathlib import Path

from tune.config.addresses import shown
from tune.config.closed import provider_of
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
    """Return the last part of a hub name or path; a closed model's name stays whole."""
    return base_model if provider_of(base_model) else base_model.rstrip("/").rsplit("/", 1)[-1]
