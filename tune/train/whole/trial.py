"""A trial that trains its base model, with SentenceTransformerTrainer's own steps between two reports.

The trainer sets up the loss, optimizer, collation, precision and gradient accumulation, and its `training_step` does
forward and backward. The loop is here instead of in `train()` because a trial is a generator: it runs only inside
`next()`, so closing it, or an interrupt, ends it at once and leaves no thread behind, and it resumes from any step
without the trainer's checkpoint folders. A test checks that it matches `train()`.

Numbers depend only on configuration, seed, data and device type; on a GPU, up to the order in which some kernels sum.
"""

import contextlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer import losses as st_losses
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import PreTrainedModel

from tune.config.trial import TrialConfig
from tune.embed.routes import encoding
from tune.embed.view import PairRows, View, ViewTexts
from tune.metrics.score import fit_accuracy_threshold, roc_auc
from tune.train.directory import TrialDirectory
from tune.train.losses import LOSS_KINDS, make_loss
from tune.train.progress import Progress
from tune.train.random_state import Isolated
from tune.train.session import open_trial_directory
from tune.train.setup import MAX_GRADIENT_NORM, labels_for, loss_diverged, training_device, weights_diverged
from tune.train.stream import Reports, TrialFailed
from tune.train.whole.lora import merged
from tune.train.whole.memory import halves, out_of_memory
from tune.train.whole.model import build_model, trained_weights, whole_model_scores
from tune.train.whole.plan import Batch, Step, WholePlan, step_size, whole_plan

NEGATIVE = "text_negative"
"""The name of the third column."""


def open_whole_trial(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """Yield the reports of a trial that trains its base; see `TrialOpener`. The view must hold its texts."""
    return open_trial_directory(config, directory, after, lambda trial: _train_whole(config, trial, view))


def _train_whole(config: TrialConfig, trial: TrialDirectory, view: View) -> Reports:
    """Yield all reports: first those kept on disk, then new ones."""
    began = time.perf_counter()
    texts = view.texts()
    plan = whole_plan(config, view, texts)
    isolated = Isolated(config.seed, training_device())
    with isolated():
        learner = _Learner(config, trial, texts, plan.pairs, isolated)
    with contextlib.closing(learner):
        _discard_if_replanned(trial, plan)
        run = Progress(trial, learner)
        kept = run.resume()
        yield from kept
        if kept and kept[-1].last:
            trial.finish()
            return
        while run.step < len(plan.steps):
            with isolated():
                trained = _train_to_report(learner, plan, run)
                scored = learner.score(plan.val)
            took = time.perf_counter() - began
            about = {"val_pairs": len(plan.val), "halved": learner.halved}
            report = run.report(budget=plan.due[run.step], took=took, **about, **trained, **scored)
            began = time.perf_counter()
            if report is not None:
                yield report
                began = time.perf_counter()


def _train_to_report(learner: "_Learner", plan: WholePlan, run: Progress) -> dict[str, float]:
    """Train up to the next step that ends in a report; return its loss and pairs_per_second.

    Raises TrialFailed if the loss is not finite.
    """
    loss_sum, pairs, began = torch.zeros((), device=training_device()), 0, time.perf_counter()
    while True:
        if run.step in plan.epoch_starts:
            # A DataLoader draws its seed here; with this draw, dropout is the same as under `train()`.
            torch.empty((), dtype=torch.int64).random_()
        loss_sum += learner.step(plan.steps[run.step], plan.rates[run.step])
        pairs += step_size(plan.steps[run.step])
        run.step += 1
        if run.step in plan.due:
            break
    loss = float(loss_sum) / pairs
    seconds = time.perf_counter() - began
    if not math.isfinite(loss):
        raise loss_diverged(loss, run.step, len(plan.steps))
    return {"loss": loss, "pairs_per_second": pairs / max(seconds, 1e-9)}


def _discard_if_replanned(trial: TrialDirectory, plan: WholePlan) -> None:
    """Restart a trial whose reports an earlier version placed at other steps or scored on other val pairs."""
    kept = trial.reports()
    planned = [(budget, len(plan.val)) for budget in plan.due.values()]
    if [(report.budget, report.val_pairs) for report in kept] != planned[: len(kept)]:
        trial.keep_reports([])
        trial.state.unlink(missing_ok=True)


class _Trainer(SentenceTransformerTrainer):
    """A trainer without a model card, which would look up its data on the hub."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no callback."""

    def compute_loss(self, *given: Any, **named: Any) -> Any:
        """Compute the loss; one that depends on no weight (a batch with nothing to learn) gets a zero gradient."""
        loss: Any = super().compute_loss(*given, **named)
        return loss if loss.requires_grad else loss + torch.zeros((), device=loss.device, requires_grad=True)


def training_arguments(config: TrialConfig, directory: str) -> SentenceTransformerTrainingArguments:
    """Return the arguments of a trainer that writes nothing; batches and learning rates come from the plan."""
    return SentenceTransformerTrainingArguments(
        output_dir=directory,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=MAX_GRADIENT_NORM,
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False),
        activation_checkpointing=config.checkpointing,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        seed=config.seed,
    )


