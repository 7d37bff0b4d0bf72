"""AdaptedEmbedder: a closed model and the Dense layer trained on its vectors, as one embedder.

Its directory is complete or absent and contains no key. Loading it needs neither torch nor a GPU.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from tune.config.trial import TrainedSide
from tune.embed.closed.names import ClosedOptions, parse_closed
from tune.embed.closed.source import ClosedSource
from tune.embed.similarity import unit
from tune.errors import ModelError

ADAPTER = "adapter.safetensors"
ABOUT = "embedtune.json"
WEIGHT, BIAS = "linear.weight", "linear.bias"

Side = Literal["a", "b"]


class AdaptedEmbedder:
    """Texts to unit vectors, float32 [n, dims]: the API's vectors, then Dense, activation and normalization.

    weight: [dims, dims of the source]; bias: [dims] or None; prompts: for first and second texts. trained: "query" if
    the layer is for first texts alone; second texts then keep the API's vectors, of unit length. Every call of `encode`
    buys its texts from the provider with the key from the environment; keep vectors that you will reuse.
    """

    def __init__(
        self,
        source: ClosedSource,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        activation: str,
        prompts: tuple[str, str],
        trained: TrainedSide = "both",
    ) -> None:
        if activation not in ("identity", "tanh"):
            raise ModelError(f"an adapter's activation must be identity or tanh, not {activation}")
        self.source = source
        self.dims = int(weight.shape[0])
        self._weight, self._bias = weight, bias
        self._tanh = activation == "tanh"
        self.prompts = prompts
        self.trained = trained

    @classmethod
    def load(cls, directory: str | Path, options: ClosedOptions | None = None, *, keyless: bool | None = None) -> Self:
        """Load an exported directory. options: replace the stored ones, for example because your server has moved.

        The directory may come from a stranger, so an address stored in it gets no key unless it is the provider's own.
        An address in `options` is the caller's choice and gets the key. keyless: overrides this rule. Raises
        ModelError if the directory is not a complete export.
        """
        directory = Path(directory)
        try:
            about = json.loads((directory / ABOUT).read_text(encoding="utf-8"))["closed"]
            name = parse_closed(about["name"])
            used = options or ClosedOptions.from_json(about["options"])
            weight, bias = _read_adapter(directory / ADAPTER, int(about["dims"]), int(about["dims_in"]))
            prompts = (str(about["prompt_a"]), str(about["prompt_b"]))
            activation, max_length = about["activation"], about["max_length"]
            trained: TrainedSide = "query" if about.get("side") == "query" else "both"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{directory} is not a complete export on a closed model ({type(error).__name__}); export it again"
            ) from None
        if name is None:
            raise ModelError(f"{directory}: {about['name']} is not a closed model; export it again")
        if keyless is None:
            keyless = options is None and not used.is_official(name.provider)
        source = ClosedSource(name, used, max_length, keyless=keyless)
        if source.known_dims not in (None, weight.shape[1]):
            raise ModelError(
                f"{directory}: the adapter expects {weight.shape[1]} dims, but {name} returns {source.dims}; "
                "export it again"
            )
        source.dims = weight.shape[1]
        return cls(source, weight, bias, activation, prompts, trained)

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """Return unit vectors, float32 [n, dims]. side: "a" for first texts (queries), "b" for second (documents).

        A repeated text is bought once. Raises ModelError as `ClosedSource.embed_batches` does.
        """
        if side not in ("a", "b"):
            raise ValueError(f"side must be a or b, not {side}")
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        if not places:
            return np.empty((0, self.dims), np.float32)
        vectors = self.adapt(self.source.embed(list(places), self.prompts[side == "b"]), side)
        return np.ascontiguousarray(vectors[[places[text] for text in texts]])

    def adapt(self, bought: NDArray[np.float32], side: Side = "a") -> NDArray[np.float32]:
        """Map the API's vectors [n, dims of the source] of texts of one side to unit vectors, float32 [n, dims]."""
        if side == "b" and self.trained == "query":
            return np.ascontiguousarray(unit(bought), dtype=np.float32)
        vectors = bought @ self._weight.T
        if self._bias is not None:
            vectors += self._bias
        if self._tanh:
            vectors = np.tanh(vectors)
        return np.ascontiguousarray(unit(vectors), dtype=np.float32)


def is_adapted(directory: Path) -> bool:
    """Return whether a directory looks like the export of an AdaptedEmbedder, complete or damaged.

    Exports of a layer on an open base model have the same file beside their modules, for stored vectors.
    """
    return os.path.exists(directory / ADAPTER) and not os.path.exists(directory / "modules.json")


def _read_adapter(path: Path, dims: int, dims_in: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        state = load_file(str(path))
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    weight, bias = state[WEIGHT], state.get(BIAS)
    if weight.shape != (dims, dims_in) or (bias is not None and bias.shape != (dims,)):
        raise ValueError(f"weights have shape {weight.shape}, expected {(dims, dims_in)}")
    return weight, bias
