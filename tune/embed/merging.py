"""Merging PEFT adapters into the model they adapt: what is left is a plain model with the same vectors."""

from typing import Any

from tune.embed.model_files import cached_folder, hub_model, local_folder
from tune.embed.refusals import adapter_folders
from tune.errors import ModelError


def merge_adapters(model: Any, name: str) -> list[str]:
    """Merge every adapter in a SentenceTransformer into its weights, in float32; return a sentence if there were some.

    name: of the base model that was loaded. Raises ModelError for an adapter that cannot be merged.
    """
    adapted = [module for module in model.modules() if getattr(module, "_hf_peft_config_loaded", False)]
    if not adapted:
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    model.float()
    for module, inner in zip(adapted, adapter_folders(name), strict=True):
        _read_again(module, name, inner)
    layers = {
        path: layer
        for path, layer in model.named_modules(remove_duplicate=False)
        if isinstance(layer, BaseTunerLayer | AuxiliaryTrainingWrapper)
    }
    plain: dict[int, Any] = {}
    for path, layer in layers.items():
        if any(path.startswith(f"{outer}.") for outer in layers):
            continue
        if id(layer) not in plain:
            plain[id(layer)] = _merged(layer, path, name)
        model.set_submodule(path, plain[id(layer)])
    for module in adapted:
        # With these, transformers would save the adapter alone, or name the weights as an adapter's.
        module._hf_peft_config_loaded = False
        module._weight_conversions = None
        del module.peft_config
    return [f"its adapter is merged into its weights ({len(plain)} layers)"]


def _read_again(module: Any, name: str, inner: str) -> None:
    """Load an adapter's weights with peft: transformers 5 leaves out some of them (DoRA's), which stay random.

    inner: the adapter's folder inside the base model. Raises ModelError if the weights do not fit.
    """
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
    from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict

    [adapter] = module.active_adapters()
    folder = local_folder(name) or (cached_folder(name) if hub_model(name)[1] else None)
    weights = load_peft_weights(name if folder is None else str(folder), device="cpu", subfolder=inner or None)
    weights = {key.removeprefix("base_model.model."): tensor for key, tensor in weights.items()}
    found: Any = set_peft_model_state_dict(module, weights, adapter_name=adapter)
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING[module.peft_config[adapter].peft_type]
    odd = [*found.unexpected_keys, *(key for key in found.missing_keys if prefix in key)]
    if odd:
        raise ModelError(
            f"base model {name}: its adapter does not fit its base model ({odd[0]}); merge it with peft, save the "
            "whole model, and give that folder"
        )


def _merged(layer: Any, path: str, name: str) -> Any:
    """Return the plain layer in place of an adapted one, in float32.

    It is computed in float64 on the CPU, so that every machine gets the same weights, and the same hash of them.
    """
    import torch

    device = next(layer.parameters()).device
    layer.to("cpu", torch.float64)
    try:
        # As peft's own merge_and_unload does, which needs the object that made the adapter.
        if hasattr(layer, "unload_and_optionally_merge_module"):
            plain = layer.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
        else:
            layer.merge(safe_merge=True)
            plain = layer.get_base_layer()
        return plain.to(device, torch.float32)
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise ModelError(
            f"base model {name}: its adapter cannot be merged into {path} ({type(layer).__name__}: "
            f"{' '.join(str(error).split())[:150]}); merge it with peft, save the whole model, and give that folder"
        ) from None
