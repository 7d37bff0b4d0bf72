"""LoRA: small matrices trained beside the attention layers of a base model with fixed weights.

A linear layer W becomes W + scale * B A, with A [rank, in] and B [out, rank] (Hu et al. 2021, arXiv:2106.09685); where
W is kept as [in, out] (GPT-2's Conv1D), the transpose of B A is added. Scores always come from the merged layer, as it
is exported.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from tune.config.trial import TrialConfig
from tune.embed.attention import is_linear, is_transposed, lora_targets
from tune.errors import ModelError
from tune.train.stream import TrialFailed

_A, _B = ".lora_A.default.weight", ".lora_B.default.weight"  # peft's names for a layer's matrices


def add_lora(model: torch.nn.Module, config: TrialConfig) -> None:
    """Add LoRA matrices, initialised from the trial's seed, to the model in place and freeze everything else.

    Raises TrialFailed if the model has no attention layers.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = lora_targets(model)
    if not targets:
        raise TrialFailed(f"base model {config.base_model} has no attention layers for LoRA; use train=full")
    alpha: Any = config.lora_alpha  # annotated as int in peft, which only divides by it
    transposed = any(is_transposed(model.get_submodule(name)) for name in targets)
    lora = LoraConfig(
        r=config.lora_rank, lora_alpha=alpha, target_modules=targets, bias="none", fan_in_fan_out=transposed
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        inject_adapter_in_model(lora, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith((_A, _B)))


@contextlib.contextmanager
def merged(model: torch.nn.Module, config: TrialConfig) -> Iterator[None]:
    """Merge the LoRA matrices into plain linear layers for scoring; restore the model bit for bit on exit."""
    matrices = _matrices(dict(model.named_parameters()))
    before: list[tuple[str, Any, torch.Tensor]] = []
    try:
        for name, (a, b) in matrices.items():
            layer: Any = model.get_submodule(name)
            plain = layer.get_base_layer()
            before.append((name, layer, plain.weight.detach().clone()))
            _merge(plain, name, (a, b), config)
            model.set_submodule(name, plain)
        yield
    finally:
        for name, layer, weight in before:
            layer.get_base_layer().weight.data.copy_(weight)
            model.set_submodule(name, layer)


def merge_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], config: TrialConfig) -> set[str]:
    """Merge the LoRA matrices among `weights` into the plain `model` in place; return their names.

    Raises ModelError for a layer that they cannot be merged into.
    """
    matrices = _matrices(weights)
    for name, pair in matrices.items():
        _merge(model.get_submodule(name), name, pair, config)
    return {name + end for name in matrices for end in (_A, _B)}


def _matrices(weights: dict[str, Any]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return {linear layer's name: its matrices A and B}."""
    names = [name.removesuffix(_A) for name in weights if name.endswith(_A)]
    return {name: (weights[name + _A], weights[name + _B]) for name in names}


@torch.no_grad()
def _merge(layer: Any, name: str, matrices: tuple[torch.Tensor, torch.Tensor], config: TrialConfig) -> None:
    if not is_linear(layer):
        raise ModelError(f"LoRA matrices of {name} cannot be merged into a layer of type {type(layer).__name__}")
    a, b = (matrix.to(layer.weight.device) for matrix in matrices)
    change = b @ a
    layer.weight += (config.lora_alpha / config.lora_rank) * (change.T if is_transposed(layer) else change)
