"""Which layers of a base model LoRA trains beside: the projections of its attention blocks."""

import re

import torch

# Projections by the names that transformers' encoders and decoders give them, inside a block of attention:
# query/key/value (BERT), q/k/v/o (MPNet, T5), q_lin (DistilBERT), q_proj (most decoders), Wqkv/Wo (ModernBERT),
# qkv_proj (fused), query_proj (DeBERTa), and attention.output.dense (BERT's o).
_PROJECTION = re.compile(
    r"(^|\.)\w*att(n|ention)\w*\.([\w.]+\.)?"
    r"(query|key|value|[qkvo]|[qkv]_lin|out_lin|[qkvo]_proj|(query|key|value|out|qkv|in)_proj|qkv|W(qkv|[qkvo])"
    r"|output\.dense)$",
    re.IGNORECASE,
)


def lora_targets(model: torch.nn.Module) -> list[str]:
    """Names of the linear layers that LoRA trains beside: the projections of all attention blocks; [] without any."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and _PROJECTION.search(name)
    ]
