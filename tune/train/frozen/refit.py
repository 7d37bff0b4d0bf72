"""After a trial with folds: its held-out scores, and one Dense layer trained on all of train and val."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.files import replace_atomic
from tune.train.frozen.dense import dense_cosine, load_fold_denses
from tune.train.frozen.fit import Fit, TrainingVectors
from tune.train.setup import training_device, weights_diverged
from tune.train.stream import Report


def refit(config: TrialConfig, view: View, budget: float, to: Path) -> None:
    """Trains one Dense layer on train and val together and writes its weights to `to` (see `load_dense`).

    budget: share of the configuration's plan after which it stops, 0 < budget <= 1; the learning rate follows the
    whole plan. train_size holds: of train in its seeded order, then val. Nothing is looked at to judge it, and the
    same arguments give the same weights. ValueError for another budget; TrialFailed where it cannot be trained.
    """
    if not 0 < budget <= 1:
        raise ValueError(f"a refit's budget is above 0 and at most 1, not {budget}")
    pairs = view.train_and_val().prefix(config.train_size)
    fit = Fit(config, TrainingVectors(view, pairs, training_device()), pairs)
    fit.train_until(budget)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in fit.dense.state_dict().items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise weights_diverged()
    replace_atomic(to, lambda part: save_file(weights, str(part)))


def out_of_fold(
    config: TrialConfig, weights: Path, view: View, dims: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Cosine similarity [n] of every pair of train and val by the layer that had not seen its fold, and labels [n].

    In the order of `View.train_and_val`, as `View.folds` has it. weights: of a trial with folds. dims: of the first so
    many components (Matryoshka); None means all of them. FileNotFoundError, ValueError, RuntimeError or
    SafetensorError where weights or folds are gone or not those of `config`.
    """
    pairs, fold = view.train_and_val(), view.folds(config.folds, config.seed)
    scores = np.empty(len(pairs), dtype=np.float64)
    for own, dense in enumerate(load_fold_denses(config, weights, view.vectors.shape[1])):
        held_out = fold == own
        scores[held_out] = dense_cosine(dense, view.vectors, pairs.take(held_out), dims)
    return scores, pairs.label


def mean_best_budget(reports: Sequence[Report]) -> float:
    """Where a refit stops: each fold's budget at its own best AUC (the first of equal ones), mean over the folds.

    Without folds the budget of the best report. ValueError where there is no report.
    """
    if not reports:
        raise ValueError("no reports")
    aucs = np.array([report.fold_aucs or (report.auc,) for report in reports])  # [reports, folds]
    budgets = np.array([report.budget for report in reports])
    return float(budgets[aucs.argmax(axis=0)].mean())
