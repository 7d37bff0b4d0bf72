"""EmbeddingSource, the interface to anything that returns vectors, and loading a source by its base model's name.

Names are those that users type: a hub name, a path, a packaged model (`minilm`, `wordllama`), or a closed model
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
    """Turns texts into vectors."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Identifies everything the vectors depend on besides prompt and text; a valid folder name."""
        ...

    @property
    def weights(self) -> str:
        """Identifies the weights, as far as they can be known."""
        ...

    @property
    def known_dims(self) -> int | None:
        """Dims of the vectors, or None if unknown before the first vector."""
        ...

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """Return the prompts for first and second texts: those given, else the source's own.

        query_document: whether first texts are queries and second ones documents.
        """
        ...

    def embed(self, texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
        """Return the texts' vectors, float32 [n, dims]."""
        ...


Source = SentenceTransformerSource | ClosedSource


def load_source(
    name: str,
    precision: str = "fp32",
    max_length: int | None = None,
    closed: ClosedConfig | None = None,
    *,
    trust_remote_code: bool = False,
) -> Source:
    """Load the source of a base model, open or closed. Raises ModelError if it is unavailable."""
    if provider_of(name) is not None:
        return load_closed(name, max_length, closed)
    return load_open(name, precision, max_length, trust_remote_code=trust_remote_code)


def load_open(
    name: str, precision: str = "fp32", max_length: int | None = None, *, trust_remote_code: bool = False
) -> SentenceTransformerSource:
    """Load the source of a base model with open weights. Raises ModelError if it is unavailable."""
    return SentenceTransformerSource(name, precision, max_length, trust_remote_code=trust_remote_code)


def load_closed(name: str, max_length: int | None = None, closed: ClosedConfig | None = None) -> ClosedSource:
    """Make the source of a closed model; no request is sent yet. Raises ModelError if `name` is not one."""
    provider = provider_of(name)
    options = None if provider is None else ClosedOptions.of(closed or ClosedConfig(), provider)
    return ClosedSource(name, options, max_length)