def training_loss(config: TrialConfig, model: SentenceTransformer) -> torch.nn.Module:
    """Return the loss over `model`, in chunks and at several dims if configured.

    Raises TrialFailed if the Matryoshka dims are not smaller than the model's own.
    """
    dims: list[int] = []
    if config.matryoshka:
        own = model.get_embedding_dimension()
        assert own is not None
        if config.matryoshka[-1] >= own:
            raise TrialFailed(f"matryoshka dims {config.matryoshka[-1]} must be smaller than the model's own {own}")
        dims = [own, *reversed(config.matryoshka)]
    # Static vectors have no activations for chunks to save, and the chunked loss does not support them.
    static = any(isinstance(module, StaticEmbedding) for module in model.modules())
    if static or config.loss != "mnr" or not 0 < config.chunk_size < config.batch_size:
        return make_loss(config.loss, model, dims)
    loss = st_losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=config.chunk_size)
    return st_losses.MatryoshkaLoss(model, loss, dims) if dims else loss


def training_rows(
    config: TrialConfig, texts: ViewTexts, pairs: PairRows, index: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return these pairs as the trainer's collator expects them, with labels in the loss's type."""
    number = float if LOSS_KINDS[config.loss].labels.is_floating_point else int
    labels = labels_for(config.loss, pairs)[index]
    chosen = zip(pairs.a[index].tolist(), pairs.b[index].tolist(), labels.tolist(), strict=True)
    return [{"text_a": texts.texts[a], "text_b": texts.texts[b], "label": number(label)} for a, b, label in chosen]


@dataclass
class _Learner:
    """The model in training: its steps, its scores, and its state for `Progress`.

    halved: whether batches are trained in halves, for lack of memory.
    """

    config: TrialConfig
    trial: TrialDirectory
    texts: ViewTexts
    pairs: PairRows
    isolated: Isolated
    model: SentenceTransformer = field(init=False)
    halved: bool = False

    def __post_init__(self) -> None:
        config, texts = self.config, self.texts
        # The trial's name of the base: a view is shared by all bases with the same weights and records only one name.
        self.model = build_model(config, config.base_model, texts.max_length)
        arguments = training_arguments(config, str(self.trial.path))
        # All rows of a side have the same prompt.
        first, second = (
            encoding(self.model, texts.prompts[texts.prompt_of[side[0]]]) for side in (self.pairs.a, self.pairs.b)
        )
        columns = {"text_a": first, "text_b": second, NEGATIVE: second}
        arguments.prompts = {column: given["prompt"] for column, given in columns.items()}
        arguments.router_mapping = {column: given["task"] for column, given in columns.items() if "task" in given}
        self._trainer = _Trainer(model=self.model, args=arguments, loss=training_loss(config, self.model))
        # Sets up bf16 autocast if the arguments ask for it.
        self._trainer.accelerator.prepare_model(self.model)
        if config.checkpointing:
            _checkpoint_activations(self.model)
        self._optimizer = self._trainer.create_optimizer()
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def step(self, batches: Step, learning_rate: float) -> torch.Tensor:
        """Take one optimizer step; return the loss summed over the pairs of its batches.

        If memory does not suffice, once more with each batch in halves, as all later steps are.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        try:
            loss_sum = self._gradients(batches)
        except RuntimeError as error:
            if self.halved or not out_of_memory(error):
                raise
            self.halved = True
        else:
            return self._update(loss_sum)
        # Not before the exception is gone: its traceback holds activations.
        self._optimizer.zero_grad(set_to_none=True)
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._update(self._gradients(batches))

    def _gradients(self, batches: Step) -> torch.Tensor:
        """Add up the gradients of a step; return the loss summed over its pairs."""
        trainer: Any = self._trainer
        loss_sum = torch.zeros((), device=self.model.device)
        for batch in batches:
            for part in halves(batch) if self.halved else [batch]:
                inputs = self._inputs(part)
                # training_step divides by this: the number of batches, and for a part of one, its share.
                divisor = len(batches) * len(batch) / len(part)
                trainer.current_gradient_accumulation_steps = divisor if self.halved else len(batches)
                loss_sum += trainer.training_step(self.model, inputs) * (divisor * len(part))
        return loss_sum

    def _update(self, loss_sum: torch.Tensor) -> torch.Tensor:
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss_sum

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as the trainer takes it: two columns, and one of hard negatives if there are some."""
        collate: Any = self._trainer.data_collator
        inputs: dict[str, Any] = collate(training_rows(self.config, self.texts, self.pairs, batch.index))
        if len(batch.negatives):
            # Collated apart: there may be fewer of them than pairs, and the loss takes any number.
            inputs |= collate([{NEGATIVE: self.texts.texts[row]} for row in batch.negatives.tolist()])
        return inputs

    def score(self, val: PairRows) -> dict[str, Any]:
        """Return auc, accuracy and threshold at the smallest dims, and with Matryoshka auc_by_dims.

        Scores in the precision of training: on a GPU, fp32 would take several times as long as bf16. Raises
        TrialFailed if a score is not finite.
        """
        with merged(self.model, self.config):
            scores = whole_model_scores(self.model, self.texts, val, self.config.all_dims)
        if not all(np.isfinite(of_dims).all() for of_dims in scores.values()):
            raise weights_diverged()
        aucs = {str(dims): roc_auc(of_dims, val.label) for dims, of_dims in scores.items()}
        smallest = next(iter(scores))
        threshold, accuracy = fit_accuracy_threshold(scores[smallest], val.label)
        return {
            "auc": aucs[str(smallest)],
            "accuracy": accuracy,
            "threshold": threshold,
            "auc_by_dims": aucs if self.config.matryoshka else {},
        }

    def weights(self) -> dict[str, torch.Tensor]:
        """Return what training changes, by name."""
        return trained_weights(self.model)

    def state(self) -> dict[str, Any]:
        """Return weights, optimizer and random state. The learning rate follows from the step."""
        return {
            "weights": self.weights(),
            "optimizer": self._optimizer.state_dict(),
            "random": self.isolated.state,
            "halved": self.halved,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        for name, tensor in self.weights().items():
            tensor.data.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self.isolated.state = state["random"]
        self.halved = state.get("halved", False)  # earlier versions had no such thing

    def close(self) -> None:
        """Free the memory now: model and trainer form a reference cycle, and a traceback may hold both."""
        for tensor in self.model.parameters():
            tensor.grad = None
            tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        self._optimizer.state.clear()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()


def _checkpoint_activations(model: SentenceTransformer) -> None:
    """Recompute activations in the backward pass; modules without support (static vectors) are left alone."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.supports_gradient_checkpointing:
            module.activation_checkpointing_enable()
