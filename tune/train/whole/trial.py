"""How a base model is trained: SentenceTransformerTrainer's own steps, taken between two reports.

The trainer sets up the loss, optimizer, collation, precision and the accumulation of gradients, and `training_step`
does forward and backward; the loop around it is here rather than in `train()`, because a trial is a generator. It
runs nowhere but inside `next()`, so closing it, or an interrupt, ends it at once and no thread is left; and it goes
on from any step without the trainer's checkpoint folders. A test holds it equal to `train()`.

Numbers depend on configuration, seed, data and kind of device alone; on a GPU up to the order in which some kernels
add up.
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
from tune.embed.view import PairRows, View, ViewTexts
from tune.metrics.score import fit_accuracy_threshold, roc_auc
from tune.train.directory import TrialDirectory
from tune.train.losses import LOSS_KINDS, make_loss
from tune.train.progress import Progress
from tune.train.random_state import Isolated
from tune.train.schedule import Plan, learning_rate_factors, report_steps
from tune.train.session import open_trial_directory
from tune.train.setup import MAX_GRADIENT_NORM, learned_from, loss_diverged, training_device, weights_diverged
from tune.train.stream import Reports, TrialFailed
from tune.train.whole.looks import planned_looks
from tune.train.whole.lora import merged
from tune.train.whole.model import build_model, trained_weights, whole_model_scores

Batch = NDArray[np.int64]


def open_whole_trial(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """The reports of a trial that trains the base; see `TrialOpener` for the contract. The view must have its texts."""
    return open_trial_directory(config, directory, after, lambda trial: _train_whole(config, trial, view))


def _train_whole(config: TrialConfig, trial: TrialDirectory, view: View) -> Reports:
    """All reports from the first on: those that are kept on disk, then new ones."""
    began = time.perf_counter()
    device = training_device()
    texts = view.texts()
    pairs = training_pairs(config, view.train)
    epochs = plan_steps(config, pairs, texts)
    steps = [step for epoch in epochs for step in epoch]
    epoch_starts = {0, *np.cumsum([len(epoch) for epoch in epochs]).tolist()}
    sizes = [sum(map(len, step)) for step in steps]
    looks = planned_looks(view.val, config, sum(sizes))
    due = report_steps(sizes, looks.marks)
    factors = learning_rate_factors(config.scheduler, len(steps), config.warmup)
    val = view.val.take(looks.places)

    isolated = Isolated(config.seed, device)
    with isolated():
        learner = _Learner(config, trial, texts, pairs, isolated)
    with contextlib.closing(learner):
        _drop_of_another_plan(trial, list(due.values()), len(val))
        run = Progress(trial, learner)
        kept = run.resume()
        yield from kept
        if kept and kept[-1].last:
            trial.finish()
            return
        while run.step < len(steps):
            loss_sum, loss_pairs, trained = torch.zeros((), device=device), 0, time.perf_counter()
            with isolated():
                while True:
                    if run.step in epoch_starts:
                        # A DataLoader draws its seed here; with it dropout is the same as under `train()`.
                        torch.empty((), dtype=torch.int64).random_()
                    loss_sum += learner.step(steps[run.step], config.learning_rate * factors[run.step])
                    loss_pairs += sizes[run.step]
                    run.step += 1
                    if run.step in due:
                        break
                mean_loss = float(loss_sum) / loss_pairs
                took = time.perf_counter() - trained
                if not math.isfinite(mean_loss):
                    raise loss_diverged(mean_loss, run.step, len(steps))
                scored = learner.score(val)
            report = run.report(
                budget=due[run.step],
                loss=mean_loss,
                pairs_per_second=loss_pairs / max(took, 1e-9),
                took=time.perf_counter() - began,
                val_pairs=len(val),
                **scored,
            )
            began = time.perf_counter()
            if report is not None:
                yield report
                began = time.perf_counter()


def _drop_of_another_plan(trial: TrialDirectory, budgets: list[float], val_pairs: int) -> None:
    """Starts over a trial whose reports an earlier version planned at other places, or over other val pairs."""
    kept = trial.reports()
    planned = [(budget, val_pairs) for budget in budgets]
    if [(report.budget, report.val_pairs) for report in kept] != planned[: len(kept)]:
        trial.keep_reports([])
        trial.state.unlink(missing_ok=True)


def training_pairs(config: TrialConfig, train: PairRows) -> PairRows:
    """The pairs that the trial trains on. TrialFailed as in `learned_from`."""
    return learned_from(config, train.prefix(config.train_size))


def plan_steps(config: TrialConfig, pairs: PairRows, texts: ViewTexts) -> list[list[list[Batch]]]:
    """For every epoch its steps of the optimizer, each `accumulation` batches (the last may have fewer)."""
    length = np.array([len(text) for text in texts.texts], dtype=np.int64)
    plan = Plan(
        pairs.a,
        pairs.b,
        config.batch_size,
        config.epochs,
        config.seed,
        distinct=config.positives_only,
        lengths=length[pairs.a] + length[pairs.b],
    )
    epochs = []
    for number in range(config.epochs):
        batches = plan.epoch(number)
        epochs.append(
            [batches[start : start + config.accumulation] for start in range(0, len(batches), config.accumulation)]
        )
    return epochs


class _Trainer(SentenceTransformerTrainer):
    """Without a model card, whose data would be looked up on the hub."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds none."""

    def compute_loss(self, *given: Any, **named: Any) -> Any:
        """As always; a batch without, say, a hard pair can leave a loss that depends on no weight."""
        loss: Any = super().compute_loss(*given, **named)
        return loss if loss.requires_grad else loss + torch.zeros((), device=loss.device, requires_grad=True)


