"""SentenceTransformerSource: an open base model as a source of vectors."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.config.pins import split_pin
from tune.embed.fingerprint import fingerprint
from tune.embed.loading import load_model
from tune.embed.own_code import code_hashes
from tune.embed.routes import all_modules, check_routes, first_modules, one_route, routed_prompts, split_route
from tune.embed.static import is_static
from tune.embed.tokenizer import tokenizer_hash
from tune.errors import ModelError

_OTHER_SIMILARITIES = {
    "dot": "dot products",
    "euclidean": "Euclidean distances",
    "manhattan": "Manhattan distances",
}
_DOT_NAME = re.compile(r"[-_]dot([-_]|$)")


class SentenceTransformerSource:
    """An `EmbeddingSource` with a SentenceTransformer in memory; exports build on its `model`.

    precision: fp32 or bf16. max_length: tokens per text; None for the model's own limit. trust_remote_code: whether the
    model may run code of its own. Weights are hashed on first use, which trials that train the model itself never need.
    Raises ModelError if the model cannot be loaded.
    """

    def __init__(
        self, name: str, precision: str = "fp32", max_length: int | None = None, *, trust_remote_code: bool = False
    ) -> None:
        import torch

        self.name = name
        self.precision = precision
        self._remarks: list[str] = []
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.model = load_model(name, dtype, trust_remote_code=trust_remote_code, remarks=self._remarks)
        check_routes(self.model, name)
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
        return fingerprint(
            Path(split_pin(self.name)[0]).name, [*facts, tokenizer_hash(self.model), *code_hashes(self.model)]
        )

    @cached_property
    def _static(self) -> bool:
        return is_static(self.model)

    @property
    def shards_at_once(self) -> int:
        """How many of a snapshot's shards it fills in about a second."""
        return 16 if self._static else 1

    @property
    def known_dims(self) -> int | None:
        """Dims of the vectors."""
        return self.dims

    def prompts(self, query_document: bool, given: tuple[str | None, str | None] = (None, None)) -> tuple[str, str]:
        """Return those given, else the model's `query` and `document` prompts if query_document, else its default.

        A given empty string means no prompt. If the model has routes, a prompt begins with one; see `routed_prompts`.
        """
        own = self._own_prompts(query_document)
        chosen = own[0] if given[0] is None else given[0], own[1] if given[1] is None else given[1]
        return routed_prompts(self.model, self.name, chosen, query_document)

    def remarks(self, prompts: tuple[str, str], given: tuple[str | None, str | None] = (None, None)) -> list[str]:
        """Return sentences for people on how the model was loaded and is used with these prompts.

        given: the prompts that the user gave, as in `prompts`.
        """
        remarks = [*self._remarks]
        if route := one_route(self.model, prompts):
            remark = f"encodes queries and documents differently; both sides take its {route} route"
            if not any(split_route(prompt or "", True)[0] for prompt in given):
                remark += ", because the columns are not named query and document; rename them to use both"
            remarks.append(remark)
        if made_for := self._made_for():
            remarks.append(f"was made for {made_for}; it is judged by cosine, which ignores vector lengths")
        return remarks

    def note(self, prompts: tuple[str, str]) -> str:
        """Return what a reader of its results should know, for a table; "" for nothing."""
        route, made_for = one_route(self.model, prompts), self._made_for()
        notes = [f"both sides encoded by its {route} route"] if route else []
        notes += [f"made for {made_for}; judged by cosine"] if made_for else []
        return "; ".join(notes)

    def _made_for(self) -> str:
        """Return the similarity that the model was made for, if its pairs rank otherwise by cosine; else ""."""
        kind = self.model.similarity_fn_name
        if kind == "cosine" and _DOT_NAME.search(Path(split_pin(self.name)[0]).name.lower()):
            # Models saved by early versions say so in their name alone.
            kind = "dot"
        if kind != "manhattan" and any(type(module).__name__ == "Normalize" for module in self.model.children()):
            return ""
        return _OTHER_SIMILARITIES.get(kind, "")

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
        from tune.embed.batches import encode

        array = encode(self.model, texts, prompt)
        if not np.isfinite(array).all():
            raise ModelError(f"base model {self.name} returned non-finite vectors; try --precision fp32")
        return array


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
    """Return the class name and JSON settings of every module, in order, those of routes included."""
    described = []
    for module in all_modules(model):
        settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
        described.append((type(module).__name__, json.loads(json.dumps(settings, default=str, sort_keys=True))))
    return described


def _limit_length(model: Any, max_length: int) -> None:
    for module in first_modules(model):
        longest = getattr(module, "max_seq_length", None)
        if longest is None or math.isinf(longest):
            # Static embeddings have no limit, so their tokenizer has to cut.
            module.tokenizer.enable_truncation(max_length)
        else:
            module.max_seq_length = min(max_length, longest)
