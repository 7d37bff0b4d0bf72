"""What cannot be a base model, known from its files before it is loaded: each with what to give instead."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tune.embed.model_files import MODEL_FILES, inside, json_object, module_classes, module_folders, module_types
from tune.embed.own_code import code_by_config
from tune.errors import ModelError
from tune.files import is_lfs_pointer

_WEIGHTS = ("*.safetensors", "*.bin")
_OTHER_WEIGHTS = {".gguf": "GGUF", ".onnx": "ONNX", ".h5": "TensorFlow", ".msgpack": "Flax"}
_ORIGINAL = "give the original model, with safetensors weights"


def check_folder(name: str, folder: Path) -> None:
    """Raise ModelError if a path is not that of a whole model folder."""
    if not folder.is_dir():
        kind = _OTHER_WEIGHTS.get(folder.suffix.lower())
        raise ModelError(
            f"base model {name} is a file, not a model folder"
            if kind is None
            else f"base model {name} is a {kind} file, which sentence-transformers cannot train; {_ORIGINAL}"
        )
    if not any((folder / file).exists() for file in MODEL_FILES):
        if (folder / "adapter_config.json").exists():
            base = json_object(name, "adapter_config.json").get("base_model_name_or_path")
            raise ModelError(
                f"base model {name} is an adapter without its model; load its base ({base}) with "
                "sentence-transformers, add it with model.load_adapter, save the model, and give that folder"
            )
        if kinds := _kinds_of_weights(folder):
            raise ModelError(f"base model {name} has {kinds[0]} weights only; {_ORIGINAL}")
        raise ModelError(f"base model {name} is not a model folder: it contains neither {' nor '.join(MODEL_FILES)}")
    files = (
        path for inner in dict.fromkeys(["", *module_folders(name)]) for path in sorted((folder / inner).glob("*"))
    )
    for path in files:
        if is_lfs_pointer(path):
            raise ModelError(
                f"base model {name}: {path.relative_to(folder)} is a git-lfs pointer, not the file itself; run "
                "git lfs pull in that folder"
            )
    for inner in _transformer_folders(name):
        _check_weights(name, folder / inner)


def check_kind(name: str, trust_remote_code: bool) -> None:
    """Raise ModelError for what a folder or cached hub model is known not to be: a base model that can be trained.

    trust_remote_code: whether the model may run its own code.
    """
    made_for = json_object(name, "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
    has_modules = bool(module_classes(name, fetch=False))
    architectures = json_object(name, "config.json").get("architectures") or []
    if made_for == "CrossEncoder" or (
        not has_modules and any(str(kind).endswith("ForSequenceClassification") for kind in architectures)
    ):
        raise ModelError(
            f"base model {name} is a cross-encoder, which scores pairs and has no vectors of single texts; give an "
            "embedding model, such as the one it was trained from"
        )
    if made_for != "SentenceTransformer":
        raise ModelError(f"base model {name} is a {made_for}; give a model with one dense vector per text")
    own_code = chain.from_iterable(map(_own_code, (name, *adapted_bases(name))))
    if not trust_remote_code and (code := next(own_code, None)):
        raise ModelError(
            f"base model {name} runs its own code ({code}); read it, then allow it with --trust-remote-code "
            "true, or give a model that needs none"
        )
    _check_routes(name)


def adapter_folders(name: str) -> list[str]:
    """Return the folders inside a model that hold an adapter of it, "" for its root."""
    return [inner for inner in module_folders(name) if json_object(name, inside(inner, "adapter_config.json"))]


def adapted_bases(name: str) -> list[str]:
    """Return the base models of the adapters inside a model, as their files name them."""
    configs = (json_object(name, inside(inner, "adapter_config.json")) for inner in adapter_folders(name))
    return [str(config.get("base_model_name_or_path")) for config in configs]


def _own_code(name: str) -> Iterator[str]:
    """Yield the classes that a model would load from its own code."""
    routes = json_object(name, "router_config.json").get("types")
    for kind in [*module_types(name, fetch=False), *(map(str, routes.values()) if isinstance(routes, dict) else ())]:
        if not kind.startswith("sentence_transformers."):
            yield kind
    for inner in module_folders(name):
        yield from code_by_config(json_object(name, inside(inner, "config.json")))


def _check_routes(name: str) -> None:
    if "Router" not in module_classes(name, fetch=False):
        return
    config = json_object(name, "router_config.json")
    routes, mappings = config.get("structure") or {}, (config.get("parameters") or {}).get("route_mappings")
    if routes and not mappings and "text" not in routes and not {"query", "document"} <= set(routes):
        raise ModelError(
            f"base model {name} has routes for {', '.join(routes)}, but not for query and document, so texts cannot be "
            "routed; save it with the routes query and document, or give a base model without a Router"
        )


def _transformer_folders(name: str) -> list[str]:
    """Return the folders inside a local model that must hold the weights of a transformer."""
    classes = module_classes(name, fetch=False)
    if not classes:
        return [""] if json_object(name, "config.json").get("model_type") != "model2vec" else []
    return module_folders(name)[:1] if classes[0] == "Transformer" else []


def _check_weights(name: str, folder: Path) -> None:
    if any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        return
    kinds = _kinds_of_weights(folder)
    raise ModelError(
        f"base model {name} has {kinds[0]} weights only; {_ORIGINAL}"
        if kinds
        else f"base model {name} has no weights: {folder} contains neither {' nor '.join(_WEIGHTS)}"
    )


def _kinds_of_weights(folder: Path) -> list[str]:
    """Return the kinds of converted weights in a folder, or where converters put them in it."""
    files = (path for inner in ("", "onnx", "openvino") for path in (folder / inner).glob("*"))
    return sorted({_OTHER_WEIGHTS[path.suffix.lower()] for path in files if path.suffix.lower() in _OTHER_WEIGHTS})
