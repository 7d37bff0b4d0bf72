"""Base models of unusual kinds, small and with random weights, saved as folders."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftConfig
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModel, BertConfig, PretrainedConfig, PreTrainedTokenizerFast

from tests.helpers.tiny import TOPIC_WORDS, TOPICS, topic_pairs
from tune.data.sides import LabelledPairs

_SHIFT = 3


def save_router(
    path: Path, dims: int = 24, routes: tuple[str, str] = ("query", "document"), default: str | None = "document"
) -> Path:
    """Save a Router of two static embeddings for the topic words: queries' topics are shifted against documents'.

    Return its folder.
    """
    generator = torch.Generator().manual_seed(1)
    topics = torch.randn(TOPICS, dims, generator=generator)
    words = torch.stack([topics[int(re.match(r"t(\d+)", word)[1])] for word in TOPIC_WORDS])  # type: ignore[index]
    noise = 1.5 * torch.randn(words.shape, generator=generator)
    document = words + noise
    query = torch.stack([topics[(number // 8 + _SHIFT) % TOPICS] for number in range(len(words))]) + noise
    modules = {name: [_static(weights)] for name, weights in zip(routes, (query, document), strict=True)}
    router = Router(modules, default_route=default, allow_empty_key=False)
    SentenceTransformer(modules=[router], device="cpu").save(str(path), create_model_card=False)
    return path


def _static(weights: torch.Tensor) -> StaticEmbedding:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, **{w: i for i, w in enumerate(TOPIC_WORDS, 1)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    unknown = torch.zeros(1, weights.shape[1])
    return StaticEmbedding(tokenizer, embedding_weights=torch.cat([unknown, weights]))


def save_transformer(path: Path, config: PretrainedConfig, pad: bool = True, limit: int = 32) -> Path:
    """Save a transformer with random weights and a tokenizer of the topic words, without sentence-transformers' files.

    pad: whether the tokenizer has a padding token. limit: its limit of tokens. Return its folder.
    """
    marks = {"[UNK]": 0, "[EOS]": 1, "[PAD]": 2}
    words = {word: number for number, word in enumerate(TOPIC_WORDS, start=len(marks))}
    tokenizer = Tokenizer(WordLevel({**marks, **words}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    names = {"unk_token": "[UNK]", "eos_token": "[EOS]", **({"pad_token": "[PAD]"} if pad else {})}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=limit, **names).save_pretrained(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(path)
    return path


VOCABULARY = len(TOPIC_WORDS) + 3
"""Number of tokens of `save_transformer`."""


_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class OwnConfig(PretrainedConfig):
    model_type = "own_words"

    def __init__(self, vocab_size=8, hidden_size=16, **given):
        super().__init__(**given)
        self.vocab_size, self.hidden_size = vocab_size, hidden_size


class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "own"

    def __init__(self, config):
        super().__init__(config)
        self.words = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **given):
        return BaseModelOutput(last_hidden_state=self.words(input_ids))
"""


def save_own_code(path: Path) -> Path:
    """Save a transformer of a type that only the code in its folder knows; return its folder."""
    save_transformer(
        path, BertConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1, vocab_size=VOCABULARY)
    )
    (path / "modeling_own.py").write_text(_CODE)
    settings = {
        "model_type": "own_words", "vocab_size": VOCABULARY, "hidden_size": 16, "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(settings))
    weights = torch.randn(VOCABULARY, 16, generator=torch.Generator().manual_seed(2))
    save_file({"words.weight": weights}, str(path / "model.safetensors"), metadata={"format": "pt"})
    return path


def save_adapted(path: Path, base: Path, config: PeftConfig | None = None, texts: Sequence[str] = ()) -> Path:
    """Save a model with a PEFT adapter on the base in another folder, as sentence-transformers does; return its folder.

    config: of the adapter; LoRA on the attention layers by default. Its weights are random, so it changes vectors.
    texts: saved as vectors.npy beside it, as the model in memory embeds them.
    """
    model = SentenceTransformer(str(base), device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model.add_adapter(config or LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False))
    model.save(str(path), create_model_card=False)
    if texts:
        np.save(path / "vectors.npy", model.encode(list(texts)))
    return path


def routed_pairs(count: int, seed: int) -> LabelledPairs:
    """Return topic pairs whose first texts have their topic in the query route of `save_router` alone."""

    def shift(found: re.Match[str]) -> str:
        return f"t{(int(found[1]) - _SHIFT) % TOPICS}w"

    pairs = topic_pairs(count, seed)
    return replace(pairs, text_a=[re.sub(r"t(\d+)w", shift, text) for text in pairs.text_a])
