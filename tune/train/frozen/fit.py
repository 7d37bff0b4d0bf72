"""Fit: one Dense layer trained on some pairs of a view, report by report, and validated on other pairs.

Its numbers depend only on configuration, pairs and device type: one thread on a CPU, its own random state, a seeded
order of pairs. So a fit that resumes from a state ends with the same numbers as one that was never interrupted.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tune.config.trial import TrialConfig
from tune.embed.maps import gathered
from tune.embed.similarity import used_rows
from tune.embed.view import PairRows, View
from tune.train.frozen.dense import make_dense
from tune.train.frozen.losses.scores import Floats
from tune.train.frozen.step import Step
from tune.train.frozen.validation import Validation
from tune.train.random_state import Isolated
from tune.train.schedule import Plan, learning_rate_factors, report_steps
from tune.train.setup import labels_for, loss_diverged, negatives_for_loss, pairs_for_loss

_FEW = 1 / 16
"""Of a view's rows, are copied by every trial that uses no more of them."""


class TrainingVectors:
    """The vectors to train on, [texts, dims], shared by all fits of a trial.

    On a CPU, `vectors` is the mapped view itself, shared by all trials on the machine, unless `pairs` use few of its
    rows: then it is a copy of these, as a GPU gets one in any case. A page that is read brings 15 others with it, so
    few rows, spread over a map, would have all of it in memory.
    """

    def __init__(self, view: View, pairs: PairRows, device: torch.device) -> None:
        self.device = device
        self.same = view.text_rows()
        self._used: NDArray[np.int64] | None = None
        used = used_rows(pairs)[0]
        if device.type == "cpu" and len(used) > _FEW * len(view.vectors):
            with warnings.catch_warnings():
                # torch warns that the mapped array is read-only; nothing here writes to it.
                warnings.simplefilter("ignore", UserWarning)
                self.vectors = torch.from_numpy(view.vectors)
        else:
            self._used = used
            self.vectors = torch.from_numpy(gathered(view.vectors, used)).to(device)

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where these rows of the view are in `vectors`, in the same shape. `pairs` must use them."""
        return rows if self._used is None else np.searchsorted(self._used, rows)


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
        both, same, train = train, vectors.same, pairs_for_loss(config, train)
        a, b = same[train.a], same[train.b]
        plan = Plan(a, b, config.batch_size, config.epochs, config.seed, distinct=config.positives_only)
        self._batches = list(chain.from_iterable(plan.epoch(number) for number in range(config.epochs)))
        self._negatives = [vectors.rows(rows) for rows in negatives_for_loss(config, both, same, self._batches)]
        sizes = [len(batch) for batch in self._batches]
        self.steps, self.step = len(sizes), 0
        self._due = report_steps(sizes)
        self._budgets = np.cumsum(sizes) / sum(sizes)
        self._factors = learning_rate_factors(config.scheduler, len(sizes), config.warmup)
        self._rate = config.learning_rate

        self._vectors, self._rows = vectors, vectors.rows(np.stack([train.a, train.b]))
        # In float32, as for trials of the whole model, what differs by less is a tie.
        self._targets = labels_for(config.loss, train).astype(np.float32).astype(np.float64)
        self.dense = make_dense(config, vectors.vectors.shape[1]).to(vectors.device)
        self._train = Step(config, self.dense)
        self._isolated = Isolated(config.seed, vectors.device)
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
        loss_sum, pairs, began = 0.0, 0, time.perf_counter()
        vectors, train = self._vectors.vectors, self._train
        # Diverged weights show in the loss.
        with np.errstate(all="ignore"):
            for rows, targets in self._columns(stop):
                rate = self._rate * self._factors[self.step]
                loss_sum += train(vectors.index_select(0, rows), len(targets), targets, rate) * len(targets)
                pairs += len(targets)
                self.step += 1
        self._loss = loss_sum / pairs
        seconds = time.perf_counter() - began
        if not np.isfinite(self._loss):
            raise loss_diverged(self._loss, self.step, self.steps)
        return pairs, seconds

    def _columns(self, stop: int) -> Iterator[tuple[torch.Tensor, Floats]]:
        """Yield for each step before `stop` the rows of its texts in the vectors, column by column, and its targets."""
        steps, start = range(self.step, stop), 0
        order = np.concatenate(self._batches[self.step : stop])
        a, b, targets = (*self._rows[:, order], self._targets[order])
        columns: list[NDArray[np.int64]] = []
        lengths, cuts = [], []
        for step in steps:
            cut = slice(start, start := start + len(self._batches[step]))
            columns += (a[cut], b[cut], self._negatives[step])
            lengths.append(2 * len(self._batches[step]) + len(self._negatives[step]))
            cuts.append(cut)
        # One copy to a GPU for all of these steps.
        rows = torch.from_numpy(np.concatenate(columns)).to(self._vectors.device)
        for own, cut in zip(torch.split(rows, lengths), cuts, strict=True):
            yield own, targets[cut]

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs, loadable by torch with weights_only."""
        return {
            "step": self.step,
            "loss": self._loss,
            "dense": self.dense.state_dict(),
            "optimizer": self._train.state(),
            "random": self._isolated.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.step, self._loss = state["step"], state["loss"]
        self.dense.load_state_dict(state["dense"])
        self._train.restore(state["optimizer"])
        self._isolated.state = state["random"]
