"""SentenceTransformerTrainer with a frozen base, the usual way to train, set up like a frozen trial.

The base, Dense (same seed), loss, order of batches, epochs, learning rate and schedule are equal. It embeds the texts
of every batch again, on all cores. It ends with Normalize, like an export, which does not change CoSENT's cosine.
"""

import tempfile
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Normalize
from sentence_transformers.base.sampler import DefaultBatchSampler
from transformers import PrinterCallback, TrainerCallback

from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.loading import load_model
from tune.train.dense_module import dense_module
from tune.train.frozen.dense import make_dense
from tune.train.losses import make_loss
from tune.train.schedule import Plan


@dataclass(frozen=True)
class TrainerRun:
    """A trained model and its speed. pairs_per_second: without the first WARM_STEPS steps and without validation."""

    model: SentenceTransformer
    pairs: int
    seconds: float
    pairs_per_second: float


class _PlannedBatches(DefaultBatchSampler):
    """A sampler of the batches of a trial's plan, epoch by epoch."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(torch.utils.data.SequentialSampler(range(len(plan.a))), plan.batch_size, False)
        self._plan = plan

    def __iter__(self) -> Any:
        for batch in self._plan.epoch(self.epoch):
            yield batch.tolist()


class _Clock(TrainerCallback):
    """The times at which steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *given: Any, **named: Any) -> None:
        """Record the time."""
        self.ends.append(time.perf_counter())


WARM_STEPS = 3


def run_trainer(config: TrialConfig, pairs: LabelledPairs) -> TrainerRun:
    """Train `config` (CoSENT, warmuplinear) on the pairs, in a temporary folder."""
    assert (config.loss, config.scheduler) == ("cosent", "warmuplinear")
    base = load_model(config.base_model)
    base.requires_grad_(False).eval()
    dense = dense_module(make_dense(config, base.get_embedding_dimension()))
    model = _StaysFrozen(modules=[*base, dense, Normalize()])
    rows = np.arange(len(pairs))
    plan = Plan(rows, rows, config.batch_size, config.epochs, config.seed)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=config.epochs,
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=config.warmup,
            lr_scheduler_type="linear",
            batch_sampler=lambda dataset, **given: _PlannedBatches(plan),
            eval_strategy="no",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=config.seed,
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(
                {"text_a": pairs.text_a, "text_b": pairs.text_b, "label": [float(value) for value in pairs.label]}
            ),
            loss=make_loss(config.loss, model),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    sizes = [len(batch) for epoch in range(config.epochs) for batch in plan.epoch(epoch)]
    assert len(clock.ends) == len(sizes)
    timed = clock.ends[-1] - clock.ends[WARM_STEPS - 1]
    return TrainerRun(model.eval(), sum(sizes), seconds, sum(sizes[WARM_STEPS:]) / timed)


class _StaysFrozen(SentenceTransformer):
    """A model with all modules but the Dense always in evaluation mode: a frozen base has no dropout either."""

    def train(self, mode: bool = True) -> Self:
        """Switch only the Dense."""
        super().train(False)
        self[-2].train(mode)
        return self


def scores(model: SentenceTransformer, pairs: LabelledPairs) -> NDArray[np.float64]:
    """Return the cosine of each pair, with its texts encoded by the whole model; float64 [pairs]."""
    texts = list(dict.fromkeys(pairs.text_a + pairs.text_b))
    rows = {text: row for row, text in enumerate(texts)}
    vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    a, b = ([rows[text] for text in side] for side in (pairs.text_a, pairs.text_b))
    result: NDArray[np.float64] = (vectors[a] * vectors[b]).sum(1).astype(np.float64)
    return result
