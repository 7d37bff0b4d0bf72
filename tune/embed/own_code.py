"""Code that a model brings with it and runs when it is loaded with `trust_remote_code`."""

import hashlib
import inspect
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
    """Return a hash for each source file of these classes, so that changed code is another model."""
    files = {inspect.getsourcefile(kind) for kind in own_classes(model)}
    return sorted(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file is not None)


def _is_own(module: Any, children: set[Any]) -> bool:
    home = type(module).__module__
    if home.startswith(_DOWNLOADED):
        return True
    return module in children and home.partition(".")[0] not in ("sentence_transformers", "torch")
