"""Trials that train the base: the contract of an opener, their numbers, and that they match the trainer's `train()`."""

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
from tests.helpers.whole_trials import Topics
from tune.config.space import LOSSES
from tune.config.trial import TrialConfig
from tune.embed.view import View, write_sample
from tune.metrics.score import roc_auc
from tune.train import directory as directory_module
from tune.train import progress as progress_module
from tune.train.directory import TrialDirectory
from tune.train.local import LocalOpener
from tune.train.stream import TrialFailed
from tune.train.whole import trial as trial_module
from tune.train.whole.model import build_model, load_whole_model, whole_model_scores
from tune.train.whole.plan import plan_steps, training_pairs
from tune.train.whole.trial import NEGATIVE, open_whole_trial, training_loss, training_rows

__all__ = ["TestStream"]


@pytest.fixture
def place(static: Topics, tmp_path: Path) -> Place:
    """Trials in this process that train static vectors."""
    threads = set(threading.enumerate())
    return Place(
        open=LocalOpener({static.prepared.base.name: static.prepared.view_path}),
        config=lambda **changes: static.config(**({"learning_rate": 3e-2, "epochs": 2} | changes)),
        directory=lambda config: tmp_path / config.digest(static.prepared.base.digest),
        idle=lambda: set(threading.enumerate()) == threads,
    )


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("dims", [16, None])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_and_its_model_can_be_loaded(
    bert: Topics, tmp_path: Path, loss: str, dims: int | None, train: str
) -> None:
    changes = {"learning_rate": 2e-2, "train_size": 480} if train == "lora" else {"learning_rate": 1e-2}
    changes |= {"epochs": 2} if loss == "mnr" else {}
    sample = write_sample(bert.prepared.view_path, np.random.default_rng([0, 200]).permutation(200)[:100])
    values = {"loss": loss, "dims": dims, "train": train, "train_size": 320, "eval_pairs": 100, "val_sample": sample}
    config = bert.config(**(values | changes))
    reports = list(open_whole_trial(config, tmp_path, bert.view))
    assert reports[-1].budget == 1.0 and all(report.val_pairs == 100 for report in reports)
    assert reports[-1].best_auc > reports[0].auc + 0.02
    assert bert.loaded_auc(tmp_path, config) == pytest.approx(reports[-1].best_auc, abs=1e-6)
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
    """A sampler of a trial's batches, epoch by epoch."""

    batches: list[list[list[int]]]

    def __init__(self, dataset: Dataset, batch_size: int, drop_last: bool, **given: Any) -> None:
        super().__init__(torch.utils.data.SequentialSampler(range(len(dataset))), batch_size, drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches[self.epoch]

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
        {"loss": "mnr", "scheduler": "warmuplinear", "hard_negatives": True},
        {"loss": "contrastive", "scheduler": "warmupcosinewithhardrestarts", "warmup": 5.0, "train": "lora"},
    ],
    ids=lambda changes: changes["loss"] + ("-hard" if "hard_negatives" in changes else ""),
)
def test_a_trial_matches_the_trainers_train(dropping: Topics, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = dropping.config(epochs=2, **changes)
    reports = list(open_whole_trial(config, tmp_path, dropping.view))

    texts, pairs = dropping.view.texts(), training_pairs(config, dropping.view.train)
    model = build_model(config, config.base_model, None)
    kind, extra = SCHEDULES[config.scheduler]
    rows: list[dict[str, Any]] = []
    epochs: list[list[list[int]]] = []
    for epoch in plan_steps(config, dropping.view, texts):
        epochs.append([])
        for batch in (batch for step in epoch for batch in step):
            epochs[-1].append(list(range(len(rows), len(rows) + len(batch))))
            chosen = training_rows(config, texts, pairs, batch.index)
            if config.hard_negatives:
                # The trainer needs a negative in every row; with more pairs labelled 0 than 1 there is one.
                negatives = [texts.texts[row] for row in batch.negatives]
                chosen = [{**row, NEGATIVE: text} for row, text in zip(chosen, negatives, strict=True)]
            rows += chosen
    sampler = type("Sampler", (_Planned,), {"batches": epochs})
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
    assert reports[-1].auc == pytest.approx(auc, abs=1e-4), "equal to the last bit on one thread, even with dropout"
    assert auc > reports[0].auc + 0.02, "the trial must have learned something"


def test_matryoshka_scores_every_dims(bert: Topics, tmp_path: Path) -> None:
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
        auc = bert.loaded_auc(tmp_path / name, config, expected[0])
        assert auc == pytest.approx(reports[-1].best_auc, abs=1e-6)
    with pytest.raises(TrialFailed, match="smaller"):
        bert.run(tmp_path / "large", matryoshka=(64,), dims=None)


def test_saving_memory_changes_no_numbers(bert: Topics, tmp_path: Path) -> None:
    """Recomputed activations and chunked batches give the same gradients."""
    plain = bert.run(tmp_path / "plain", loss="mnr")
    for name, changes in {"checkpointing": {"checkpointing": True}, "chunks": {"chunk_size": 4}}.items():
        reports = bert.run(tmp_path / name, loss="mnr", **changes)
        assert [r.auc for r in reports] == pytest.approx([r.auc for r in plain], abs=2e-3), name
        assert [r.loss for r in reports] == pytest.approx([r.loss for r in plain], rel=1e-3), name


def test_accumulated_batches_are_one_step(bert: Topics, tmp_path: Path) -> None:
    """32 batches of 15 in threes: 11 steps. Budgets count pairs."""
    reports = bert.run(tmp_path, batch_size=15, accumulation=3)
    assert len(reports) == 11 and reports[0].budget == pytest.approx(45 / 480) and reports[-1].budget == 1.0


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("kept", [True, False], ids=["with-state", "without-state"])
def test_a_resumed_trial_ends_with_the_same_numbers(
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
def test_a_trial_planned_differently_by_an_earlier_version_starts_over(
    static: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0 if kept else 1e9)
    monkeypatch.setattr(progress_module, "STATE_SHARE", 1.0)
    config = static.config(eval_pairs=None, epochs=4)
    expected = [same_numbers(report) for report in open_whole_trial(config, tmp_path / "whole", static.view)]
    with monkeypatch.context() as patched:
        patched.setattr(View, "sample_index", lambda view, name: np.arange(100))
        stream = open_whole_trial(config, tmp_path / "parts", static.view)
        for _ in range(12):
            next(stream)
        stream.close()
    assert [same_numbers(report) for report in open_whole_trial(config, tmp_path / "parts", static.view)] == expected
    assert (tmp_path / "parts" / "done").exists()


def _count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps: list[int] = []
    step = trial_module._Learner.step

    def counted(self: Any, *given: Any) -> torch.Tensor:
        steps.append(1)
        return step(self, *given)

    monkeypatch.setattr(trial_module._Learner, "step", counted)
    return steps


@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_an_exception_within_a_step_leaves_the_trial_resumable(
    static: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """An interrupt, a cancelled call, or a lack of memory that may be free later."""
    threads, count = set(threading.enumerate()), torch.get_num_threads()
    expected = [same_numbers(report) for report in static.run(tmp_path / "whole")]
    with monkeypatch.context() as patched:
        step = trial_module._Learner.step
        left = iter([True] * 7)

        def broken(self: Any, *given: Any) -> torch.Tensor:
            if not next(left, False):
                raise error("now")
            return step(self, *given)

        patched.setattr(trial_module._Learner, "step", broken)
        with pytest.raises(error):
            static.run(tmp_path / "parts")
    assert set(threading.enumerate()) == threads and torch.get_num_threads() == count
    assert len(TrialDirectory(tmp_path / "parts").reports()) == 3
    assert not (tmp_path / "parts" / "failed.json").exists()
    assert [same_numbers(report) for report in static.run(tmp_path / "parts")] == expected


def test_the_state_of_a_large_model_is_written_rarely(
    static: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "STATE_SECONDS", 0.0)
    monkeypatch.setattr(progress_module, "_BYTES_PER_SECOND", 1.0)
    stream = open_whole_trial(static.config(), tmp_path, static.view)
    for _ in range(8):
        next(stream)
    stream.close()
    assert not (tmp_path / "state.pt").exists(), "it would take longer than the trial"


def test_a_ranking_loss_without_positives_fails_with_a_reason(static: Topics, tmp_path: Path) -> None:
    train = static.view.train
    none = View(static.view.vectors, train.take(train.label == 0), static.view.val, "none", static.view.directory)
    with pytest.raises(TrialFailed, match="positive"):
        list(open_whole_trial(static.config(loss="mnr"), tmp_path, none))


@pytest.mark.parametrize("loss", LOSSES)
def test_batches_with_nothing_to_learn_are_accepted(static: Topics, tmp_path: Path, loss: str) -> None:
    """One pair per batch: no other class, no in-batch negative, no hard pair."""
    assert static.run(tmp_path, loss=loss, batch_size=1, train_size=20)[-1].budget == 1.0


@pytest.mark.slow
def test_minilm_trains_for_a_few_steps(tmp_path: Path) -> None:
    topics = Topics(tmp_path / "cache", Path("minilm"))
    for train, rate in (("full", 1e-4), ("lora", 1e-3)):
        config = topics.config(dims=64, train=train, learning_rate=rate, train_size=128, batch_size=16, eval_pairs=60)
        reports = list(open_whole_trial(config, tmp_path / train, topics.view))
        assert len(reports) == 8 and reports[-1].best_auc > reports[0].auc
        assert topics.loaded_auc(tmp_path / train, config) == pytest.approx(reports[-1].best_auc, abs=1e-5)


def assert_bf16(topics: Topics, directory: Path, train: str) -> None:
    """Check that training and reports use bf16, and that the weights and the loaded model are fp32."""
    config = topics.config(epochs=2, train=train, learning_rate=2e-2 if train == "lora" else 5e-3)
    reports = list(open_whole_trial(config, directory, topics.view))
    assert trial_module.training_arguments(config, tempfile.gettempdir()).bf16
    assert reports[-1].best_auc > reports[0].auc + 0.02 and math.isfinite(reports[-1].loss)
    exact = topics.loaded_auc(directory, config)
    assert exact == pytest.approx(reports[-1].best_auc, abs=5e-3) and exact != reports[-1].best_auc
    model = load_whole_model(config, directory / "best.safetensors", config.base_model, None)
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("train", ["full", "lora"])
def test_bf16_affects_only_training(bert: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: str) -> None:
    """On a CPU with bf16 forced; only a GPU uses it by default."""
    plain = trial_module.training_arguments

    def with_bf16(config: TrialConfig, directory: str) -> SentenceTransformerTrainingArguments:
        return dataclasses.replace(plain(config, directory), bf16=True, use_cpu=True)

    monkeypatch.setattr(trial_module, "training_arguments", with_bf16)
    assert_bf16(bert, tmp_path, train)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("train", ["full", "lora"])
def test_a_gpu_trains_in_bf16(bert: Topics, tmp_path: Path, train: str) -> None:
    assert_bf16(bert, tmp_path, train)


def test_chunks_do_not_change_static_vectors(static: Topics, tmp_path: Path) -> None:
    plain = static.config(loss="mnr", train_size=128, epochs=1, batch_size=32)
    chunked = static.config(loss="mnr", train_size=128, epochs=1, batch_size=32, chunk_size=4)
    aucs = [
        [report.auc for report in open_whole_trial(config, tmp_path / str(config.chunk_size), static.view)]
        for config in (plain, chunked)
    ]
    assert aucs[0] == aucs[1]
