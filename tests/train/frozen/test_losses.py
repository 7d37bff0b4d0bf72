"""The losses of frozen trials, and their gradients in closed form, against sentence-transformers and autograd."""

from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dropout

from tests.helpers.library_fit import LibraryFit
from tune.config.space import LOSSES
from tune.config.trial import Loss, TrialConfig
from tune.embed.view import PairRows, View
from tune.train.frozen.fit import Fit, TrainingVectors
from tune.train.frozen.losses.matryoshka import loss_for
from tune.train.losses import LOSS_KINDS, make_loss
from tune.train.random_state import Isolated
from tune.train.setup import GRADED_LOSSES, pairs_for_loss

CPU = torch.device("cpu")
CASES = 60


def config(**changes: Any) -> TrialConfig:
    return TrialConfig(**({"base_model": "m", "dims": 16, "loss": "cosent", "learning_rate": 1e-3} | changes))


def batch(loss: Loss, seed: int) -> tuple[torch.Tensor, int, np.ndarray]:
    """Return random vectors with whatever is awkward: zero vectors, ties, equal sides, one pair, one label, grades."""
    random = np.random.default_rng(seed)
    pairs, dims = int(random.choice([1, 2, 3, 8, 32])), int(random.choice([2, 5, 16, 33]))
    rows = 2 * pairs + (int(random.integers(0, pairs + 1)) if loss == "mnr" else 0)
    vectors = random.standard_normal((rows, dims)) * 10.0 ** random.integers(-3, 3)
    awkward = random.integers(0, 6)
    if loss == "online_contrastive" and awkward in (2, 3):
        awkward = 0  # whether a pair is harder than an equal one is up to rounding
    if awkward == 1:
        vectors[random.integers(0, rows, 2)] = 0
    elif awkward == 2:  # the same pair again and again
        vectors[:pairs], vectors[pairs : 2 * pairs] = vectors[0], vectors[pairs]
    elif awkward == 3:  # equal and opposite sides
        vectors[pairs : 2 * pairs] = vectors[:pairs] * random.choice([-1, 1], (pairs, 1))
    labels = random.integers(0, 2, pairs).astype(np.float64)
    if awkward == 4:
        labels[:] = random.integers(0, 2)
    if loss in GRADED_LOSSES and random.integers(0, 2):
        labels = random.integers(0, 5, pairs) / np.float32(4)
    return torch.from_numpy(vectors), pairs, labels.astype(np.float64)


def expected(
    loss: Loss, vectors: torch.Tensor, labels: np.ndarray, dims: tuple[int, ...]
) -> tuple[float, torch.Tensor]:
    """Return sentence-transformers' loss and autograd's gradient, in float64."""
    leaf = vectors.clone().requires_grad_()
    pairs = len(labels)
    columns = [leaf[:pairs], leaf[pairs : 2 * pairs], leaf[2 * pairs :]]
    features = [{"sentence_embedding": column} for column in columns if len(column)]
    loss_of = make_loss(loss, SentenceTransformer(modules=[Dropout(0.0)], device="cpu"), dims)
    value = loss_of(features, torch.from_numpy(labels).to(LOSS_KINDS[loss].labels))
    value.backward()
    assert leaf.grad is not None
    return value.item(), leaf.grad


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("smaller", [(), (2, 4)], ids=["plain", "matryoshka"])
def test_a_loss_and_its_gradient_are_those_of_sentence_transformers(loss: Loss, smaller: tuple[int, ...]) -> None:
    for seed in range(CASES):
        vectors, pairs, labels = batch(loss, seed)
        dims = vectors.shape[1]
        smaller_here = tuple(size for size in smaller if size < dims)
        whole = (*smaller_here, dims) if smaller_here else ()
        ours, gradient = loss_for(config(loss=loss, dims=dims, matryoshka=smaller_here))(vectors, pairs, labels)
        value, right = expected(loss, vectors, labels, whole)
        assert ours == pytest.approx(value, rel=1e-5, abs=1e-6), seed
        # A zero vector's gradient is larger by many orders; the others are compared among themselves.
        steep, length = right.norm(dim=1), vectors.norm(dim=1)
        steepest = steep.where(length > 0, torch.zeros(1)).max()
        apart = (gradient - right).norm(dim=1)
        # Where both sides are parallel the gradient is 0 but for rounding, which grows as vectors get short.
        fine = apart <= 1e-5 * torch.maximum(steep, steepest) + 1e-9 / length
        # A shortened zero vector is scaled up once here, and twice by MatryoshkaLoss; its row of the view is 0 anyway.
        assert fine[length > 0].all() if whole else fine.all(), seed


