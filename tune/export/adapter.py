"""adapter.safetensors: the layer of an export on a frozen base, for vectors of the base that are already stored.

An export on an open base model has the same layer in its Dense module; here it can be read without torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from tune.embed.adapted import ADAPTER, BIAS, WEIGHT
from tune.embed.base_card import public_name
from tune.embed.export_files import read_exported
from tune.errors import ModelError

if TYPE_CHECKING:
    from tune.embed.sources import EmbeddingSource
    from tune.export.facts import ExportFacts
    from tune.train.trained import TrialModel


@dataclass(frozen=True)
class Layer:
    """A trained layer: Dense, activation, normalisation. weight: [dims, dims_in]; bias: [dims] or None.

    base: name of the base model whose vectors it takes. normalised: whether the base returns unit vectors; None if that
    is unknown, as for closed models. side: "query" if it maps first texts alone, else "both". prompts: of first and
    second texts.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    activation: str
    base: str
    normalised: bool | None
    side: str = "both"
    prompts: tuple[str, str] = ("", "")

    @property
    def dims(self) -> int:
        """Dims of the vectors that it returns."""
        return int(self.weight.shape[0])

    @property
    def dims_in(self) -> int:
        """Dims of the vectors that it takes."""
        return int(self.weight.shape[1])

    @property
    def is_tanh(self) -> bool:
        """Whether its activation is tanh."""
        return self.activation == "tanh"

    @property
    def needs_lengths(self) -> bool:
        """Whether its result depends on the length of a vector, and not on its direction alone."""
        return self.bias is not None or self.is_tanh

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the layer of an exported model. Raises ModelError if there is none, with the reason."""
        about = read_exported(directory)
        path = directory / ADAPTER
        if not path.is_file():
            raise ModelError(_why_none(directory, about))
        try:
            state, metadata = _load(path)
            told = about.get("closed") or {
                "name": metadata["base_model"], "activation": metadata["activation"],
                "prompt_a": about["prompt_a"], "prompt_b": about["prompt_b"],
            }  # fmt: skip
            weight, bias = state[WEIGHT], state.get(BIAS)
            if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
                raise ValueError("shapes")
            if told["activation"] not in ("identity", "tanh"):
                raise ValueError("activation")
            return cls(
                weight,
                bias,
                str(told["activation"]),
                str(told["name"]),
                {"true": True, "false": False}.get(metadata.get("normalised", "")),
                str((about.get("config") or {}).get("side") or "both"),
                (str(told["prompt_a"]), str(told["prompt_b"])),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} is damaged ({type(error).__name__}); export the model again") from None


def layer_of(model: "TrialModel", facts: "ExportFacts", source: "EmbeddingSource | None" = None) -> Layer | None:
    """Return the layer that a trial trained on a frozen base model; None if it trained the base itself.

    source: the base model, to find out whether it returns unit vectors; None for a closed one.
    """
    if model.kind.trains_base:
        return None
    state = {name: _array(tensor) for name, tensor in model.dense().state_dict().items()}
    return Layer(
        state[WEIGHT],
        state.get(BIAS),
        facts.config.activation,
        public_name(facts.base.name),
        None if source is None else _returns_unit_vectors(source, facts.base.prompt_a),
        facts.config.side,
        (facts.base.prompt_a, facts.base.prompt_b),
    )


def adapter_files(layer: Layer | None) -> dict[str, str | bytes]:
    """Return adapter.safetensors by name, for a layer on an open base model; nothing without a layer."""
    if layer is None:
        return {}
    from safetensors.numpy import save

    arrays = {WEIGHT: layer.weight} | ({} if layer.bias is None else {BIAS: layer.bias})
    metadata = {
        "base_model": layer.base,
        "activation": layer.activation,
        "normalised": str(bool(layer.normalised)).lower(),
        "side": layer.side,
    }
    return {ADAPTER: save(arrays, metadata=metadata)}


def snippet(layer: Layer | None, place: str) -> str:
    """Return lines of numpy that map stored vectors of the base model, for the card; "" without a layer.

    place: of the export.
    """
    if layer is None:
        return ""
    which = "queries" if layer.side == "query" else "texts"
    scale = "vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)"
    lines = [
        "import numpy as np",
        "from safetensors.numpy import load_file",
        "",
        f'layer = load_file("{place}/{ADAPTER}")',
        f'vectors = np.load("stored.npy").astype(np.float32)  # [{which}, {layer.dims_in}], of the base model',
        *([f"{scale}  # as the base model does"] if layer.needs_lengths and layer.normalised else []),
        f'vectors = vectors @ layer["{WEIGHT}"].T' + (f' + layer["{BIAS}"]' if layer.bias is not None else ""),
        *(["vectors = np.tanh(vectors)"] if layer.is_tanh else []),
        f"{scale}  # [{which}, {layer.dims}]",
    ]
    return "\n".join(lines)


def _returns_unit_vectors(source: "EmbeddingSource", prompt: str) -> bool:
    # Measured, since a model may normalise in code of its own.
    lengths = np.linalg.norm(source.embed(["one", "a second text, longer than the first"], prompt), axis=1)
    return bool((abs(lengths - 1) < 1e-3).all())


def _why_none(directory: Path, about: dict[str, Any]) -> str:
    """Return why an export has no layer that stored vectors could go through."""
    config = about.get("config") or {}
    if about.get("graph"):
        return f"{directory} is a graph of the whole model; give the export that it was made from"
    if config.get("freeze", True) is False:
        return (
            f"{directory} trained its base model, so stored vectors of the base are of no use to it: embed the texts "
            "again with this model, or search with --freeze true for a layer on stored vectors"
        )
    return f"{directory} has no {ADAPTER}: it was exported by an earlier version; export the model again"


def _load(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
            state = {name: np.ascontiguousarray(file.get_tensor(name), np.float32) for name in names}
            return state, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())
