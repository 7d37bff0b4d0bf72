"""Models of trials that train the base: texts get the view's prompts, and static vectors load as a plain model."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.whole_trials import Topics
from tune.embed.sources import load_source
from tune.train.whole.model import encode_rows, load_whole_model
from tune.train.whole.trial import open_whole_trial


def test_texts_are_encoded_with_the_prompts_of_the_view(bert: Topics, bases: Path, tmp_path: Path) -> None:
    base = bert.prepared.base.name
    topics = Topics(bases / "prompted", base, ("t0w0 t1w1: ", ""))
    texts, source = topics.view.texts(), load_source(base)
    rows = np.array([0, 5, len(texts.texts) - 1, 1])
    expected = [source.embed([texts.texts[row]], texts.prompts[texts.prompt_of[row]])[0] for row in rows]
    assert {texts.prompt_of[row] for row in rows} == {0, 1}
    np.testing.assert_allclose(encode_rows(source.model, texts, rows), expected, atol=1e-6)
    np.testing.assert_allclose(topics.view.vectors[rows], expected, atol=1e-6)
    config = topics.config()
    reports = list(open_whole_trial(config, tmp_path, topics.view))
    assert topics.loaded_auc(tmp_path, config) == pytest.approx(reports[-1].best_auc, abs=1e-6)


def test_trained_static_vectors_load_as_one_module(static: Topics, tmp_path: Path) -> None:
    config = static.config(dims=None, dropout=0.1, learning_rate=3e-2, checkpointing=True)
    reports = list(open_whole_trial(config, tmp_path, static.view))
    assert reports[-1].best_auc > reports[0].auc + 0.02
    assert static.loaded_auc(tmp_path, config) == pytest.approx(reports[-1].best_auc, abs=1e-6)
    model = load_whole_model(config, tmp_path / "best.safetensors", config.base_model, None)
    assert [type(module).__name__ for module in model] == ["StaticEmbedding"] and not model.training
