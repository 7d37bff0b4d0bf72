"""Which layers of a base model get LoRA adapters: the projections of its attention blocks."""

import re

import torch

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
    """Return the names of the linear layers to adapt with LoRA: all attention projections; [] if there are none."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and _PROJECTION.search(name)
    ]
