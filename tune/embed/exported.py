"""Loads an exported model of any kind: the one door for whatever serves, scores or applies an export.

A SentenceTransformer with its prompts and routes, an AdaptedEmbedder on a closed model, or an ONNX or OpenVINO graph.
Importing it loads neither torch nor a provider's SDK.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import ADDRESS_OPTION, ClosedConfig
from tune.embed.adapted import AdaptedEmbedder, Side, is_adapted
from tune.embed.closed import ClosedOptions, check_closed
from tune.embed.closed.tokens import estimate_tokens
from tune.embed.export_files import export_name, read_exported
from tune.embed.lengths import TokenCounter
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.similarity import unit


class Exported(Protocol):
    """An exported model in memory."""

    @property
    def dims(self) -> int:
        """Dims of its vectors."""
        ...

    @property
    def name(self) -> str:
        """The search's name for the `best` of a search, else the directory's."""
        ...

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """Return unit vectors, float32 [n, dims]. side: "a" for first texts (queries), "b" for second (documents)."""
        ...


def load_exported(directory: Path, *, trust_remote_code: bool = False, closed: ClosedConfig | None = None) -> Exported:
    """Load the exported model in a directory. Raises ModelError if there is none or it cannot be loaded.

    trust_remote_code: whether an open base model may run its own code. closed: how to reach a closed model; options
    set here replace the stored ones. An address gets a key only if it is set here or is the provider's own.
    """
    about = read_exported(directory)
    if about.get("graph"):
        from tune.embed.graph import GraphEmbedder

        return GraphEmbedder.load(directory)
    if is_adapted(directory):
        return ClosedExport(export_name(directory), load_adapted(directory, closed or ClosedConfig()))
    return OpenExport(directory, about, trust_remote_code)


class OpenExport:
    """An export on an open base model, as a SentenceTransformer in memory."""

    def __init__(self, directory: Path, about: dict[str, Any], trust_remote_code: bool = False) -> None:
        self.name = export_name(directory)
        # The absolute path cannot be taken for the name of a packaged or closed model.
        self._source = SentenceTransformerSource(str(directory.absolute()), trust_remote_code=trust_remote_code)
        self.dims = self._source.dims
        # An export for one route of its base holds it in its prompts; for two routes they are query and document.
        self._prompts = self._source.prompts(True, (about.get("prompt_a"), about.get("prompt_b")))
        self._counter = TokenCounter.of(self._source.model)

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """Return unit vectors, float32 [n, dims]."""
        if not texts:
            return np.empty((0, self.dims), np.float32)
        return unit(self._source.embed(texts, self._prompts[_index(side)]))

    def count_tokens(self, texts: Sequence[str], side: Side = "a") -> list[int]:
        """Return how many tokens of each text the model reads, with its prompt and special tokens, after cutting.

        An estimate if its tokenizer is of an unusual kind.
        """
        if self._counter is None:
            return [estimate_tokens(text) for text in texts]
        return self._counter.count(texts, self._prompts[_index(side)])


class ClosedExport:
    """An export on a closed model: `encode` buys every text from the provider."""

    def __init__(self, name: str, embedder: AdaptedEmbedder) -> None:
        self.name, self.dims = name, embedder.dims
        self.embedder = embedder

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """Buy the texts and return unit vectors, float32 [n, dims]. Raises ModelError if the provider refuses."""
        return self.embedder.encode(texts, "ab"[_index(side)])  # type: ignore[arg-type]

    def count_tokens(self, texts: Sequence[str], side: Side = "a") -> list[int]:
        """Return an estimate of each text's tokens; the provider's own count may differ."""
        return [estimate_tokens(text) for text in texts]


def load_adapted(directory: Path, config: ClosedConfig) -> AdaptedEmbedder:
    """Load an export on a closed model with the options it was exported with, except those set in `config`.

    A server may have moved. An address gets a key only if it is the provider's own or set in `config`. Raises
    ModelError if the export is damaged, or the SDK or key is missing.
    """
    embedder = AdaptedEmbedder.load(directory)
    closed = embedder.source.closed
    options = ClosedOptions.of(config, closed.provider, embedder.source.options)
    given = ADDRESS_OPTION[closed.provider] in config.model_fields_set
    keyless = not given and not options.is_official(closed.provider)
    check_closed(closed, options, keyless=keyless)
    return AdaptedEmbedder.load(directory, options, keyless=keyless)


def _index(side: str) -> int:
    if side not in ("a", "b"):
        raise ValueError(f"side must be a or b, not {side}")
    return "ab".index(side)
