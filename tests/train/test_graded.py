"""Graded scores in training: which losses learn from them, and that their values are sentence-transformers' own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as st_losses

from tests.helpers.tiny import TOPIC_WORDS, Prepared, save_tiny_model, topic_pairs
from tune.config.space import LOSSES
from tune.data.sides import LabelledPairs
from tune.embed.prepare import PreparedBase, ViewOptions, prepare_base
from tune.embed.similarity import cosine
from tune.embed.sources import load_source
from tune.embed.view import PairRows, View, view_digest
from tune.train.dense_module import dense_module
from tune.train.frozen.dense import dense_cosine, load_dense, make_dense
from tune.train.frozen.trial import open_frozen_trial
from tune.train.setup import labels_for
from tune.train.trained import base_val
from tune.train.whole.trial import open_whole_trial

PAIRS = 60
GRADED = {
    "cosine": st_losses.CosineSimilarityLoss,
    "cosent": st_losses.CoSENTLoss,
    "angle": st_losses.AnglELoss,
}
BINARY = {"contrastive": st_losses.ContrastiveLoss, "online_contrastive": st_losses.OnlineContrastiveLoss}


def graded(pairs: LabelledPairs, seed: int) -> LabelledPairs:
    """Return the pairs with scores of 0 to 0.4 for label 0, and 0.5 to 1 for label 1."""
    draws = np.random.default_rng(seed).integers(0, 5, len(pairs))
    return replace(pairs, score=np.where(pairs.label == 1, 0.6 + draws / 10, draws / 10))


def prepare(folder: Path, base: Path, sides: dict[str, LabelledPairs]) -> PreparedBase:
    return prepare_base(load_source(str(base)), sides, folder, ("", ""), ViewOptions(texts=True))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base") / "static", dims=24, words=TOPIC_WORDS)


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Prepared:
    sides = {side: graded(topic_pairs(PAIRS, seed), seed) for seed, side in enumerate(("train", "val"))}
    cache = tmp_path_factory.mktemp("cache")
    prepared = prepare(cache, base, sides)
    return Prepared(cache, prepared, View.open(prepared.view(cache)))


def expected(name: str, model: SentenceTransformer, sides: list[dict[str, torch.Tensor]], pairs: PairRows) -> float:
    """Return the loss of a batch by sentence-transformers alone: on scores if it takes them, else on labels."""
    assert pairs.score is not None
    if name in GRADED:
        return GRADED[name](model)(sides, torch.tensor(pairs.score, dtype=torch.float32)).item()
    return BINARY[name](model)(sides, torch.tensor(pairs.label, dtype=torch.int64)).item()


@pytest.mark.parametrize("loss", [*GRADED, *BINARY])
def test_the_loss_of_a_layer_is_sentence_transformers_on_the_grades(
    topics: Prepared, tmp_path: Path, loss: str
) -> None:
    config = topics.config(dims=16, loss=loss, epochs=1, batch_size=PAIRS)
    [report] = open_frozen_trial(config, tmp_path, topics.view)
    model = SentenceTransformer(modules=[dense_module(make_dense(config, 24))], device="cpu")
    vectors, train = torch.tensor(np.array(topics.view.vectors)), topics.view.train
    sides = [{"sentence_embedding": vectors[torch.tensor(rows)]} for rows in (train.a, train.b)]
    assert report.loss == pytest.approx(expected(loss, model, sides, train), rel=1e-5)


@pytest.mark.parametrize("loss", [*GRADED, *BINARY])
def test_the_loss_of_a_whole_model_is_sentence_transformers_on_the_grades(
    topics: Prepared, base: Path, tmp_path: Path, loss: str
) -> None:
    config = topics.config(dims=None, freeze=False, loss=loss, epochs=1, batch_size=PAIRS)
    [report] = open_whole_trial(config, tmp_path, topics.view)
    model, texts, train = SentenceTransformer(str(base), device="cpu"), topics.view.texts().texts, topics.view.train
    sides = [model.preprocess([texts[row] for row in rows]) for rows in (train.a, train.b)]
    assert report.loss == pytest.approx(expected(loss, model, sides, train), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_only_losses_that_take_grades_depend_on_them(topics: Prepared, tmp_path: Path, loss: str) -> None:
    view = topics.view
    plain = replace(view, train=replace(view.train, score=None), val=replace(view.val, score=None))
    config = topics.config(dims=16, loss=loss, batch_size=16)
    losses = [
        [report.loss for report in open_frozen_trial(config, tmp_path / name, seen)]
        for name, seen in (("graded", view), ("plain", plain))
    ]
    assert (losses[0] != losses[1]) == (loss in GRADED)
    assert labels_for(loss, view.train) is (view.train.score if loss in GRADED else view.train.label)
    assert labels_for(loss, plain.train) is plain.train.label


def test_training_on_grades_learns_their_order(topics: Prepared, tmp_path: Path) -> None:
    """On labels of 0 and 1, grades within a class are all the same."""
    train = topics.view.train
    assert train.score is not None
    positives = np.flatnonzero(train.label == 1)

    def within_class(scores: NDArray[np.float64], name: str) -> float:
        seen = replace(topics.view, train=replace(train, score=scores))
        config = topics.config(dims=24, loss="cosent", epochs=60, batch_size=PAIRS, scheduler="constantlr")
        reports = list(open_frozen_trial(config, tmp_path / name, seen))
        assert reports[-1].loss < reports[0].loss
        dense = load_dense(config, tmp_path / name / "best.safetensors", 24)
        learned = dense_cosine(dense, seen.vectors, train.take(positives))
        assert train.score is not None
        return float(spearmanr(learned, train.score[positives]).statistic)

    assert within_class(train.score, "grades") > within_class(train.label.astype(np.float64), "labels") + 0.3


def test_a_view_carries_the_scores_of_its_pairs(topics: Prepared) -> None:
    view = topics.view
    sides = [graded(topic_pairs(PAIRS, seed), seed) for seed in (0, 1)]
    for rows, side in zip((view.train, view.val), sides, strict=True):
        assert rows.score is not None and side.score is not None and rows.score.tolist() == side.score.tolist()
        assert rows.prefix(7).score.tolist() == side.score[:7].tolist()  # type: ignore[union-attr]
        assert rows.take(np.array([5, 2])).score.tolist() == side.score[[5, 2]].tolist()  # type: ignore[union-attr]
    both = view.train_and_val()
    assert both.score is not None and both.score.tolist() == [*view.train.score, *view.val.score]  # type: ignore[misc]


def test_pairs_without_scores_have_the_views_that_they_had(topics: Prepared, base: Path, tmp_path: Path) -> None:
    sides = {side: topic_pairs(PAIRS, seed) for seed, side in enumerate(("train", "val"))}
    view = prepare(tmp_path, base, sides).view(tmp_path)
    names = {f"{side}_{part}.npy" for side in ("train", "val") for part in ("a", "b", "label")}
    assert {path.name for path in view.iterdir()} == {*names, "vectors.npy", "view.json", "texts.json"}
    assert set(json.loads((view / "view.json").read_text())) == {"digest", "texts", "train", "val", "sha256"}
    assert View.open(view).train.score is None and View.open(view).train_and_val().score is None
    assert view.name != topics.view.digest, "trials on grades have directories of their own"
    rows = PairRows(np.array([0, 1]), np.array([2, 3]), np.array([1, 0], np.int8))
    assert view_digest("fingerprint", [b"key"], rows, rows) == "1a4c9e7fd958b38852b4d224"
    one, other = (replace(rows, score=np.array(scores)) for scores in ([1.0, 0.0], [1.0, 0.1]))
    digests = {view_digest("fingerprint", [b"key"], rows, val) for val in (rows, one, other)}
    assert len(digests) == 3


def test_the_untouched_base_has_a_correlation_on_val(topics: Prepared, base: Path, tmp_path: Path) -> None:
    final = base_val(topics.base, topics.cache)
    rows = topics.view.val
    assert final.val_spearman == pytest.approx(spearmanr(cosine(topics.view.vectors, rows), rows.score).statistic)
    sides = {side: topic_pairs(PAIRS, seed) for seed, side in enumerate(("train", "val"))}
    assert base_val(prepare(tmp_path, base, sides), tmp_path).val_spearman is None
