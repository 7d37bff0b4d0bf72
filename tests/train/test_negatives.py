"""Hard negatives of ranking losses, and texts that are both a query and a document."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from tests.helpers.tiny import Prepared, save_tiny_model
from tune.config.space import Space, point_of
from tune.config.trial import TrialConfig, trial_config
from tune.data.sides import LabelledPairs
from tune.embed.prepare import ViewOptions, prepare_base
from tune.embed.sources import load_source
from tune.embed.view import PairRows, View
from tune.train.dense_module import dense_module
from tune.train.frozen.dense import make_dense
from tune.train.frozen.fit import Fit, TrainingVectors
from tune.train.frozen.validation import Validation
from tune.train.negatives import HardNegatives
from tune.train.schedule import Plan
from tune.train.setup import training_device
from tune.train.whole.plan import plan_steps


def pairs(*rows: tuple[int, int, int]) -> PairRows:
    a, b, label = np.array(rows).T
    return PairRows(a, b, label.astype(np.int8))


def negatives(rows: PairRows, batch: PairRows, seed: int = 0, same: np.ndarray | None = None) -> list[int]:
    found = HardNegatives(rows, np.arange(100) if same is None else same, seed)
    return found.over(batch, [np.arange(len(batch))])[0].tolist()


def test_an_anchors_own_negatives_come_first_then_other_texts_labelled_0() -> None:
    rows = pairs((0, 10, 1), (1, 11, 1), (0, 20, 0), (5, 21, 0), (6, 22, 0))
    batch = rows.take(rows.label == 1)
    for seed in range(5):
        own, other = negatives(rows, batch, seed)
        assert own == 20 and other in (21, 22), "one per pair, the anchor's own first"
    assert {negatives(rows, batch, seed)[1] for seed in range(20)} == {21, 22}


def test_an_anchor_in_second_place_has_negatives_too() -> None:
    rows = pairs((0, 10, 1), (20, 0, 0))
    assert negatives(rows, rows.take(np.array([0]))) == [20]


def test_what_belongs_to_an_anchor_of_the_batch_is_no_negative() -> None:
    # 11 belongs to anchor 1; 10 is in the batch; 12 belongs to anchor 0 by another pair.
    rows = pairs((0, 10, 1), (1, 11, 1), (0, 12, 1), (0, 11, 0), (7, 10, 0), (8, 12, 0))
    assert negatives(rows, rows.take(np.array([0, 1]))) == []
    assert negatives(rows, rows.take(np.array([0]))) == [11], "it belongs to no anchor of this batch"


def test_the_same_text_under_another_prompt_is_no_negative() -> None:
    same = np.arange(100)
    same[50] = 10
    rows = pairs((0, 10, 1), (7, 50, 0))
    assert negatives(rows, rows.take(np.array([0]))) == [50]
    assert negatives(rows, rows.take(np.array([0])), same=same) == []


def test_a_text_in_most_pairs_neither_repeats_in_a_batch_nor_stops_the_others() -> None:
    rows = pairs(*((i, 40 + i, 1) for i in range(8)), *((80, 90, 0) for _ in range(30)), (81, 91, 0))
    found = negatives(rows, rows.take(rows.label == 1))
    assert sorted(found) == [90, 91]


def test_a_layer_learns_from_the_third_column_as_sentence_transformers_does(prepared: Prepared) -> None:
    config = prepared.config(loss="mnr", hard_negatives=True, epochs=1, batch_size=16, scheduler="constantlr")
    view, device = prepared.view, training_device()
    fit = Fit(
        config, TrainingVectors(view, view.train, device), view.train, Validation(view, view.val, (None,), device)
    )
    first = fit._batches[0]
    positives = view.train.take(view.train.label == 1).take(first)
    third = HardNegatives(view.train, view.text_rows(), config.seed).over(
        view.train.take(view.train.label == 1), [first]
    )[0]
    assert len(third) == len(first) == 16

    model = SentenceTransformer(modules=[dense_module(make_dense(config, view.vectors.shape[1]))], device="cpu")
    columns = [torch.from_numpy(np.array(view.vectors[rows])) for rows in (positives.a, positives.b, third)]

    def value(columns: list[torch.Tensor]) -> float:
        features = [{"sentence_embedding": column} for column in columns]
        return MultipleNegativesRankingLoss(model)(features, torch.zeros(16)).item()

    fit._train_to(1)
    assert fit._loss == pytest.approx(value(columns), rel=1e-5)
    assert value(columns[:2]) < value(columns)


def test_hard_negatives_are_an_axis_of_ranking_losses_alone() -> None:
    axes = {"base_model": "minilm", "dims": "64", "loss": "mnr,cosent", "learning_rate": "1e-3", "bias": "true"}
    space = Space(**axes, hard_negatives="true,false")
    points = space.grid()
    assert [(point["loss"], point.get("hard_negatives")) for point in points] == [
        ("mnr", True), ("mnr", False), ("cosent", None)
    ]  # fmt: skip
    configs = [trial_config(point, {"seed": 0}) for point in points]
    assert [point_of(config) for config in configs] == points
    assert len({config.digest("data") for config in configs}) == 3
    # Trials of versions without hard negatives keep their directories.
    old = TrialConfig(base_model="minilm", dims=64, loss="mnr", learning_rate=1e-3)
    assert old.digest("data") == configs[1].digest("data")


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A view with two prompts, in which every text is a query in one pair and a document in another."""
    root = tmp_path_factory.mktemp("questions")
    texts = [f"t{number}" for number in range(40)]
    rows = [(texts[i], texts[(i + 1) % 40], 1) for i in range(40)] + [
        (texts[i], texts[(i + 7) % 40], 0) for i in range(40)
    ]
    train = LabelledPairs([a for a, _, _ in rows], [b for _, b, _ in rows], np.array([y for _, _, y in rows], np.int8))
    sides = dict.fromkeys(("train", "val", "test"), train)
    source = load_source(str(save_tiny_model(root / "model", words=texts)))
    base = prepare_base(source, sides, root / "cache", ("query: ", "passage: "), ViewOptions(texts=True))
    return View.open(base.view(root / "cache"))


