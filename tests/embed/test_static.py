"""Static base models by their own way: the vectors of `SentenceTransformer.encode`, whatever comes after the mean."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

from tests.helpers.tiny import save_tiny_bert, save_tiny_model
from tune.data.demo import demo_pairs
from tune.embed import static
from tune.embed.snapshot import Snapshot, text_keys
from tune.embed.sources import load_source
from tune.embed.static import encode_static, is_static

TEXTS = [*dict.fromkeys(text for a, b, _ in demo_pairs()[:150] for text in (a, b)), "", "unknowable", "x " * 3000]


class Tripled(StaticEmbedding):
    """A model's own kind of static vectors."""

    def forward(self, features: dict[str, torch.Tensor], **kwargs: object) -> dict[str, torch.Tensor]:
        features = super().forward(features, **kwargs)
        features["sentence_embedding"] = 3 * features["sentence_embedding"]
        return features


def model_of(path: Path, *others: torch.nn.Module) -> SentenceTransformer:
    first = SentenceTransformer(str(save_tiny_model(path)), device="cpu")[0]
    return SentenceTransformer(modules=[first, *others], device="cpu").eval()


@pytest.mark.parametrize("prompt", ["", "where is "])
@pytest.mark.parametrize("cut", [None, 4])
def test_vectors_are_those_of_encode(
    tmp_path: Path, prompt: str, cut: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "_TEXTS", 16)
    monkeypatch.setattr(static, "_CHARACTERS", 2000)
    torch.manual_seed(0)
    for others in ([], [Normalize()], [Dense(48, 16), Normalize(), Dense(16, 8)]):
        model = model_of(tmp_path, *others)
        model.prompts, model.default_prompt_name = {"own": "how do I "}, "own"
        if cut is not None:
            model[0].tokenizer.enable_truncation(cut)
        assert is_static(model)
        found = encode_static(model, TEXTS, prompt)
        assert found.dtype == np.float32 and np.isfinite(found).all()
        np.testing.assert_allclose(found, model.encode(TEXTS, prompt=prompt), atol=1e-6)
        assert encode_static(model, [], prompt).shape == (0, model.get_embedding_dimension())


def test_models_that_are_more_than_static_go_the_ordinary_way(tmp_path: Path) -> None:
    first = model_of(tmp_path / "static")[0]
    own = SentenceTransformer(modules=[Tripled(first.tokenizer, first.embedding.weight.detach())], device="cpu")
    assert not is_static(own)
    assert not is_static(model_of(tmp_path / "dropout", torch.nn.Dropout()))
    assert not is_static(SentenceTransformer(str(save_tiny_bert(tmp_path / "bert")), device="cpu"))


def test_the_tokenizer_starts_no_threads_of_its_own_and_torch_keeps_its_own(two_threads: None, tmp_path: Path) -> None:
    # The tokenizer's own threads would not survive the forks of a search.
    threads, before = torch.get_num_threads(), dict(os.environ)
    encode_static(model_of(tmp_path), TEXTS)
    assert torch.get_num_threads() == threads and dict(os.environ) == before


def test_a_snapshot_takes_many_texts_of_a_static_model_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune.embed.snapshot.TEXTS_PER_SHARD", 5)
    source = load_source(str(save_tiny_model(tmp_path / "model")))
    snapshot = Snapshot(tmp_path, source.fingerprint, source.dims)
    told: list[tuple[int, int]] = []
    assert snapshot.embed(source, "", TEXTS[:200], lambda done, total: told.append((done, total))) == 200
    assert told == [(80, 200), (160, 200), (200, 200)]
    assert np.array_equal(snapshot.vectors(text_keys("", TEXTS[:200])), source.embed(TEXTS[:200]))
