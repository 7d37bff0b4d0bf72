"""LoRA on bases with fused or transposed attention layers: the merged export scores as reported; others are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BloomConfig,
    FalconConfig,
    FNetConfig,
    GPT2Config,
    GPTNeoXConfig,
    PretrainedConfig,
    XLNetConfig,
)

from tests.helpers.bases import VOCABULARY, save_router, save_transformer
from tests.helpers.exported_trials import LORA, exported_trial, st_auc
from tests.helpers.tiny import topic_pairs
from tune.config.trial import TrialConfig
from tune.embed.attention import lora_targets
from tune.embed.base_models import check_lora
from tune.embed.sources import load_source
from tune.errors import ModelError
from tune.train.whole.lora import merge_weights

SIDES = {"train": topic_pairs(200, 0), "val": topic_pairs(200, 1), "test": topic_pairs(200, 2)}
RANGE = {"initializer_range": 0.4}  # large enough for attention to matter
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": VOCABULARY, **RANGE}
ADAPTED: dict[str, tuple[PretrainedConfig, str]] = {
    "gpt2": (GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=VOCABULARY, **RANGE), "c_attn"),
    "gpt_neox": (GPTNeoXConfig(**SMALL, intermediate_size=32), "query_key_value"),
    "bloom": (BloomConfig(hidden_size=16, n_layer=2, n_head=2, vocab_size=VOCABULARY, **RANGE), "query_key_value"),
    "falcon": (FalconConfig(**SMALL), "query_key_value"),
}


@pytest.mark.parametrize("kind", list(ADAPTED))
def test_the_layers_are_peft_s_and_the_export_scores_as_reported(tmp_path: Path, kind: str) -> None:
    config, layer = ADAPTED[kind]
    base = save_transformer(tmp_path / "base", config)
    check_lora(str(base))
    targets = lora_targets(load_source(str(base)).model)
    assert {name.rpartition(".")[2] for name in targets} == {layer} and len(targets) == 2
    done = exported_trial(str(base), SIDES, tmp_path, {**LORA, "learning_rate": 2e-2, "warmup": 0})
    assert done.final["test"]["auc"] != pytest.approx(done.untouched["test"]["auc"], abs=1e-4), "LoRA must matter"
    assert done.final["val_auc"] == pytest.approx(done.reports[-1].best_auc, abs=5e-3)
    assert st_auc(done.model, SIDES["test"]) == pytest.approx(done.final["test"]["auc"], abs=1e-4)


@pytest.mark.parametrize(
    "config", [XLNetConfig(d_model=16, n_layer=1, n_head=2, d_inner=16), FNetConfig(hidden_size=16)], ids=str
)
def test_a_base_without_such_layers_is_refused_from_its_settings(tmp_path: Path, config: PretrainedConfig) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match=r"lora needs attention layers, and .* has none that it can adapt; use train=f"
    ):
        check_lora(str(tmp_path))


def test_settings_that_say_nothing_are_left_to_the_loaded_model(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    check_lora(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "nobodys"}')
    check_lora(str(tmp_path))
    with pytest.raises(ModelError, match="lora needs attention layers"):
        check_lora(str(save_router(tmp_path / "router")))


def test_matrices_are_not_merged_into_unknown_layers() -> None:
    model: Any = torch.nn.Sequential(torch.nn.Embedding(4, 8))
    weights = {"0.lora_A.default.weight": torch.ones(2, 8), "0.lora_B.default.weight": torch.ones(4, 2)}
    config = TrialConfig(
        base_model="any", dims=8, loss="mnr", learning_rate=1e-3, freeze=False, train="lora", lora_rank=2
    )
    with pytest.raises(ModelError, match="LoRA matrices of 0 cannot be merged into a layer of type Embedding"):
        merge_weights(model, weights, config)