def test_a_text_is_not_a_query_and_a_document_in_one_batch(questions: View) -> None:
    texts = questions.texts().texts
    assert len(set(texts)) == 40 and len(texts) == 80, "a row per prompt"
    config = TrialConfig(
        base_model=questions.texts().base_model, dims=8, loss="mnr", learning_rate=1e-3, batch_size=16, epochs=2,
        freeze=False, hard_negatives=True,
    )  # fmt: skip
    positives = questions.train.take(questions.train.label == 1)
    batches = [batch for epoch in plan_steps(config, questions, questions.texts()) for step in epoch for batch in step]
    assert sum(map(len, batches)) == 80 and any(len(batch.negatives) for batch in batches)
    for batch in batches:
        rows = [*positives.a[batch.index], *positives.b[batch.index], *batch.negatives]
        used = [texts[row] for row in rows]
        assert len(set(used)) == len(used)
    # Told apart by row alone, batches do hold a text twice.
    apart = Plan(positives.a, positives.b, 16, 1, seed=0, distinct=True).epoch(0)
    assert any(len({texts[row] for row in [*positives.a[i], *positives.b[i]]}) < 2 * len(i) for i in apart)


def test_a_layers_batches_hold_a_text_once(questions: View) -> None:
    device = training_device()
    config = TrialConfig(base_model="x", dims=8, loss="mnr", learning_rate=1e-3, batch_size=16, hard_negatives=True)
    vectors = TrainingVectors(questions, questions.train, device)
    fit = Fit(config, vectors, questions.train, Validation(questions, questions.val, (8,), device))
    texts, positives = questions.texts().texts, questions.train.take(questions.train.label == 1)
    for batch, third in zip(fit._batches, fit._negatives, strict=True):
        used = [texts[row] for row in [*positives.a[batch], *positives.b[batch], *third.tolist()]]
        assert len(set(used)) == len(used)


def test_views_with_one_prompt_keep_their_name(tmp_path: Path) -> None:
    texts = LabelledPairs(["a b", "b c"], ["b c", "a"], np.array([1, 0], np.int8))
    source = load_source(str(save_tiny_model(tmp_path / "model", words=["a", "b", "c"])))
    sides = dict.fromkeys(("train", "val", "test"), texts)
    one = View.open(prepare_base(source, sides, tmp_path, ("", "")).view(tmp_path))
    two = View.open(prepare_base(source, sides, tmp_path, ("q: ", "")).view(tmp_path))
    assert one.same is None and one.text_rows().tolist() == [0, 1, 2]
    assert two.same is not None and two.text_rows().tolist() == [0, 1, 1, 3]
