"""LoRA: which layers it adapts in each architecture, and that merging changes nothing but the layout."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, save_tiny_model
from tune.config.trial import TrialConfig
from tune.embed.attention import lora_targets
from tune.embed.sources import load_source
from tune.train.stream import TrialFailed
from tune.train.whole.lora import merged
from tune.train.whole.model import build_model, load_whole_model, trained_weights

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
}
TEXTS = [" ".join(TOPIC_WORDS[place : place + 5]) for place in range(0, 70, 3)]


@pytest.fixture(scope="module")
def bert_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT, saved in a folder."""
    return str(save_tiny_bert(tmp_path_factory.mktemp("lora") / "bert"))


def config_of(base_model: str, **changes: object) -> TrialConfig:
    values = {"dims": 8, "loss": "cosent", "learning_rate": 1e-3, "freeze": False, "train": "lora", "lora_rank": 4}
    return TrialConfig(**({"base_model": base_model} | values | changes))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (BertModel(BertConfig(**SMALL)), {"query", "key", "value", "dense"}),
        (XLMRobertaModel(XLMRobertaConfig(**SMALL)), {"query", "key", "value", "dense"}),
        (MPNetModel(MPNetConfig(**SMALL)), {"q", "k", "v", "o"}),
        (
            DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32)),
            {"q_lin", "k_lin", "v_lin", "out_lin"},
        ),
        (ModernBertModel(ModernBertConfig(**SMALL)), {"Wqkv", "Wo"}),
        (
            T5EncoderModel(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)),
            {"q", "k", "v", "o"},
        ),
        (
            Qwen3Model(Qwen3Config(**SMALL, num_key_value_heads=1, head_dim=8)),
            {"q_proj", "k_proj", "v_proj", "o_proj"},
        ),
    ],
    ids=lambda given: type(given).__name__,
)
def test_the_projections_of_every_attention_block_are_found(model: PreTrainedModel, names: set[str]) -> None:
    targets = lora_targets(model)
    assert {target.rpartition(".")[2] for target in targets} == names
    assert len(targets) == 2 * len(names), "two layers, and nothing outside their attention"


def test_a_base_without_attention_is_refused(tmp_path: Path) -> None:
    static = str(save_tiny_model(tmp_path / "static", words=TOPIC_WORDS))
    assert lora_targets(load_source(static).model) == []
    with pytest.raises(TrialFailed, match="no attention layers"):
        build_model(config_of(static), static, None)


def test_only_the_matrices_and_the_dense_are_trained(bert_path: str) -> None:
    model = build_model(config_of(bert_path), bert_path, None)
    trained = trained_weights(model)
    assert all("lora_" in name or name.startswith("2.") for name in trained)
    layers = len(lora_targets(load_source(bert_path).model))
    assert layers == 8 and len(trained) == 2 * layers + 2
    assert {tuple(t.shape) for n, t in trained.items() if "lora_A" in n} == {(4, 32)}
    assert sum(t.numel() for t in trained.values()) < 0.2 * sum(p.numel() for p in model.parameters())
    again = trained_weights(build_model(config_of(bert_path), bert_path, None))
    assert all(torch.equal(again[name], tensor) for name, tensor in trained.items()), "initialised from the seed"
    other = trained_weights(build_model(config_of(bert_path, seed=1), bert_path, None))
    assert any(not torch.equal(other[name], tensor) for name, tensor in trained.items())


@pytest.mark.parametrize("dims", [8, None])
def test_the_merged_model_equals_the_trained_one_and_is_plain(bert_path: str, tmp_path: Path, dims: int | None) -> None:
    config = config_of(bert_path, dims=dims, dropout=0.2, lora_alpha=12.5)
    model = build_model(config, bert_path, None)
    untouched = model.encode(TEXTS)
    generator = torch.Generator().manual_seed(3)
    for name, tensor in trained_weights(model).items():
        if "lora_B" in name:
            tensor.data.copy_(torch.randn(tensor.shape, generator=generator) / 5)
    unmerged = model.encode(TEXTS)
    assert np.abs(unmerged - untouched).max() > 0.01, "the matrices must have an effect"
    with merged(model, config):
        assert not any("lora" in name for name, _ in model.named_modules())
        inside = model.encode(TEXTS)
    np.testing.assert_allclose(inside, unmerged, atol=1e-5)
    assert (model.encode(TEXTS) == unmerged).all(), "restored to the last bit"

    save_file(trained_weights(model), str(tmp_path / "best.safetensors"))
    loaded = load_whole_model(config, tmp_path / "best.safetensors", bert_path, None)
    assert (loaded.encode(TEXTS) == inside).all()
    assert not any("peft" in type(module).__module__ for module in loaded.modules())
    plain = load_source(bert_path).model
    base = {name: type(module) for name, module in plain.named_modules()}
    found = {name: type(module) for name, module in loaded.named_modules()}
    dense = {name for name in found if name.split(".")[0] == "2"}
    assert {name: kind for name, kind in found.items() if name not in dense} == base
    assert set(loaded.state_dict()) - set(plain.state_dict()) == (
        {"2.linear.weight", "2.linear.bias"} if dims else set()
    )
    assert set(plain.state_dict()) <= set(loaded.state_dict())
    assert not loaded.training and all(tensor.dtype == torch.float32 for tensor in loaded.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_lora_needs_less_gpu_memory(tmp_path: Path) -> None:
    base = str(save_tiny_bert(tmp_path / "bert", hidden=512))
    used = {}
    for train in ("full", "lora"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model = build_model(config_of(base, train=train), base, None)
        weights = [tensor for tensor in model.parameters() if tensor.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=1e-3)
        features = model.preprocess(TEXTS[:2])
        model({name: t.cuda() if isinstance(t, torch.Tensor) else t for name, t in features.items()})[
            "sentence_embedding"
        ].sum().backward()
        optimizer.step()
        used[train] = torch.cuda.max_memory_allocated() - before
        del model, weights, optimizer, features
        gc.collect()
    assert used["lora"] < 0.6 * used["full"]
