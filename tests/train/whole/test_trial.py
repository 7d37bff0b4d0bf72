"""Trials that train the base itself: the stream's contract, their numbers, and that they are the trainer's own."""

import dataclasses
import math
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from transformers import PrinterCallback

from tests.helpers.conformance import Place, TestStream, same_numbers
from tests.helpers.tiny import TOPIC_WORDS, Prepared, prepare_topics, save_tiny_bert, save_tiny_model
from tune.config.space import LOSSES
from tune.config.trial import TrialConfig
from tune.embed.sources import load_source
from tune.embed.view import PairRows, View
from tune.metrics.score import roc_auc
from tune.train import directory as directory_module
from tune.train import progress as progress_module
from tune.train.directory import TrialDirectory
from tune.train.local import LocalOpener
from tune.train.schedule import Plan, report_steps
from tune.train.stream import Report, TrialFailed
from tune.train.whole import trial as training_module
from tune.train.whole.looks import Looks, planned_looks
from tune.train.whole.model import build_model, encode_rows, load_whole_model, whole_model_scores
from tune.train.whole.trial import (
    open_whole_trial,
    plan_steps,
    training_loss,
    training_pairs,
    training_rows,
)

__all__ = ["TestStream"]


class Topics:
    """Topic pairs prepared for a base; makes configurations of a second that learn them."""

    def __init__(self, folder: Path, base_model: Path, **prepared: Any) -> None:
        self.prepared: Prepared = prepare_topics(folder, str(base_model), **prepared)
        self.view = self.prepared.view

    def config(self, **changes: Any) -> TrialConfig:
        """A trial of a second that learns."""
        values = {
            "dims": 16, "batch_size": 16, "epochs": 1, "learning_rate": 5e-3, "freeze": False, "eval_pairs": 200,
        }  # fmt: skip
        return self.prepared.config(**(values | changes))

    def run(self, directory: Path, **changes: Any) -> list[Report]:
        """Its reports."""
        return list(open_whole_trial(self.config(**changes), directory, self.view))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As trials have it: equal to the last bit, and small models are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def bert(folder: Path) -> Topics:
    """A tiny BERT."""
    return Topics(folder / "cache", save_tiny_bert(folder / "bert"))


@pytest.fixture(scope="module")
def dropping(folder: Path) -> Topics:
    """A tiny BERT with dropout in its layers, so that random numbers matter."""
    return Topics(folder / "cache", save_tiny_bert(folder / "dropping", dropout=0.1))


@pytest.fixture(scope="module")
def static(folder: Path) -> Topics:
    """Static vectors."""
    return Topics(folder / "cache", save_tiny_model(folder / "static", dims=32, words=TOPIC_WORDS))


@pytest.fixture
def place(static: Topics, tmp_path: Path) -> Place:
    """Static vectors, trained whole."""
    threads = set(threading.enumerate())
    return Place(
        open=LocalOpener({static.prepared.base.name: static.prepared.view_path}),
        config=lambda **changes: static.config(**({"learning_rate": 3e-2, "epochs": 2} | changes)),
        directory=lambda config: tmp_path / config.digest(static.prepared.base.digest),
        idle=lambda: set(threading.enumerate()) == threads,
    )


def reproduced(topics: Topics, directory: Path, config: TrialConfig, dims: int | None = None) -> float:
    """AUC of the model that is read back, on the pairs that reports look at."""
    model = load_whole_model(config, directory / "best.safetensors", config.base_model, None)
    pairs = training_pairs(config, topics.view.train)
    val = topics.view.val.take(planned_looks(topics.view.val, config, len(pairs) * config.epochs).places)
    [scores] = whole_model_scores(model, topics.view.texts(), val, [dims]).values()
    return roc_auc(scores, val.label)


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("dims", [16, None])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_and_its_model_can_be_read_back(
    bert: Topics, tmp_path: Path, loss: str, dims: int | None, train: str
) -> None:
    changes = {"learning_rate": 2e-2, "train_size": 480} if train == "lora" else {"learning_rate": 1e-2}
    changes |= {"epochs": 2} if loss == "mnr" else {}
    values = {"loss": loss, "dims": dims, "train": train, "train_size": 320, "eval_pairs": 100}
    config = bert.config(**(values | changes))
    reports = list(open_whole_trial(config, tmp_path, bert.view))
    assert reports[-1].budget == 1.0 and all(report.val_pairs == 100 for report in reports)
    assert reports[-1].best_auc > reports[0].auc + 0.02
    assert reproduced(bert, tmp_path, config) == pytest.approx(reports[-1].best_auc, abs=1e-6)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".lock", "trial.json", "reports.jsonl", "best.safetensors", "done"}


