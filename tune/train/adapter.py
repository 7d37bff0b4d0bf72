"""A frozen trial: a Dense layer trained on a view's vectors with sentence-transformers' own losses.

A trial's numbers depend on its configuration, the view and the kind of device alone: one thread on a CPU, its own
random state, an order of pairs that depends on the seed. So a resumed trial ends as one that was never stopped.
"""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Dropout

from tune.config.trial import TrialConfig
from tune.embed.view import PairRows, View
from tune.evaluate.score import fit_accuracy_threshold, roc_auc
from tune.files import replace_atomic
from tune.train.directory import TrialDirectory
from tune.train.losses import LOSS_KINDS, make_loss
from tune.train.schedule import Plan, learning_rate_factors, report_steps
from tune.train.stream import Report, Reports, TrialFailed

logger = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 1.0  # as transformers' Trainer has it by default


@dataclass(frozen=True)
class AdapterOpener:
    """Opens frozen trials in this process. views: base model -> directory of its view."""

    views: dict[str, Path]

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        return open_adapter(config, directory, View.open(self.views[config.base_model]), after)


def open_adapter(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """The reports of a frozen trial; see `TrialOpener` for the contract."""
    trial = TrialDirectory(directory)
    with trial.locked() as held:
        if not held:
            yield from (report for report in trial.reports() if report.number > after)
            return
        if failure := trial.failure():
            raise TrialFailed(failure["reason"])
        trial.begin(config)
        if trial.done:
            yield from (report for report in trial.reports() if report.number > after)
            return
        try:
            for report in _train(config, trial, view):
                if report.number > after:
                    yield report
        except (GeneratorExit, torch.OutOfMemoryError):
            # Memory that others hold now may be free when the trial is opened again.
            raise
        except (TrialFailed, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise TrialFailed(trial.fail(error)) from error


def make_dense(config: TrialConfig, dims_in: int) -> Dense:
    """The Dense layer that a frozen trial trains, dims_in -> config.dims, initialised from the trial's seed."""
    activation = {"identity": torch.nn.Identity, "tanh": torch.nn.Tanh}[config.activation]()
    assert config.dims is not None  # a frozen base without a Dense layer has nothing to train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Dense(dims_in, config.dims, bias=True, activation_function=activation)


def load_dense(config: TrialConfig, weights: Path, dims_in: int) -> Dense:
    """The Dense layer of a trial's best report."""
    dense = make_dense(config, dims_in)
    dense.load_state_dict(load_file(str(weights)))
    return dense.eval()


@torch.inference_mode()
def dense_cosine(dense: Dense, vectors: NDArray[np.float32], pairs: PairRows) -> NDArray[np.float64]:
    """Cosine similarity after `dense` of the pairs' rows of `vectors` [texts, dims]; float64 [pairs]."""
    used, (a, b) = _used_rows(pairs)
    features = {"sentence_embedding": torch.from_numpy(np.array(vectors[used]))}
    return _cosine(dense(features)["sentence_embedding"], a, b)


def cosine(vectors: NDArray[np.float32], pairs: PairRows) -> NDArray[np.float64]:
    """Cosine similarity of the pairs' rows of `vectors` as they are; float64 [pairs]."""
    used, (a, b) = _used_rows(pairs)
    return _cosine(torch.from_numpy(np.array(vectors[used])), a, b)


def _used_rows(pairs: PairRows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows of the pairs, and the pairs' places among them, [2, pairs]."""
    used, inverse = np.unique(np.concatenate([pairs.a, pairs.b]), return_inverse=True)
    return used, inverse.reshape(2, -1)


def _cosine(vectors: torch.Tensor, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    unit = torch.nn.functional.normalize(vectors, dim=1)
    scores: NDArray[np.float64] = (unit[torch.from_numpy(a)] * unit[torch.from_numpy(b)]).sum(1).double().cpu().numpy()
    return scores


def _training_vectors(view: View, pairs: PairRows, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors to train on, [texts, dims], and the rows of the pairs' texts in them, [2, pairs].

    On a CPU it is the mapped view itself, shared by all trials of the machine; a GPU gets the rows that it needs.
    """
    if device.type == "cpu":
        with warnings.catch_warnings():
            # torch warns that the map is read-only; nothing here writes to it.
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(view.vectors), torch.from_numpy(np.stack([pairs.a, pairs.b]))
    used, places = _used_rows(pairs)
    return torch.from_numpy(np.array(view.vectors[used])).to(device), torch.from_numpy(places).to(device)


class _Validation:
    """Scores the val pairs; each text goes through the Dense layer once."""

    def __init__(self, view: View, device: torch.device) -> None:
        used, (self._a, self._b) = _used_rows(view.val)
        self._vectors = torch.from_numpy(np.array(view.vectors[used])).to(device)
        self._label = view.val.label

    @torch.inference_mode()
    def score(self, dense: Dense) -> tuple[float, float, float]:
        """(auc, accuracy, threshold) on val."""
        dense.eval()
        scores = _cosine(dense({"sentence_embedding": self._vectors})["sentence_embedding"], self._a, self._b)
        dense.train()
        if not np.isfinite(scores).all():
            raise TrialFailed("the weights are no longer finite; try a lower learning rate")
        threshold, accuracy = fit_accuracy_threshold(scores, self._label)
        return roc_auc(scores, self._label), accuracy, threshold


class _Isolated:
    """Runs a stretch of a trial with the trial's own random state and, on a CPU, on one thread.

    A trial is a generator: between two reports others run in the same process, and may draw or set threads.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=self._cuda):
            torch.manual_seed(seed)
            self._save()

    def _save(self) -> None:
        self.state = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in self._cuda)]

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        with torch.random.fork_rng(devices=self._cuda):
            torch.set_rng_state(self.state[0])
            for device, state in zip(self._cuda, self.state[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            torch.set_num_threads(1)
            try:
                yield
            finally:
                torch.set_num_threads(threads)
            self._save()


def make_optimizer(dense: Dense, config: TrialConfig) -> torch.optim.AdamW:
    """AdamW as transformers' Trainer sets it up: biases are not decayed."""
    groups = [
        {"params": [dense.linear.weight], "weight_decay": config.weight_decay},
        {"params": [dense.linear.bias], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _train(config: TrialConfig, trial: TrialDirectory, view: View) -> Reports:
    """All reports from the first on: those that are kept on disk, then new ones."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = LOSS_KINDS[config.loss]
    pairs = view.train.prefix(config.train_size)
    if kind.positives_only:
        positive = np.flatnonzero(pairs.label == 1)
        pairs = PairRows(pairs.a[positive], pairs.b[positive], pairs.label[positive])
        if not len(positive):
            raise TrialFailed(f"the loss {config.loss} learns from positive pairs, and there are none to train on")
    plan = Plan(pairs.a, pairs.b, config.batch_size, config.epochs, config.seed, distinct=kind.positives_only)
    epochs = [plan.epoch(number) for number in range(config.epochs)]
    sizes = [len(batch) for batches in epochs for batch in batches]
    due = report_steps(sizes)
    factors = learning_rate_factors(config.scheduler, len(sizes), config.warmup)

    vectors, rows = _training_vectors(view, pairs, device)
    labels = torch.from_numpy(pairs.label.astype(np.int64)).to(device=device, dtype=kind.labels)
    dense = make_dense(config, vectors.shape[1]).to(device).train()
    modules: list[torch.nn.Module] = [Dropout(config.dropout), dense] if config.dropout > 0 else [dense]
    model = SentenceTransformer(modules=modules, device=str(device)).train()
    loss_of = make_loss(config.loss, model)
    optimizer = make_optimizer(dense, config)
    parameters = list(dense.parameters())
    validation = _Validation(view, device)
    isolated = _Isolated(config.seed, device)

    run = _Progress(trial, dense, optimizer, isolated)
    kept = run.resume()
    yield from kept
    if kept and kept[-1].last:
        trial.finish()
        return
    batches = (batch for epoch in epochs for batch in epoch)
    for _ in range(run.step):
        next(batches)
    while run.step < len(sizes):
        loss_sum, loss_pairs, began = torch.zeros((), device=device), 0, time.perf_counter()
        with isolated():
            for batch in batches:
                index = torch.from_numpy(batch).to(device)
                chosen = rows[:, index]
                features = [{"sentence_embedding": vectors[side]} for side in chosen]
                loss = loss_of(features, labels[index])
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * factors[run.step]
                # A batch without, say, a hard pair can leave a loss that depends on no weight.
                if loss.requires_grad:
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
                    optimizer.step()
                loss_sum += loss.detach() * len(batch)
                loss_pairs += len(batch)
                run.step += 1
                if run.step in due:
                    break
            mean_loss = float(loss_sum) / loss_pairs
            trained = time.perf_counter() - began
            if not np.isfinite(mean_loss):
                raise TrialFailed(
                    f"the loss is {mean_loss} after {run.step} of {len(sizes)} steps; try a lower learning rate"
                )
            auc, accuracy, threshold = validation.score(dense)
        report = run.report(
            budget=due[run.step],
            auc=auc,
            accuracy=accuracy,
            threshold=threshold,
            loss=mean_loss,
            pairs_per_second=loss_pairs / max(trained, 1e-9),
            took=time.perf_counter() - began,
        )
        if report is not None:
            yield report


class _Progress:
    """Where a trial stands, kept in its directory: step, reports, best weights, resume state."""

    def __init__(self, trial: TrialDirectory, dense: Dense, optimizer: torch.optim.AdamW, isolated: _Isolated) -> None:
        self.step = 0
        self._trial = trial
        self._dense = dense
        self._optimizer = optimizer
        self._isolated = isolated
        self.number = 0
        self._kept: list[Report] = []
        self._best: dict[str, torch.Tensor] = {}

    def resume(self) -> list[Report]:
        """Goes to where the resume state left off, or to the start; returns the reports that are kept.

        Reports after the state are kept as well: training comes to them again, to the same numbers, in silence. So a
        trial that is opened again and closed at once has lost nothing.
        """
        self._kept = self._trial.reports()
        state = self._load_state()
        if state is not None and len(self._kept) >= state["report"]["number"] - 1:
            if len(self._kept) < state["report"]["number"]:
                # Killed between the state and its report's line: the state has the report.
                self._kept.append(Report(**state["report"]))
            self.step, self.number = state["step"], state["report"]["number"]
            self._dense.load_state_dict(state["dense"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._isolated.state = state["random"]
            self._best = state["best"]
        self._trial.keep_reports(self._kept)
        self._trial.state_due()
        return list(self._kept)

    def report(self, *, took: float, **numbers: Any) -> Report | None:
        """Keeps weights, state and report on disk, in that order, and returns the report; None for a kept one."""
        self.number += 1
        last = self._kept[self.number - 2] if self.number > 1 else None
        again = self.number <= len(self._kept)
        auc = self._kept[self.number - 1].auc if again else numbers["auc"]
        best = last is None or auc > last.best_auc
        if best:
            self._best = {name: t.detach().cpu().clone() for name, t in self._dense.state_dict().items()}
        if again:
            return None
        report = Report(
            number=self.number,
            best_auc=auc if last is None or best else last.best_auc,
            seconds=(last.seconds if last else 0.0) + took,
            **numbers,
        )
        if best:
            self._write_best()
        self._kept.append(report)
        if not report.last and self._trial.state_due():
            self._write_state(report)
        self._trial.append(report)
        return report

    def _write_best(self) -> None:
        replace_atomic(self._trial.best, lambda part: save_file(self._best, str(part)), sync=False)

    def _write_state(self, report: Report) -> None:
        state = {
            "step": self.step,
            "dense": self._dense.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._isolated.state,
            "best": self._best,
            "report": report.metrics(),
        }
        replace_atomic(self._trial.state, lambda part: torch.save(state, part), sync=False)

    def _load_state(self) -> dict[str, Any] | None:
        if not self._trial.state.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._trial.state, weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises a different class for every way in which a file can be damaged
            logger.warning("%s cannot be read (%s): the trial is trained from its start", self._trial.state, error)
            return None
        return state
