"""The small files that say what a base model is, of a folder or a hub model: read without loading its weights."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tune.config.pins import split_pin
from tune.errors import ModelError

MODEL_FILES = ("modules.json", "config.json")
"""A model folder holds at least one of these."""


def local_folder(name: str) -> Path | None:
    """Return the folder that a base model's name is the path of; None for a hub model.

    Raises ModelError if it cannot be looked up, such as in the home folder of an unknown user.
    """
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except RuntimeError:
        raise ModelError(f"base model {name}: no such home folder; give the full path of the folder") from None
    except OSError as error:
        raise ModelError(
            f"base model {name}: {error.strerror or error}; give a folder that you can read, or a hub name"
        ) from None


def hub_model(name: str) -> tuple[str, str | None]:
    """Return the hub repository of a base model's name, and the revision that it is pinned to (None: the newest)."""
    plain, revision = split_pin(name)
    return plain if "/" in plain else f"sentence-transformers/{plain}", revision


def is_in_hub_cache(name: str) -> bool:
    """Return whether the hub's cache holds a model, at its revision if it is pinned.

    Raises HFValidationError if the hub has no such names.
    """
    return cached_folder(name) is not None


def cached_folder(name: str) -> Path | None:
    """Return the folder of a hub model's files in the hub's cache, None if it holds none. Its name is the commit.

    Raises HFValidationError if the hub has no such names.
    """
    cached = (_cached_file(name, file) for file in MODEL_FILES)
    return next((path.parent for path in cached if path is not None), None)


def cached_commit(name: str) -> str:
    """Return the commit of a hub model that the hub's cache holds; "" for any other model."""
    if local_folder(name) is not None:
        return ""
    try:
        folder = cached_folder(name)
    except ValueError:
        # Not a name on the hub, such as a closed model's.
        return ""
    return "" if folder is None else folder.name


def _cached_file(name: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, revision = hub_model(name)
    cached = try_to_load_from_cache(repository, file, revision=revision)
    return Path(cached) if isinstance(cached, str) else None


def read_json(name: str, file: str, *, fetch: bool = True) -> Any:
    """Return the content of a JSON file of a folder or hub model.

    fetch: ask the hub for what its cache lacks. Raises OSError or ValueError if it cannot be read.
    """
    folder = local_folder(name)
    if folder is not None:
        return json.loads((folder / file).read_text(encoding="utf-8"))
    try:
        cached = _cached_file(name, file)
        if cached is not None:
            return json.loads(cached.read_text(encoding="utf-8"))
        if not fetch:
            raise FileNotFoundError(f"{name} has no {file} in the hub cache")
        return json.loads(_fetched(*hub_model(name), file))
    except Exception as error:
        # The network stack may raise anything; invalid names fail here too.
        raise OSError(str(error)) from None


@cache
def _fetched(repository: str, revision: str | None, file: str) -> str:
    """Fetch a file from the hub, once per process. Raises any exception if that fails, without trying again.

    Leaves the hub's cache untouched, because `check_source` takes a model with one cached file for a complete one.
    """
    from huggingface_hub import get_session, get_token, hf_hub_url

    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = get_session().get(hf_hub_url(repository, file, revision=revision), headers=headers, timeout=10)
    return str(answer.raise_for_status().text)


def json_object(name: str, file: str, *, fetch: bool = False) -> dict[str, Any]:
    """Return a JSON object of a model's file; {} if the file is absent, unreadable or something else."""
    try:
        content = read_json(name, file, fetch=fetch)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_model2vec(name: str) -> bool:
    """Return whether a folder or cached hub model is model2vec's own format, without a list of modules."""
    kind = json_object(name, "config.json").get("model_type")
    return kind == "model2vec" and not module_types(name, fetch=False)


def module_types(name: str, *, fetch: bool = True) -> list[str]:
    """Return the full class names of a SentenceTransformer's modules; [] if modules.json is not available."""
    try:
        return [str(module["type"]) for module in read_json(name, "modules.json", fetch=fetch)]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def module_classes(name: str, *, fetch: bool = True) -> list[str]:
    """Return the class names of a SentenceTransformer's modules, in order; [] if modules.json is not available."""
    return [_class(kind) for kind in module_types(name, fetch=fetch)]


def module_folders(name: str) -> list[str]:
    """Return the folders of the modules inside a folder or cached hub model, "" for its root; those of routes too."""
    try:
        found = [str(module["path"]) for module in read_json(name, "modules.json", fetch=False)]
    except (OSError, ValueError, LookupError, TypeError):
        return [""]
    routes = json_object(name, "router_config.json").get("types")
    return [*found, *(routes if isinstance(routes, dict) else [])]


def first_classes(name: str, *, fetch: bool = True) -> list[str]:
    """Return the class of the first module, or for a Router those of the first module of every route."""
    classes = module_classes(name, fetch=fetch)[:1]
    if classes not in (["Router"], ["Asym"]):
        return classes
    # Earlier versions wrote the Router's settings to config.json.
    config = json_object(name, "router_config.json", fetch=fetch) or json_object(name, "config.json", fetch=fetch)
    try:
        return [_class(config["types"][modules[0]]) for modules in config["structure"].values()]
    except (LookupError, TypeError, AttributeError):
        return classes


def inside(folder: str, file: str) -> str:
    """Return the path of a file in one of `module_folders`."""
    return f"{folder}/{file}" if folder else file


def _class(path: Any) -> str:
    return str(path).rpartition(".")[2]
