"""The model that is served: an export in memory, the names it answers to, and the dims it offers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import ClosedConfig
from tune.embed.adapted import Side
from tune.embed.closed.tokens import estimate_tokens
from tune.embed.export_files import read_exported
from tune.embed.exported import ClosedExport, Exported, load_exported
from tune.errors import ModelError

SIDES: dict[str, Side] = {"query": "a", "document": "b"}
"""How a request names the two sides of the pairs: first texts are queries, second ones documents."""


@dataclass(frozen=True)
class Served:
    """A loaded export.

    name: what requests call it; NAME:query and NAME:document name a side as well. offered: dims that a request may ask
    for, ascending, the model's own last. buys: whether encoding buys texts from a provider. seconds: it took to load.
    alone: whether a text's vector depends on the other texts that are encoded with it.
    """

    model: Exported
    name: str
    offered: tuple[int, ...]
    buys: bool
    seconds: float
    alone: bool = False

    @property
    def possible(self) -> str:
        """The dims offered, in words."""
        *others, last = map(str, self.offered)
        return f"{', '.join(others)} or {last}" if others else last

    @property
    def names(self) -> dict[str, Side | None]:
        """Name -> the side it stands for; None for the request's choice."""
        return {self.name: None, **{f"{self.name}:{word}": side for word, side in SIDES.items()}}

    def encode(self, texts: Sequence[str], side: Side) -> tuple[NDArray[np.float32], list[int]]:
        """Return unit vectors, float32 [n, dims], and the tokens of each text."""
        counter: Callable[..., list[int]] | None = getattr(self.model, "count_tokens", None)
        vectors = self.model.encode(texts, side)
        return vectors, counter(texts, side) if counter else [estimate_tokens(text) for text in texts]


def load_served(
    directory: Path,
    name: str | None = None,
    *,
    purchases: bool = False,
    trust_remote_code: bool = False,
    closed: ClosedConfig | None = None,
) -> Served:
    """Load an export and encode one text with it, so that the first request is as fast as the others.

    directory: as `exported_in` returns it. name: what requests call it; by default `Exported.name`. purchases: whether
    an export on a closed model may buy texts; nothing is bought yet. Raises ModelError if it cannot be served.
    """
    began = time.monotonic()
    about = read_exported(directory)
    if about.get("closed") and not purchases:
        raise ModelError(
            f"{directory} is on a closed model: every request would buy its texts from the provider; allow that with "
            "--allow-purchases"
        )
    model = load_exported(directory, trust_remote_code=trust_remote_code, closed=closed)
    buys = isinstance(model, ClosedExport)
    if not buys:
        model.encode(["ready"])
    offered, alone = _offered(about, model.dims), _is_int8(about)
    return Served(model, name or model.name, offered, buys, time.monotonic() - began, alone)


def _is_int8(about: dict[str, Any]) -> bool:
    """Return whether an export is an int8 graph: it scales its activations by the largest of all texts in a batch."""
    graph = about.get("graph")
    return isinstance(graph, dict) and graph.get("precision") == "int8"


def _offered(about: dict[str, Any], dims: int) -> tuple[int, ...]:
    """Return the dims of a Matryoshka model that were trained, and its own."""
    trained = about.get("by_dims")
    shorter = {int(one) for one in trained if str(one).isdigit()} if isinstance(trained, dict) else set()
    return tuple(sorted({one for one in shorter if one < dims} | {dims}))
