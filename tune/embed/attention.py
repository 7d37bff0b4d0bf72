"""Which layers of a base model get LoRA adapters: the projections of its attention blocks."""

import re
from typing import Any

import torch

from tune.embed.own_code import forbid_questions, without_code

# Names that transformers' encoders and decoders give to the projections inside an attention block:
# query/key/value (BERT), q/k/v/o (MPNet, T5), q_lin (DistilBERT), q_proj (most decoders), Wqkv/Wo (ModernBERT),
# qkv_proj (fused), query_proj (DeBERTa), and attention.output.dense (BERT's o).
_PROJECTION = re.compile(
    r"(^|\.)\w*att(n|ention)\w*\.([\w.]+\.)?"
    r"(query|key|value|[qkvo]|[qkv]_lin|out_lin|[qkvo]_proj|(query|key|value|out|qkv|in)_proj|qkv|W(qkv|[qkvo])"
    r"|output\.dense)$",
    re.IGNORECASE,
)


def lora_targets(model: torch.nn.Module) -> list[str]:
    """Return the names of the layers to adapt with LoRA: all attention projections; [] if there are none.

    If no projection has a usual name, those that peft adapts in models of this type (such as GPT-2's c_attn).
    """
    linear = [name for name, module in model.named_modules() if is_linear(module)]
    return [name for name in linear if _PROJECTION.search(name)] or [
        name for name in linear if any(_is_peft_target(name, targets) for targets in _peft_targets(model))
    ]


def targets_by_config(config: dict[str, Any]) -> bool | None:
    """Return whether a transformer with these settings (config.json) has layers to adapt; None if it cannot be known.

    Builds it without weights, from transformers' own classes alone.
    """
    import transformers

    forbid_questions()
    auto: Any = transformers.AutoModel  # untyped
    try:
        with torch.device("meta"):
            settings = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(without_code(config))
            return bool(lora_targets(auto.from_config(settings, trust_remote_code=False)))
    except Exception:
        # Whatever is wrong with the settings is reported when the model is loaded.
        return None


def is_linear(module: Any) -> bool:
    """Return whether a layer is one that LoRA can be merged into."""
    return isinstance(module, torch.nn.Linear) or is_transposed(module)


def is_transposed(module: Any) -> bool:
    """Return whether a layer is transformers' Conv1D, a linear layer with its weight as [in, out]."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _peft_targets(model: torch.nn.Module) -> list[list[str] | str]:
    """Return what peft adapts by default in the transformers among a model's modules."""
    from peft.utils import constants
    from transformers import PreTrainedModel

    known: dict[str, Any] = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    kinds = {module.config.model_type for module in model.modules() if isinstance(module, PreTrainedModel)}
    return [known[kind] for kind in sorted(kinds & known.keys())]


def _is_peft_target(name: str, targets: list[str] | str) -> bool:
    """Return whether peft would adapt the layer; a string is a pattern of whole names."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)
