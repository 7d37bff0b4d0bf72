"""The exported directory in the form that old and new readers share: sentence-transformers 3 to 6, TEI and vLLM.

sentence-transformers 6 names modules, pooling and tokenizers in ways that nothing else reads. It still reads the names
of version 3, and so does everything else, so the export is written with those. What has no old form keeps the new one.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module

MODULES = "modules.json"
OLD = "sentence_transformers.models."
"""What old names of modules begin with."""

_NEW = re.compile(r"sentence_transformers\.(?:base|sentence_transformer)\.modules\.(?:\w+\.)*(\w+)")
_SENTENCE = "sentence_embedding"
_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Old switch -> mode of sentence-transformers 6."""

_PLAIN_TEXT = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
"""What sentence-transformers 6 writes about a transformer of the only kind that version 3 knows."""

_NO_LIMIT = 1_000_000
_STATIC_FILES = ("model.safetensors", "tokenizer.json", "config.json")


def without_inner_lengths(modules: "Sequence[Module]") -> "list[Module]":
    """Return the modules without each Normalize that a later one makes superfluous.

    That is so where only layers without bias and activation come between: they scale with their input, so the final
    vectors are the same, up to rounding. Servers that normalise once, at the end, then serve the same model.
    """
    from sentence_transformers.base.modules import Normalize

    kept: list[Any] = []
    scale_free = False  # whether what follows normalises and does not depend on the length of its input
    for module in reversed(modules):
        normalises = (
            isinstance(module, Normalize) and module.module_input_name == module.module_output_name == _SENTENCE
        )
        if normalises and scale_free:
            continue
        scale_free = normalises or (scale_free and _scales(module))
        kept.append(module)
    return kept[::-1]


def _scales(module: "Module") -> bool:
    """Return whether a module multiplies its output by whatever its input is multiplied by."""
    from sentence_transformers.base.modules import Dense
    from torch.nn import Identity

    return (
        isinstance(module, Dense)
        and module.linear.bias is None
        and isinstance(module.activation_function, Identity)
        and _is_whole(module)
    )


def _is_whole(module: Any) -> bool:
    """Return whether a module maps the vector of a text, and not those of its tokens."""
    return bool(module.module_input_name == module.module_output_name == _SENTENCE)


def make_portable(directory: Path) -> None:
    """Rewrite what sentence-transformers 6 saved into `directory` so that older readers and servers read it too."""
    path = directory / MODULES
    modules = _read(path)
    for module in modules:
        if module["path"] == "" and module["type"].endswith(".StaticEmbedding"):
            module["path"] = _moved(directory, f"{module['idx']}_StaticEmbedding", _STATIC_FILES)
        module["type"] = _rewritten(directory / module["path"], module["type"])
    _write(path, modules)
    _list_weights(directory)


def _moved(directory: Path, name: str, files: Sequence[str]) -> str:
    """Move files into a new folder of the directory and return its name: before 5, only transformers sit at the top."""
    (directory / name).mkdir()
    for file in files:
        if (directory / file).exists():
            (directory / file).rename(directory / name / file)
    return name


def _rewritten(folder: Path, type_: str) -> str:
    """Rewrite a module's files and return the name of its type; unchanged if the module has no old form."""
    found = _NEW.fullmatch(type_)
    rewrite = _REWRITES.get(found[1]) if found else None
    return OLD + found[1] if found and rewrite and rewrite(folder) else type_


def _pooling(folder: Path) -> bool:
    config = _read(folder / "config.json")
    modes = config.get("pooling_mode", "mean")
    chosen = {modes} if isinstance(modes, str) else set(modes)
    if len(chosen) > 1 or not chosen <= set(_POOLING.values()):
        return False  # several modes are concatenated in an order of their own
    old = {"word_embedding_dimension": config["embedding_dimension"]}
    old |= {switch: mode in chosen for switch, mode in _POOLING.items()}
    _write(folder / "config.json", {**old, "include_prompt": config.get("include_prompt", True)})
    return True


def _dense(folder: Path) -> bool:
    config = _read(folder / "config.json")
    names = {config.pop(name, _SENTENCE) for name in ("module_input_name", "module_output_name")}
    if names != {_SENTENCE} or set(config) != {"in_features", "out_features", "bias", "activation_function"}:
        return False
    _write(folder / "config.json", config)
    return True


def _normalize(folder: Path) -> bool:
    return set(_read(folder / "config.json").values()) <= {_SENTENCE}


def _static(folder: Path) -> bool:
    return True


def _transformer(folder: Path) -> bool:
    """Rewrite a transformer that reads texts alone; any other has no old form."""
    path = folder / "sentence_bert_config.json"
    config = _read(path)
    lower_case = bool(config.pop("do_lower_case", False))
    config.pop("max_seq_length", None)
    if config != _PLAIN_TEXT or not (folder / "tokenizer_config.json").is_file():
        return False
    limit = _tokenizer(folder / "tokenizer_config.json")
    _write(path, {"max_seq_length": limit, "do_lower_case": lower_case})
    _positions(folder / "config.json")
    return True


def _tokenizer(path: Path) -> int | None:
    """Rewrite names that transformers 4 does not know; return the limit of tokens per text, None for none."""
    config = _read(path)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config.setdefault("model_input_names", ["input_ids", "attention_mask"])  # 4 would add token types
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    _write(path, config)
    limit = config.get("model_max_length")
    return int(limit) if isinstance(limit, int | float) and limit < _NO_LIMIT else None


_THETAS = {
    "modernbert": {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"},
    "gemma3_text": {"full_attention": "rope_theta", "sliding_attention": "rope_local_base_freq"},
}
"""Model type -> kind of layer -> what transformers 4 and TEI call the base of its rotary positions."""


def _positions(path: Path) -> None:
    """Add the old names of rotary positions: without them, older readers would take their own defaults."""
    config = _read(path)
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or not rope:
        return
    old: dict[str, Any] = {}
    if "rope_theta" in rope:
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        old["rope_theta"] = rope["rope_theta"]
        old |= {"rope_scaling": scaling} if scaling.get("rope_type", "default") != "default" else {}
    for kind, name in _THETAS.get(config.get("model_type", ""), {}).items():
        if isinstance(rope.get(kind), dict) and "rope_theta" in rope[kind]:
            old[name] = rope[kind]["rope_theta"]
    _write(path, {**old, **config})


def _router(folder: Path) -> bool:
    path = folder / "router_config.json"
    config = _read(path)
    config["types"] = {name: _rewritten(folder / name, type_) for name, type_ in config["types"].items()}
    if not config["parameters"].get("route_mappings"):
        config["parameters"].pop("route_mappings", None)  # unknown to 5.0 and 5.1
    _write(path, config)
    return True


_REWRITES: dict[str, Callable[[Path], bool]] = {
    "Transformer": _transformer,
    "Pooling": _pooling,
    "Dense": _dense,
    "Normalize": _normalize,
    "StaticEmbedding": _static,
    "Router": _router,
}
"""Module -> what rewrites its files; False if it has no old form."""


def _list_weights(directory: Path) -> None:
    """Write the list of the transformer's weights: without one, vLLM reads every .safetensors of the directory."""
    from safetensors import safe_open

    weights, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if not weights.is_file() or index.exists():
        return
    with safe_open(str(weights), framework="numpy") as file:
        names = sorted(file.keys())
    size = {"total_size": weights.stat().st_size}
    _write(index, {"metadata": size, "weight_map": dict.fromkeys(names, weights.name)})


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
