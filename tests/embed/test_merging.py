"""Base models with a PEFT adapter: merged when loaded, so trained and exported as a whole model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PeftConfig
from sentence_transformers import SentenceTransformer

from tests.helpers.bases import save_adapted
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert
from tune.embed.base_models import check_source
from tune.embed.sources import load_source
from tune.errors import ModelError

TEXTS = [" ".join(TOPIC_WORDS[place : place + 5]) for place in range(0, 70, 3)]
QV = ["query", "value"]
ADAPTERS: dict[str, PeftConfig] = {
    "lora": LoraConfig(r=4, target_modules=QV, init_lora_weights=False),
    "dora": LoraConfig(r=4, target_modules=QV, init_lora_weights=False, use_dora=True),
    "embedding": LoraConfig(r=4, target_modules=["word_embeddings", "dense"], init_lora_weights=False),
    "modules_to_save": LoraConfig(r=4, target_modules=QV, init_lora_weights=False, modules_to_save=["pooler"]),
    "loha": LoHaConfig(r=4, target_modules=QV, init_weights=False),
    "ia3": IA3Config(target_modules=QV, feedforward_modules=[], init_ia3_weights=False),
}


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return save_tiny_bert(tmp_path / "bert")


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_an_adapter_is_merged_with_the_same_vectors(bert: Path, tmp_path: Path, adapter: str) -> None:
    folder = save_adapted(tmp_path / "adapted", bert, ADAPTERS[adapter], TEXTS)
    expected, plain = np.load(folder / "vectors.npy"), SentenceTransformer(str(bert), device="cpu").encode(TEXTS)
    assert np.abs(expected - plain).max() > 1e-2, "the adapter must matter"
    source = load_source(str(folder))
    np.testing.assert_allclose(source.embed(TEXTS), expected, atol=1e-5)
    assert not any("lora" in name or "base_layer" in name for name, _ in source.model.named_modules())
    assert source.remarks(("", ""))[0].startswith("its adapter is merged into its weights")
    assert source.weights != load_source(str(bert)).weights


def test_what_is_saved_needs_neither_the_adapter_nor_its_base(bert: Path, tmp_path: Path) -> None:
    folder = save_adapted(tmp_path / "adapted", bert)
    source = load_source(str(folder))
    expected = source.embed(TEXTS)
    source.model.save(str(tmp_path / "saved"), create_model_card=False)
    shutil.rmtree(bert)
    saved = tmp_path / "saved"
    assert not list(saved.rglob("adapter*"))
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in saved.rglob("*") if path.is_file())
    np.testing.assert_allclose(SentenceTransformer(str(saved), device="cpu").encode(TEXTS), expected, atol=1e-6)
    with pytest.raises(
        ModelError, match=r"is an adapter on .*, which is not available .no such folder.*; bring it back"
    ):
        check_source(str(folder))


def test_an_adapter_alone_is_one_line(bert: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in save_adapted(tmp_path / "adapted", bert).rglob("adapter*"):
        shutil.copy(file, alone)
    assert (alone / "adapter_config.json").exists()
    with pytest.raises(ModelError, match=rf"is an adapter without its model; load its base \({bert}.*load_adapter"):
        check_source(str(alone))


def test_bf16_is_rounded_after_merging(bert: Path, tmp_path: Path) -> None:
    folder = str(save_adapted(tmp_path / "adapted", bert))
    exact, rounded = load_source(folder).model.state_dict(), load_source(folder, "bf16").model.state_dict()
    assert all(torch.equal(exact[name].bfloat16(), rounded[name]) for name in exact)
