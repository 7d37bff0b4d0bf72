"""AdaptedEmbedder: a closed model and the Dense layer trained on its vectors, as one embedder.

Written as a directory, whole or not at all, that holds no key; loading it needs neither torch nor a GPU.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from tune.embed.closed.names import ClosedOptions, parse_closed
from tune.embed.closed.source import ClosedSource
from tune.errors import ModelError

ADAPTER = "adapter.safetensors"
ABOUT = "embedtune.json"
WEIGHT, BIAS = "linear.weight", "linear.bias"

Side = Literal["a", "b"]


class AdaptedEmbedder:
    """Texts to float32 [n, dims] of length 1: the API's vectors, the Dense, its activation, normalisation.

    weight [dims, dims of the source], bias [dims] or None. Each `encode` buys its texts from the provider, with the
    key of the environment; vectors that are to be used again are for the caller to keep. prompts: of first and second
    texts.
    """

    def __init__(
        self,
        source: ClosedSource,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        activation: str,
        prompts: tuple[str, str],
    ) -> None:
        if activation not in ("identity", "tanh"):
            raise ModelError(f"an adapter's activation is identity or tanh, not {activation}")
        self.source = source
        self.dims = int(weight.shape[0])
        self._weight, self._bias = weight, bias
        self._tanh = activation == "tanh"
        self.prompts = prompts

    @classmethod
    def load(cls, directory: str | Path, options: ClosedOptions | None = None, *, keyless: bool | None = None) -> Self:
        """What `write_adapted` wrote. options: instead of those it was written with (an own server may have moved).

        An address that the directory names, other than the provider's own, gets no key: the directory may be a
        stranger's, and the address with it. Given in `options` it is the caller's, and gets one. keyless: instead of
        that rule. ModelError where the directory is not such a one, or is damaged.
        """
        directory = Path(directory)
        try:
            about = json.loads((directory / ABOUT).read_text(encoding="utf-8"))["closed"]
            name = parse_closed(about["name"])
            asked = options or ClosedOptions.from_json(about["options"])
            weight, bias = _read_adapter(directory / ADAPTER, int(about["dims"]), int(about["dims_in"]))
            prompts = (str(about["prompt_a"]), str(about["prompt_b"]))
            activation, max_length = about["activation"], about["max_length"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{directory} is no complete export on a closed model ({type(error).__name__}); export it again"
            ) from None
        if name is None:
            raise ModelError(f"{directory}: {about['name']} is no closed model; export it again")
        if keyless is None:
            keyless = options is None and not asked.is_official(name.provider)
        source = ClosedSource(name, asked, max_length, keyless=keyless)
        if source.known_dims not in (None, weight.shape[1]):
            raise ModelError(f"{directory}: the adapter takes {weight.shape[1]} dims, and {name} gives {source.dims}")
        source.dims = weight.shape[1]
        return cls(source, weight, bias, activation, prompts)

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """float32 [n, dims], of length 1. side: whether they are first or second texts (queries or documents).

        A text that is given twice is bought once. ModelError as in `ClosedSource.embed_batches`.
        """
        if side not in ("a", "b"):
            raise ValueError(f"a side is a or b, not {side}")
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        if not places:
            return np.empty((0, self.dims), np.float32)
        vectors = self.adapt(self.source.embed(list(places), self.prompts[side == "b"]))
        return np.ascontiguousarray(vectors[[places[text] for text in texts]])

    def adapt(self, bought: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bought vectors [n, dims of the source] as those of the embedder: float32 [n, dims], of length 1."""
        vectors = bought @ self._weight.T
        if self._bias is not None:
            vectors += self._bias
        if self._tanh:
            vectors = np.tanh(vectors)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.ascontiguousarray(vectors, dtype=np.float32)


def is_adapted(directory: Path) -> bool:
    """Whether a directory is meant to be one that `write_adapted` wrote."""
    return (directory / ADAPTER).exists()


def _read_adapter(path: Path, dims: int, dims_in: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        state = load_file(str(path))
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    weight, bias = state[WEIGHT], state.get(BIAS)
    if weight.shape != (dims, dims_in) or (bias is not None and bias.shape != (dims,)):
        raise ValueError(f"weights of {weight.shape}")
    return weight, bias