def test_nothing_is_printed_and_no_thread_is_left(
    bert: Topics, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = set(threading.enumerate())
    stream = open_whole_trial(bert.config(), tmp_path, bert.view)
    next(stream)
    stream.close()
    assert set(threading.enumerate()) == threads
    assert capfd.readouterr() == ("", "")


class _Planned(DefaultBatchSampler):
    """The batches of a trial, epoch by epoch."""

    batches: list[list[np.ndarray]]

    def __init__(self, dataset: Dataset, batch_size: int, drop_last: bool, **given: Any) -> None:
        super().__init__(torch.utils.data.SequentialSampler(range(len(dataset))), batch_size, drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches[self.epoch]:
            yield batch.tolist()

    def __len__(self) -> int:
        return len(self.batches[self.epoch])


SCHEDULES = {
    "warmuplinear": ("linear", {}),
    "warmupcosine": ("cosine", {}),
    "warmupcosinewithhardrestarts": ("cosine_with_restarts", {"num_cycles": 2}),
}


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "cosent", "scheduler": "warmuplinear", "warmup": 0.2, "weight_decay": 0.1, "dropout": 0.1},
        {"loss": "mnr", "scheduler": "warmupcosine", "accumulation": 3, "dims": None},
        {"loss": "contrastive", "scheduler": "warmupcosinewithhardrestarts", "warmup": 5.0, "train": "lora"},
    ],
    ids=lambda changes: changes["loss"],
)
def test_a_trial_is_what_train_of_the_trainer_gives(dropping: Topics, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = dropping.config(epochs=2, **changes)
    reports = list(open_whole_trial(config, tmp_path, dropping.view))

    texts, pairs = dropping.view.texts(), training_pairs(config, dropping.view.train)
    model = build_model(config, config.base_model, None)
    kind, extra = SCHEDULES[config.scheduler]
    epochs = [[batch for step in epoch for batch in step] for epoch in plan_steps(config, pairs, texts)]
    sampler = type("Sampler", (_Planned,), {"batches": epochs})
    rows = training_rows(config, texts, pairs, np.arange(len(pairs)))
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / "trainer"),
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulation,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=config.warmup,
            lr_scheduler_type=kind,
            lr_scheduler_kwargs=extra,
            batch_sampler=sampler,
            save_strategy="no",
            logging_strategy="no",
            seed=config.seed,
            disable_tqdm=True,
            report_to="none",
        ),
        train_dataset=Dataset.from_list(rows),
        loss=training_loss(config, model),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    [scores] = whole_model_scores(model, texts, dropping.view.val).values()
    auc = roc_auc(scores, dropping.view.val.label)
    assert reports[-1].auc == pytest.approx(auc, abs=1e-4), "equal to the last bit, also with dropout, on one thread"
    assert auc > reports[0].auc + 0.02, "the trial must have learned something"


def test_matryoshka_judges_every_dims(bert: Topics, tmp_path: Path) -> None:
    for name, changes in {
        "dense": {"matryoshka": (4, 8)},
        "own": {"matryoshka": (8,), "dims": None, "loss": "mnr", "chunk_size": 4},
    }.items():
        config = bert.config(epochs=2, **changes)
        reports = list(open_whole_trial(config, tmp_path / name, bert.view))
        expected = [*config.matryoshka, config.dims or 32]
        assert all(list(report.auc_by_dims) == [str(dims) for dims in expected] for report in reports)
        assert all(report.auc == report.auc_by_dims[str(expected[0])] for report in reports)
        assert reports[-1].best_auc > reports[0].auc + 0.02
        auc = reproduced(bert, tmp_path / name, config, expected[0])
        assert auc == pytest.approx(reports[-1].best_auc, abs=1e-6)
    with pytest.raises(TrialFailed, match="smaller"):
        bert.run(tmp_path / "large", matryoshka=(64,), dims=None)


def test_less_memory_costs_no_numbers(bert: Topics, tmp_path: Path) -> None:
    """Activations computed again, and chunks through the model, are the same gradients."""
    plain = bert.run(tmp_path / "plain", loss="mnr")
    for name, changes in {"checkpointing": {"checkpointing": True}, "chunks": {"chunk_size": 4}}.items():
        reports = bert.run(tmp_path / name, loss="mnr", **changes)
        assert [r.auc for r in reports] == pytest.approx([r.auc for r in plain], abs=2e-3), name
        assert [r.loss for r in reports] == pytest.approx([r.loss for r in plain], rel=1e-3), name