def training_arguments(config: TrialConfig, directory: str) -> SentenceTransformerTrainingArguments:
    """The arguments of a trainer that trains `config` and writes nothing; batches and learning rates are planned."""
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
    """The loss of `config` over `model`, in chunks and over several dims where the configuration says so."""
    dims: list[int] = []
    if config.matryoshka:
        own = model.get_embedding_dimension()
        assert own is not None
        if config.matryoshka[-1] >= own:
            raise TrialFailed(f"matryoshka dims {config.matryoshka[-1]} is not smaller than the model's own {own}")
        dims = [own, *reversed(config.matryoshka)]
    # Static vectors keep nothing that chunks would save, and the loss in chunks does not take them.
    static = any(isinstance(module, StaticEmbedding) for module in model.modules())
    if static or config.loss != "mnr" or not 0 < config.chunk_size < config.batch_size:
        return make_loss(config.loss, model, dims)
    loss = st_losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=config.chunk_size)
    return st_losses.MatryoshkaLoss(model, loss, dims) if dims else loss


def training_rows(config: TrialConfig, texts: ViewTexts, pairs: PairRows, batch: Batch) -> list[dict[str, Any]]:
    """The pairs of a batch as the trainer's collator takes them, labels in the type that the loss wants."""
    number = float if LOSS_KINDS[config.loss].labels.is_floating_point else int
    chosen = zip(pairs.a[batch].tolist(), pairs.b[batch].tolist(), pairs.label[batch].tolist(), strict=True)
    return [{"text_a": texts.texts[a], "text_b": texts.texts[b], "label": number(label)} for a, b, label in chosen]


@dataclass
class _Learner:
    """The model in training: its steps, its scores, and its state for `Progress`."""

    config: TrialConfig
    trial: TrialDirectory
    texts: ViewTexts
    pairs: PairRows
    isolated: Isolated
    model: SentenceTransformer = field(init=False)

    def __post_init__(self) -> None:
        config, texts = self.config, self.texts
        # By the trial's name of the base: a view is shared by all bases of the same weights, and has one's name.
        self.model = build_model(config, config.base_model, texts.max_length)
        arguments = training_arguments(config, str(self.trial.path))
        # One side's rows all have the side's prompt.
        arguments.prompts = {
            "text_a": texts.prompts[texts.prompt_of[self.pairs.a[0]]],
            "text_b": texts.prompts[texts.prompt_of[self.pairs.b[0]]],
        }
        self._trainer = _Trainer(model=self.model, args=arguments, loss=training_loss(config, self.model))
        # Automatic bf16 where the arguments say so.
        self._trainer.accelerator.prepare_model(self.model)
        if config.checkpointing:
            _checkpoint_activations(self.model)
        self._optimizer = self._trainer.create_optimizer()
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def step(self, batches: list[Batch], learning_rate: float) -> torch.Tensor:
        """One step of the optimizer; returns the loss, summed over the pairs of its batches."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._trainer.current_gradient_accumulation_steps = len(batches)
        loss_sum = torch.zeros((), device=self.model.device)
        for batch in batches:
            inputs = self._trainer.data_collator(training_rows(self.config, self.texts, self.pairs, batch))
            # training_step divides by the number of batches.
            loss_sum += self._trainer.training_step(self.model, inputs) * (len(batches) * len(batch))
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss_sum

    def score(self, val: PairRows) -> dict[str, Any]:
        """auc, accuracy and threshold at the smallest dims; with Matryoshka, auc_by_dims.

        In the precision of training: fp32 would take a GPU several times as long as bf16.
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
        """What training changes."""
        return trained_weights(self.model)

    def state(self) -> dict[str, Any]:
        """Weights, optimizer and random state. The learning rate follows from the step."""
        return {
            "weights": self.weights(),
            "optimizer": self._optimizer.state_dict(),
            "random": self.isolated.state,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        for name, tensor in self.weights().items():
            tensor.data.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self.isolated.state = state["random"]

    def close(self) -> None:
        """Gives the memory back now: model and trainer refer to each other, and a traceback may hold both."""
        for tensor in self.model.parameters():
            tensor.grad = None
            tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        self._optimizer.state.clear()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()


def _checkpoint_activations(model: SentenceTransformer) -> None:
    """Activations of every layer are computed again in the backward pass; static vectors have none to keep."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.supports_gradient_checkpointing:
            module.activation_checkpointing_enable()
