"""Code that a model brings with it and runs when it is loaded with `trust_remote_code`."""

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DOWNLOADED = "transformers_modules."
"""Package in which transformers puts the code of a model."""


def own_classes(model: Any) -> list[type]:
    """Return the classes of a SentenceTransformer's modules that neither of the libraries contains."""
    children = set(model.children())
    found = {type(module) for module in model.modules() if module is not model and _is_own(module, children)}
    return sorted(found, key=lambda kind: kind.__name__)


def code_hashes(model: Any) -> list[str]:
    """Return a hash for each source file of these classes and of their helpers, so that changed code is another model.

    Helpers are the files that a model's own file imports by relative imports, or the other files of its package.
    """
    files = {file for kind in own_classes(model) for file in _source_files(kind)}
    return sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def forbid_questions() -> None:
    """Make transformers refuse a model with code of its own, instead of asking on the terminal whether to run it.

    Parts of a model are built without the option, so they would ask even if the model is loaded with it.
    """
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def without_code(config: dict[str, Any]) -> dict[str, Any]:
    """Return a model's settings (config.json) without the names of classes to load from its own code."""
    return {
        name: without_code(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name != "auto_map"
    }


def code_by_config(config: dict[str, Any]) -> Iterator[str]:
    """Yield the classes that transformers would load from a model's own code, by its settings (config.json)."""
    code, kind = config.get("auto_map"), config.get("model_type")
    if isinstance(code, dict) and code and not _known_to_transformers(kind, code):
        yield str(code.get("AutoModel") or next(iter(code.values())))
    for part in config.values():
        if isinstance(part, dict) and part is not code:
            yield from code_by_config(part)


def _known_to_transformers(model_type: Any, code: dict[str, Any]) -> bool:
    """Return whether transformers has its own class for this kind of model, and so ignores the model's code."""
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        return False
    if "AutoModel" not in code:
        return True
    from transformers import MODEL_MAPPING

    # Some types have settings, but no class of AutoModel.
    return CONFIG_MAPPING[model_type] in MODEL_MAPPING


def _source_files(kind: type) -> set[Path]:
    """Return the paths of a class's source file and its helpers."""
    from transformers.dynamic_module_utils import get_relative_import_files

    file = inspect.getsourcefile(kind)
    if file is None:
        return set()
    if kind.__module__.startswith(_DOWNLOADED):
        return {Path(file), *map(Path, get_relative_import_files(file))}
    return {Path(file), *(Path(file).parent.glob("*.py") if "." in kind.__module__ else ())}


def _is_own(module: Any, children: set[Any]) -> bool:
    home = type(module).__module__
    if home.startswith(_DOWNLOADED):
        return True
    return module in children and home.partition(".")[0] not in ("sentence_transformers", "torch")
