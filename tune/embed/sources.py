"""Where vectors come from: the port, its first implementation, a SentenceTransformer, and who is which source.

A source is named as users name it: a hub name, a path, a packaged model (`minilm`, `wordllama`), or a closed model
(`openai:MODEL[@DIMS]`, `cohere:MODEL[@DIMS]`).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import ClosedConfig, provider_of
from tune.embed.closed import ClosedOptions, ClosedSource
from tune.embed.sentence_transformer import SentenceTransformerSource


class EmbeddingSource(Protocol):
    """Something that turns texts into vectors."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Names all that the vectors depend on besides prompt and text; a folder name."""
        ...

    @property
    def weights(self) -> str:
        """Names the weights, so far as they can be known."""
        ...

    @property
    def known_dims(self) -> int | None:
        """The dims of its vectors, where that is known before the first."""
        ...

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """The prompts of first and second texts: those given, else the source's own (query and document, or none)."""
        ...

    def embed(self, texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
        """float32 [n, dims]."""
        ...


Source = SentenceTransformerSource | ClosedSource


def load_source(
    name: str, precision: str = "fp32", max_length: int | None = None, closed: ClosedConfig | None = None
) -> Source:
    """The source of a base model's name, of whichever kind. ModelError where it cannot be had."""
    if provider_of(name) is not None:
        return load_closed(name, max_length, closed)
    return load_open(name, precision, max_length)


def load_open(name: str, precision: str = "fp32", max_length: int | None = None) -> SentenceTransformerSource:
    """The source of a base model whose weights are at hand. ModelError where it cannot be had."""
    return SentenceTransformerSource(name, precision, max_length)


def load_closed(name: str, max_length: int | None = None, closed: ClosedConfig | None = None) -> ClosedSource:
    """The source of a closed model; asks nobody yet. ModelError where the name is none."""
    provider = provider_of(name)
    options = None if provider is None else ClosedOptions.of(closed or ClosedConfig(), provider)
    return ClosedSource(name, options, max_length)