def test_accumulated_batches_are_one_step(bert: Topics, tmp_path: Path) -> None:
    """32 batches of 15 in threes: 11 steps. Budgets count pairs."""
    reports = bert.run(tmp_path, batch_size=15, accumulation=3)
    assert len(reports) == 11 and reports[0].budget == pytest.approx(45 / 480) and reports[-1].budget == 1.0


def test_static_vectors_are_trained_too(static: Topics, tmp_path: Path) -> None:
    config = static.config(dims=None, dropout=0.1, learning_rate=3e-2, checkpointing=True)
    reports = list(open_whole_trial(config, tmp_path, static.view))
    assert reports[-1].best_auc > reports[0].auc + 0.02
    assert reproduced(static, tmp_path, config) == pytest.approx(reports[-1].best_auc, abs=1e-6)
    model = load_whole_model(config, tmp_path / "best.safetensors", config.base_model, None)
    assert [type(module).__name__ for module in model] == ["StaticEmbedding"] and not model.training


def test_prompts_are_those_of_the_view(folder: Path, tmp_path: Path) -> None:
    base = folder / "bert" / "model"
    topics = Topics(folder / "prompted", base, prompts=("t0w0 t1w1: ", ""))
    texts, source = topics.view.texts(), load_source(str(base))
    rows = np.array([0, 5, len(texts.texts) - 1, 1])
    expected = [source.embed([texts.texts[row]], texts.prompts[texts.prompt_of[row]])[0] for row in rows]
    assert {texts.prompt_of[row] for row in rows} == {0, 1}
    np.testing.assert_allclose(encode_rows(source.model, texts, rows), expected, atol=1e-6)
    np.testing.assert_allclose(topics.view.vectors[rows], expected, atol=1e-6)
    config = topics.config()
    reports = list(open_whole_trial(config, tmp_path, topics.view))
    assert reproduced(topics, tmp_path, config) == pytest.approx(reports[-1].best_auc, abs=1e-6)


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("kept", [True, False], ids=["with-state", "without-state"])
def test_a_trial_goes_on_to_the_same_numbers(
    dropping: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, train: str
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0 if kept else 1e9)
    monkeypatch.setattr(progress_module, "STATE_SHARE", 1.0)
    config = dropping.config(dropout=0.1, train=train)
    expected = list(open_whole_trial(config, tmp_path / "whole", dropping.view))
    directory = tmp_path / "parts"
    stream = open_whole_trial(config, directory, dropping.view)
    seen = [next(stream) for _ in range(6)]
    stream.close()
    assert (directory / "state.pt").exists() == kept
    steps = _count_steps(monkeypatch)
    disturbed = []
    for report in open_whole_trial(config, directory, dropping.view):
        disturbed.append(report)
        torch.manual_seed(report.number)
        np.random.rand(3)
    assert disturbed[:6] == seen
    for one, other in zip(disturbed, expected, strict=True):
        for name, value in same_numbers(one).items():
            expected_value = same_numbers(other)[name]
            assert value == (pytest.approx(expected_value, abs=1e-6) if isinstance(value, float) else expected_value)
    # 30 steps; report 6 comes after the 12th.
    assert len(steps) == (18 if kept else 30)
    assert not (directory / "state.pt").exists()
    weights = [
        load_whole_model(config, tmp_path / name / "best.safetensors", config.base_model, None).state_dict()
        for name in ("whole", "parts")
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kept", [True, False], ids=["with-state", "without-state"])
def test_a_trial_that_an_earlier_version_planned_otherwise_starts_over(
    static: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0 if kept else 1e9)
    monkeypatch.setattr(progress_module, "STATE_SHARE", 1.0)
    config = static.config(eval_pairs=None, epochs=4)
    expected = [same_numbers(report) for report in open_whole_trial(config, tmp_path / "whole", static.view)]
    with monkeypatch.context() as patched:
        before = Looks(tuple(range(1, 17)), np.arange(100))
        patched.setattr(training_module, "planned_looks", lambda *given: before)
        stream = open_whole_trial(config, tmp_path / "parts", static.view)
        for _ in range(12):
            next(stream)
        stream.close()
    assert [same_numbers(report) for report in open_whole_trial(config, tmp_path / "parts", static.view)] == expected
    assert (tmp_path / "parts" / "done").exists()


def test_a_step_that_passes_several_marks_has_one_report() -> None:
    assert report_steps([1, 1, 1], (1, 4, 16)) == {1: 1 / 3, 3: 1.0}
    assert report_steps([5], (1, 4, 16)) == {1: 1.0}
    assert list(report_steps([1] * 32, (1, 4, 16))) == [2, 8, 32]


def _count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    step = training_module._Learner.step

    def counted(self: Any, *given: Any) -> torch.Tensor:
        steps.append(1)
        return step(self, *given)

    monkeypatch.setattr(training_module._Learner, "step", counted)
    return steps


@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_what_is_raised_within_a_step_ends_the_trial_for_now(
    static: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """An interrupt or a cancelled call; memory that is free again later."""
    threads, count = set(threading.enumerate()), torch.get_num_threads()
    expected = [same_numbers(report) for report in static.run(tmp_path / "whole")]
    with monkeypatch.context() as patched:
        step = training_module._Learner.step
        left = iter([True] * 7)

        def broken(self: Any, *given: Any) -> torch.Tensor:
            if not next(left, False):
                raise error("now")
            return step(self, *given)

        patched.setattr(training_module._Learner, "step", broken)
        with pytest.raises(error):
            static.run(tmp_path / "parts")
    assert set(threading.enumerate()) == threads and torch.get_num_threads() == count
    assert len(TrialDirectory(tmp_path / "parts").reports()) == 3
    assert not (tmp_path / "parts" / "failed.json").exists()
    assert [same_numbers(report) for report in static.run(tmp_path / "parts")] == expected


def test_the_state_of_a_large_model_is_written_seldom(
    static: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    monkeypatch.setattr(progress_module, "_BYTES_PER_SECOND", 1.0)
    stream = open_whole_trial(static.config(), tmp_path, static.view)
    for _ in range(8):
        next(stream)
    stream.close()
    assert not (tmp_path / "state.pt").exists(), "it would take longer than the trial"


def test_no_positives_for_a_ranking_loss_is_a_reason(static: Topics, tmp_path: Path) -> None:
    train = static.view.train
    none = View(static.view.vectors, train.take(train.label == 0), static.view.val, "none", static.view.directory)
    with pytest.raises(TrialFailed, match="positive"):
        list(open_whole_trial(static.config(loss="mnr"), tmp_path, none))


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_with_nothing_to_learn_are_taken(static: Topics, tmp_path: Path, loss: str) -> None:
    """One pair a batch: no other class, no in-batch negative, no hard pair."""
    assert static.run(tmp_path, loss=loss, batch_size=1, train_size=20)[-1].budget == 1.0


def looks(eval_pairs: int | None, planned: int, seed: int = 0, val: int = 5000, train: str = "full") -> Looks:
    """Of a trial over `planned` pairs. One pair in a thousand of val is positive."""
    rows = np.arange(val)
    config = TrialConfig(
        base_model="x", dims=None, loss="cosent", learning_rate=1, eval_pairs=eval_pairs, seed=seed, train=train
    )
    return planned_looks(PairRows(rows, rows, (rows % 1000 == 7).astype(np.int8)), config, planned)


def test_validation_looks_at_a_prefix_of_one_order_with_both_classes() -> None:
    assert [len(looks(asked, 9).places) for asked in (0, 4500)] == [5000, 4500], "as it was asked for"
    least = looks(1, 9)
    assert set(least.places % 1000 == 7) == {True, False}, "extended until both classes are there"
    assert (looks(3000, 9).places[: len(least.places)] == least.places).all()
    assert (looks(0, 9, seed=1).places[:9] != least.places[:9]).any()
    assert len(least.marks) == 16, "as often as any trial"


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("val", [200, 5000])
def test_looks_stay_a_small_share_of_trials_of_any_length(train: str, val: int) -> None:
    """In forward passes, of which training a pair costs three, or two with LoRA."""
    counts = []
    for planned in (10_000, 20_000, 30_000, 60_000, 300_000, 3_000_000):
        found = looks(None, planned, val=val, train=train)
        passes = len(found.marks) * len(found.places)
        assert passes / (passes + planned * (3 if train == "full" else 2)) < 0.15
        assert len(found.places) <= min(val, 4000) and len(found.places) >= min(val, 500)
        assert {1, 4, 16} <= set(found.marks), "the rungs of asha"
        counts.append(len(found.marks))
    assert counts == sorted(counts) and counts[-1] == 16
    short = looks(None, 300, val=val, train=train)
    assert short.marks == (16,) and len(short.places) >= 200, "a look at too few pairs is worth nothing"
    assert looks(None, 2500, train=train).marks == (1, 4, 16)


def test_a_short_trial_reports_less_often(bert: Topics, tmp_path: Path) -> None:
    """2 epochs of 480 pairs pay for 430 passes over pairs, so for one look at all of val; 8 epochs for more."""
    val = len(bert.view.val)
    reports = bert.run(tmp_path / "short", eval_pairs=None, epochs=2)
    assert [report.budget for report in reports] == [1.0] and reports[0].val_pairs == val
    reports = bert.run(tmp_path / "longer", eval_pairs=None, epochs=8)
    assert [report.number for report in reports] == list(range(1, len(reports) + 1))
    assert [report.budget for report in reports] == pytest.approx([k / 16 for k in (1, 4, 8, 12, 16)], abs=0.01)
    assert [report.sixteenth for report in reports] == [1, 4, 8, 12, 16]
    config = bert.config(eval_pairs=None, epochs=8)
    assert reproduced(bert, tmp_path / "longer", config) == pytest.approx(reports[-1].best_auc, abs=1e-6)


def test_pairs_of_a_batch_are_of_similar_length() -> None:
    generator = np.random.default_rng(0)
    a, b, lengths = (
        generator.integers(0, 900, 3000),
        generator.integers(900, 1800, 3000),
        generator.integers(1, 500, 3000),
    )
    plain = Plan(a, b, 16, 2, seed=1)
    plan = Plan(a, b, 16, 2, seed=1, lengths=lengths)
    batches = plan.epoch(0)
    assert sorted(np.concatenate(batches)) == list(range(3000)) and len(batches) == len(plain.epoch(0))
    spread = [np.mean([np.ptp(lengths[batch]) for batch in one.epoch(0)]) for one in (plan, plain)]
    assert spread[0] < spread[1] / 10
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.25, "short and long batches come in random order"
    assert [list(batch) for batch in batches] == [list(batch) for batch in plan.epoch(0)]
    assert [list(batch) for batch in batches] != [list(batch) for batch in plan.epoch(1)]
    for batch in Plan(a, b, 16, 2, seed=1, distinct=True, lengths=lengths).epoch(0):
        texts = [*a[batch], *b[batch]]
        assert len(set(texts)) == len(texts)


@pytest.mark.slow
def test_minilm_is_trained_for_some_steps(tmp_path: Path) -> None:
    topics = Topics(tmp_path / "cache", Path("minilm"))
    for train, rate in (("full", 1e-4), ("lora", 1e-3)):
        config = topics.config(dims=64, train=train, learning_rate=rate, train_size=128, batch_size=16, eval_pairs=60)
        reports = list(open_whole_trial(config, tmp_path / train, topics.view))
        assert len(reports) == 8 and reports[-1].best_auc > reports[0].auc
        assert reproduced(topics, tmp_path / train, config) == pytest.approx(reports[-1].best_auc, abs=1e-5)


def assert_bf16(topics: Topics, directory: Path, train: str) -> None:
    """Trained and reported in bf16; weights, and the model that is read back, are fp32."""
    config = topics.config(epochs=2, train=train, learning_rate=2e-2 if train == "lora" else 5e-3)
    reports = list(open_whole_trial(config, directory, topics.view))
    assert training_module.training_arguments(config, tempfile.gettempdir()).bf16
    assert reports[-1].best_auc > reports[0].auc + 0.02 and math.isfinite(reports[-1].loss)
    exact = reproduced(topics, directory, config)
    assert exact == pytest.approx(reports[-1].best_auc, abs=5e-3) and exact != reports[-1].best_auc
    model = load_whole_model(config, directory / "best.safetensors", config.base_model, None)
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("train", ["full", "lora"])
def test_bf16_is_a_matter_of_training_alone(
    bert: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: str
) -> None:
    """On a CPU that is told to use it; only a GPU does so by itself."""
    plain = training_module.training_arguments

    def with_bf16(config: TrialConfig, directory: str) -> SentenceTransformerTrainingArguments:
        return dataclasses.replace(plain(config, directory), bf16=True, use_cpu=True)

    monkeypatch.setattr(training_module, "training_arguments", with_bf16)
    assert_bf16(bert, tmp_path, train)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("train", ["full", "lora"])
def test_a_gpu_trains_in_bf16(bert: Topics, tmp_path: Path, train: str) -> None:
    assert_bf16(bert, tmp_path, train)


def test_chunks_are_of_no_use_to_static_vectors_and_change_nothing(static: Topics, tmp_path: Path) -> None:
    plain = static.config(loss="mnr", train_size=128, epochs=1, batch_size=32)
    chunked = static.config(loss="mnr", train_size=128, epochs=1, batch_size=32, chunk_size=4)
    aucs = [
        [report.auc for report in open_whole_trial(config, tmp_path / str(config.chunk_size), static.view)]
        for config in (plain, chunked)
    ]
    assert aucs[0] == aucs[1]
