"""Readers of an exported directory that follow the published rules of the servers people deploy on, in few lines.

They read the same files as the server, in its order, and leave out what it leaves out. No server runs here.

TEI (Text Embeddings Inference), github.com/huggingface/text-embeddings-inference: router/src/lib.rs (config.json,
PoolConfig, STConfig, prompts), backends/src/lib.rs (ModuleType, parse_dense_paths_from_modules), backends/candle/src
(Config, dense.rs). Not read: where it cuts texts and normalises what it returns; both are assumed as its docs say.

vLLM, github.com/vllm-project/vllm: transformers_utils/config.py (get_pooling_config, parse_pooling_type,
try_get_dense_modules, get_sentence_transformer_tokenizer_config), model_executor/models/adapters.py
(_load_st_projector), layers/activation.py (get_act_fn), layers/pooler/seqwise/heads.py (EmbeddingPoolerHead) and
model_loader/default_loader.py (every .safetensors of the directory, unless an index lists them).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModel

OLD = "sentence_transformers.models."
Matrix = NDArray[np.float32]


class CannotServe(Exception):
    """The server would not start with this directory."""


@dataclass(frozen=True)
class Rule:
    """What a server takes from a directory. limit: tokens per text. dense: folders of the layers, in order."""

    pooling: str
    limit: int
    dense: tuple[str, ...]
    normalises: bool


def tei_rule(directory: Path) -> Rule:
    """Return what TEI takes from a directory."""
    config = _needed(directory / "config.json")
    pooling = _needed(directory / "1_Pooling" / "config.json")
    known = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "last": "pooling_mode_lasttoken"}
    if any(not isinstance(pooling.get(known[name]), bool) for name in ("cls", "mean")):
        raise CannotServe("1_Pooling/config.json lacks a field")
    mode = next((name for name, switch in known.items() if pooling.get(switch, False)), None)
    if mode is None:
        raise CannotServe("pooling is not supported")
    limit = _read(directory / "sentence_bert_config.json").get("max_seq_length")
    modules = _read(directory / "modules.json")
    names = {OLD + name for name in ("Dense", "Normalize", "Pooling", "Transformer")}
    # One unknown name, and the list cannot be parsed: there are no layers then.
    parsed = modules if all(module["type"] in names for module in modules) else []
    dense = tuple(module["path"] for module in parsed if module["type"] == OLD + "Dense")
    return Rule(mode, limit or config["max_position_embeddings"], dense, True)


def vllm_rule(directory: Path) -> Rule:
    """Return what vLLM takes from a directory."""
    config, modules = _needed(directory / "config.json"), _read(directory / "modules.json")
    _check_weights(directory)
    new = "sentence_transformers.sentence_transformer.modules."
    pooling = next((m for m in modules if m["type"] in (OLD + "Pooling", new + "pooling.Pooling")), None)
    mode = "cls"  # of an encoder, unless told
    for key, value in (_read(directory / pooling["path"] / "config.json") if pooling else {}).items():
        name = value if key == "pooling_mode" else key if value is True else ""
        name = str(name).replace("pooling_mode_", "").split("_")[0].replace("lasttoken", "last")
        mode = name if name in ("cls", "mean", "last") else mode
    base = "sentence_transformers.base.modules."
    dense = tuple(m["path"] for m in modules if m["type"] in (OLD + "Dense", base + "dense.Dense"))
    normal = {OLD + "Normalize", base + "normalize.Normalize", new + "normalize.Normalize"}
    text = _read(directory / "sentence_bert_config.json")
    both = {"max_seq_length", "do_lower_case"} <= set(text)
    limit = (text["max_seq_length"] if both else None) or config["max_position_embeddings"]
    return Rule(mode, limit, dense, any(m["type"] in normal for m in modules))


def _check_weights(directory: Path) -> None:
    """Raise CannotServe if the directory's weights hold a tensor that the transformer lacks."""
    index = directory / "model.safetensors.index.json"
    files = (
        {directory / name for name in _read(index)["weight_map"].values()}
        if index.exists()
        else set(directory.glob("*.safetensors"))
    )
    model = AutoModel.from_pretrained(directory)
    for file in files:
        with safe_open(str(file), framework="pt") as weights:
            if odd := set(weights.keys()) - set(model.state_dict()):
                raise CannotServe(f"no parameter named {min(odd)}")


def vectors_by(rule: Rule, directory: Path, texts: Sequence[str], prompt: str = "") -> Matrix:
    """Return the vectors of the texts, float32 [n, dims], as a server with this rule computes them.

    prompt: what the server was told to put in front of each text.
    """
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(rule.limit)
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    layers = [_layer(directory / folder) for folder in rule.dense]
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            batch = tokenizer.encode_batch([prompt + text for text in texts[start : start + 32]])
            vectors = _pooled(model, [one.ids for one in batch], rule.pooling)
            for weight, bias, activation in layers:
                vectors = activation(torch.nn.functional.linear(vectors, weight, bias))
            found.append(torch.nn.functional.normalize(vectors) if rule.normalises else vectors)
    return torch.cat(found).numpy()


def _pooled(model: Any, ids: list[list[int]], pooling: str) -> torch.Tensor:
    length = max(map(len, ids))
    tokens = torch.tensor([one + [0] * (length - len(one)) for one in ids])
    mask = torch.tensor([[1] * len(one) + [0] * (length - len(one)) for one in ids])
    hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(ids)), mask.sum(1) - 1]
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _layer(folder: Path) -> tuple[torch.Tensor, torch.Tensor | None, Any]:
    """Return weight, bias and activation of a Dense layer, as both servers read it."""
    config, weights = _needed(folder / "config.json"), load_file(str(folder / "model.safetensors"))
    activations = {"Identity": torch.nn.Identity(), "Tanh": torch.nn.Tanh()}
    activation = activations.get(str(config.get("activation_function")).rsplit(".", 1)[-1])
    if activation is None or not {"in_features", "out_features", "bias"} <= set(config):
        raise CannotServe("a Dense layer is not supported")
    return weights["linear.weight"], weights["linear.bias"] if config["bias"] else None, activation


def _needed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CannotServe(f"{path.name} not found")
    found: dict[str, Any] = _read(path)
    return found


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