def test_scores_that_differ_in_float64_alone_are_ties() -> None:
    view, train = pairs_view(graded=True)
    close = PairRows(train.a, train.b, train.label, 0.3 + np.arange(len(train)) * 1e-12)
    fit = Fit(config(loss="cosent", epochs=1), TrainingVectors(view, close, CPU), close)
    fit.train_until(1.0)
    assert fit._loss == 0, "no pair is above another"


def pairs_view(*, graded: bool = False) -> tuple[View, PairRows]:
    """Return random vectors of 200 texts, and 480 pairs of them."""
    random = np.random.default_rng(0)
    a, b = random.integers(0, 100, 480), random.integers(100, 200, 480)
    score = random.integers(0, 6, 480) / 5 if graded else None
    pairs = PairRows(a, b, (random.random(480) < 0.4).astype(np.int8), score)
    return View(random.standard_normal((200, 24)).astype(np.float32), pairs, pairs, "random"), pairs


VARIANTS: dict[str, dict[str, Any]] = {
    **{loss: {"loss": loss} for loss in LOSSES},
    **{f"{loss} on scores": {"loss": loss, "graded": True} for loss in sorted(GRADED_LOSSES)},
    "hard negatives": {"loss": "mnr", "hard_negatives": True},
    "matryoshka": {"loss": "angle", "matryoshka": (4, 7)},
    "no bias": {"bias": False, "weight_decay": 0.1},
    "weight decay": {"weight_decay": 0.1, "activation": "tanh"},
    "dropout": {"loss": "cosine", "dropout": 0.2, "activation": "tanh"},
    "queries alone": {"side": "query", "dims": None, "dropout": 0.2},
    "queries alone, hard negatives": {"side": "query", "dims": None, "loss": "mnr", "hard_negatives": True},
    "batches of one": {"batch_size": 1, "loss": "contrastive", "epochs": 1},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_layer_trains_as_with_autograd_and_adamw(name: str) -> None:
    changes = dict(VARIANTS[name])
    view, train = pairs_view(graded=changes.pop("graded", False))
    trial = config(**({"epochs": 8, "warmup": 0.1} | changes))
    fit = Fit(trial, TrainingVectors(view, train, CPU), train)
    library = LibraryFit(trial, view, pairs_for_loss(trial, train))
    losses, isolated = [], Isolated(trial.seed, CPU)
    with isolated():
        for step, (rows, negatives) in enumerate(zip(fit._batches, fit._negatives, strict=True)):
            losses.append(library.step(rows, negatives, trial.learning_rate * fit._factors[step]).item() * len(rows))
    fit.train_until(1.0)
    assert fit.steps >= 48 and fit._loss == pytest.approx(sum(losses) / sum(map(len, fit._batches)), rel=1e-5)
    for tensor_name, tensor in library.dense.state_dict().items():
        assert torch.allclose(fit.dense.state_dict()[tensor_name], tensor, rtol=0, atol=3e-5), tensor_name


def test_the_state_of_torchs_adamw_is_continued() -> None:
    """Earlier versions kept it in state.pt."""
    view, train = pairs_view()
    trial = config(epochs=2, weight_decay=0.1)
    fit = Fit(trial, TrainingVectors(view, train, CPU), train)
    library = LibraryFit(trial, view, train)
    for step in range(10):
        library.step(fit._batches[step], fit._negatives[step], trial.learning_rate * fit._factors[step])
    kept = {"dense": library.dense.state_dict(), "optimizer": library.optimizer.state_dict()}
    fit.restore({"step": 10, "loss": 0.0, "random": fit._isolated.state} | kept)
    for step in range(10, fit.steps):
        library.step(fit._batches[step], fit._negatives[step], trial.learning_rate * fit._factors[step])
    fit.train_until(1.0)
    for name, tensor in library.dense.state_dict().items():
        assert torch.allclose(fit.dense.state_dict()[name], tensor, rtol=0, atol=3e-5), name
