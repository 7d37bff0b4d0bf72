"""Fit: one Dense layer trained on some pairs of a view, report by report, and validated on other pairs.

Its numbers depend only on configuration, pairs and device type: one thread on a CPU, its own random state, a seeded
order of pairs. So a fit that resumes from a state ends with the same numbers as one that was never interrupted.
"""

import time
import warnings
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Router
from sentence_transformers.sentence_transformer.modules import Dropout

from tune.config.trial import TrialConfig
from tune.embed.similarity import used_rows
from tune.embed.view import PairRows, View
from tune.train.frozen.dense import make_dense
from tune.train.frozen.validation import Validation
from tune.train.losses import LOSS_KINDS, labels_for, make_loss
from tune.train.random_state import Isolated
from tune.train.schedule import Plan, learning_rate_factors, report_steps
from tune.train.setup import MAX_GRADIENT_NORM, loss_diverged, negatives_for_loss, pairs_for_loss


def make_optimizer(dense: Dense, config: TrialConfig) -> torch.optim.AdamW:
    """Return AdamW as transformers' Trainer sets it up: no weight decay on a bias."""
    groups = [{"params": [dense.linear.weight], "weight_decay": config.weight_decay}]
    if config.bias:
        groups.append({"params": [dense.linear.bias], "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


_SIDES: tuple[dict[str, Any], ...] = ({"task": "query"}, {"task": "document"})
"""What a Router reads in the features of a batch's first texts, and of all others."""


def _trained(config: TrialConfig, dense: Dense) -> list[torch.nn.Module]:
    """Return the modules that the loss trains: Dropout, if any, and Dense; for queries alone, as a Router's route."""
    layers: list[Any] = [*([Dropout(config.dropout)] if config.dropout > 0 else []), dense]
    return [Router.for_query_document(layers, [])] if config.side == "query" else layers


class TrainingVectors:
    """The vectors to train on, [texts, dims], shared by all fits of a trial.

    On a CPU, `vectors` is the mapped view itself, shared by all trials on the machine; a GPU gets a copy of the rows
    that `pairs` use.
    """

    def __init__(self, view: View, pairs: PairRows, device: torch.device) -> None:
        self.device = device
        self.same = view.text_rows()
        self._used: NDArray[np.int64] | None = None
        if device.type == "cpu":
            with warnings.catch_warnings():
                # torch warns that the mapped array is read-only; nothing here writes to it.
                warnings.simplefilter("ignore", UserWarning)
                self.vectors = torch.from_numpy(view.vectors)
        else:
            self._used = used_rows(pairs)[0]
            self.vectors = torch.from_numpy(np.array(view.vectors[self._used])).to(device)

    def rows_of(self, pairs: PairRows) -> torch.Tensor:
        """Return the rows of the pairs' texts in `vectors`, [2, pairs]."""
        return self.rows(np.stack([pairs.a, pairs.b]))

    def rows(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return where these rows of the view are in `vectors`, in the same shape. `pairs` must use them."""
        return torch.from_numpy(rows if self._used is None else np.searchsorted(self._used, rows)).to(self.device)


@dataclass(frozen=True)
class FitResult:
    """A fit at a report. budget: share of its plan completed. loss: mean since the previous report.

    pairs, seconds: trained since then and how long that took (both 0 if the fit had already ended). scores: of the
    held-out pairs, [n] at each of the configuration's dims.
    """

    budget: float
    loss: float
    pairs: int
    seconds: float
    scores: list[NDArray[np.float64]]


class Fit:
    """A Dense layer being trained over the plan of `train`. validation: the held-out pairs, needed by `advance`.

    Raises TrialFailed if there is nothing to train on, or when the loss or scores stop being finite.
    """

    def __init__(
        self, config: TrialConfig, vectors: TrainingVectors, train: PairRows, validation: Validation | None = None
    ) -> None:
        kind = LOSS_KINDS[config.loss]
        both, same, train = train, vectors.same, pairs_for_loss(config, train)
        a, b = same[train.a], same[train.b]
        plan = Plan(a, b, config.batch_size, config.epochs, config.seed, distinct=config.positives_only)
        self._batches = list(chain.from_iterable(plan.epoch(number) for number in range(config.epochs)))
        self._negatives = negatives_for_loss(config, both, same, self._batches)
        sizes = [len(batch) for batch in self._batches]
        self.steps, self.step = len(sizes), 0
        self._due = report_steps(sizes)
        self._budgets = np.cumsum(sizes) / sum(sizes)
        self._factors = learning_rate_factors(config.scheduler, len(sizes), config.warmup)
        self._rate = config.learning_rate

        self._device, self._vectors, self._rows = vectors.device, vectors, vectors.rows_of(train)
        self._labels = torch.from_numpy(labels_for(config.loss, train)).to(device=self._device, dtype=kind.labels)
        self.dense = make_dense(config, vectors.vectors.shape[1]).to(self._device).train()
        model = SentenceTransformer(modules=_trained(config, self.dense), device=str(self._device)).train()
        self._sides = _SIDES if config.side == "query" else ({},)
        dims = [dims for dims in config.all_dims if dims is not None] if config.matryoshka else []
        self._loss_of = make_loss(config.loss, model, dims)
        self._optimizer = make_optimizer(self.dense, config)
        self._isolated = Isolated(config.seed, self._device)
        self.validation = validation
        self._loss = 0.0

    @property
    def ended(self) -> bool:
        """Whether the plan is complete."""
        return self.step == self.steps

    def advance(self) -> FitResult:
        """Train to the next report and validate; after the end of the plan, only validate."""
        assert self.validation is not None
        pairs, seconds = 0, 0.0
        with self._isolated():
            if not self.ended:
                pairs, seconds = self._train_to(next(step for step in self._due if step > self.step))
            scores = self.validation.scores(self.dense)
        return FitResult(self._due[self.step], self._loss, pairs, seconds, scores)

    def train_until(self, budget: float) -> None:
        """Train, without validation, through the first step that completes `budget` of the plan, 0 < budget <= 1."""
        stop = int(np.searchsorted(self._budgets, budget)) + 1
        with self._isolated():
            self._train_to(stop)

    def _train_to(self, stop: int) -> tuple[int, float]:
        """Train the steps before `stop`; return (pairs seen, seconds taken)."""
        loss_sum, pairs, began = torch.zeros((), device=self._device), 0, time.perf_counter()
        vectors, rows, labels, optimizer = self._vectors.vectors, self._rows, self._labels, self._optimizer
        parameters = list(self.dense.parameters())
        for batch in islice(self._batches, self.step, stop):
            index = torch.from_numpy(batch).to(self._device)
            columns = list(rows[:, index])
            if len(negatives := self._negatives[self.step]):
                columns.append(self._vectors.rows(negatives))
            features = [
                {"sentence_embedding": vectors[column], **self._sides[min(place, len(self._sides) - 1)]}
                for place, column in enumerate(columns)
            ]
            loss = self._loss_of(features, labels[index])
            for group in optimizer.param_groups:
                group["lr"] = self._rate * self._factors[self.step]
            # A batch with nothing to learn (no hard pair, for one) has a loss that depends on no weight.
            if loss.requires_grad:
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
                optimizer.step()
            loss_sum += loss.detach() * len(batch)
            pairs += len(batch)
            self.step += 1
        self._loss = float(loss_sum) / pairs
        seconds = time.perf_counter() - began
        if not np.isfinite(self._loss):
            raise loss_diverged(self._loss, self.step, self.steps)
        return pairs, seconds

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs, loadable by torch with weights_only."""
        return {
            "step": self.step,
            "loss": self._loss,
            "dense": self.dense.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._isolated.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.step, self._loss = state["step"], state["loss"]
        self.dense.load_state_dict(state["dense"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._isolated.state = state["random"]
