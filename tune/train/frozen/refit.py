"""After a trial with folds: its out-of-fold scores, and one Dense layer refitted on all of train and val."""

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
    """Train one Dense layer on train and val together and write its weights to `to` (read them with `load_dense`).

    budget: share of the configuration's plan to train, 0 < budget <= 1; the learning rate still follows the whole
    plan. train_size applies to train in its seeded order, then val. There is no validation, and equal arguments give
    equal weights. Raises ValueError for any other budget and TrialFailed if it cannot be trained.
    """
    if not 0 < budget <= 1:
        raise ValueError(f"a refit's budget must be above 0 and at most 1, not {budget}")
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
    """Return cosine similarity [n] and labels [n] of train and val, each pair scored by the layer of its own fold.

    That layer was not trained on the pair. Order: `View.train_and_val`, as in `View.folds`. weights: of a trial with
    folds. dims: how many leading components to use (Matryoshka); None for all. Raises FileNotFoundError, ValueError,
    RuntimeError or SafetensorError if weights or folds are missing or do not fit `config`.
    """
    pairs, fold = view.train_and_val(), view.folds(config.folds, config.seed)
    scores = np.empty(len(pairs), dtype=np.float64)
    for own, dense in enumerate(load_fold_denses(config, weights, view.vectors.shape[1])):
        held_out = fold == own
        scores[held_out] = dense_cosine(dense, view.vectors, pairs.take(held_out), dims, config.side)
    return scores, pairs.label


def mean_best_budget(reports: Sequence[Report]) -> float:
    """Return the budget of a refit: the mean over the folds of the budget at each one's (first) best AUC.

    Without folds, the budget of the best report. Raises ValueError if there are no reports.
    """
    if not reports:
        raise ValueError("no reports")
    aucs = np.array([report.fold_aucs or (report.auc,) for report in reports])  # [reports, folds]
    budgets = np.array([report.budget for report in reports])
    return float(budgets[aucs.argmax(axis=0)].mean())
