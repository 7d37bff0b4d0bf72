"""A frozen trial: a Dense layer trained on a view's vectors with sentence-transformers' own losses.

With folds it is as many layers, each trained on all folds but its own, that advance together. A trial's numbers depend
on its configuration, the view and the kind of device alone (see `fit`), so a resumed trial ends as one that was never
stopped.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.metrics.score import fit_accuracy_threshold, roc_auc
from tune.train.directory import TrialDirectory
from tune.train.frozen.fit import Fit, Stretch, TrainingVectors
from tune.train.frozen.validation import Validation
from tune.train.progress import Progress
from tune.train.session import open_trial_directory
from tune.train.setup import training_device
from tune.train.stream import Reports


def open_frozen_trial(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """The reports of a frozen trial; see `TrialOpener` for the contract."""
    return open_trial_directory(config, directory, after, lambda trial: _train(config, trial, view))


def _train(config: TrialConfig, trial: TrialDirectory, view: View) -> Reports:
    """All reports from the first on: those that are kept on disk, then new ones."""
    fits = _fold_fits(config, view) if config.folds else [_plain_fit(config, view)]
    run = Progress(trial, _Fits(fits))
    kept = run.resume()
    yield from kept
    if kept and kept[-1].last:
        trial.finish()
        return
    while not all(fit.ended for fit in fits):
        began = time.perf_counter()
        numbers = _numbers(config, fits, [fit.advance() for fit in fits])
        report = run.report(**numbers, took=time.perf_counter() - began)
        if report is not None:
            yield report


def _plain_fit(config: TrialConfig, view: View) -> Fit:
    """Trains on train, is judged on val."""
    device = training_device()
    pairs = view.train.prefix(config.train_size)
    return Fit(config, TrainingVectors(view, pairs, device), pairs, Validation(view, view.val, config.all_dims, device))


def _fold_fits(config: TrialConfig, view: View) -> list[Fit]:
    """One fit per fold of train and val: trained on (the first train_size of) the others, judged on the fold."""
    device, pairs = training_device(), view.train_and_val()
    fold = view.folds(config.folds, config.seed)
    vectors = TrainingVectors(view, pairs, device)
    return [
        Fit(
            config,
            vectors,
            pairs.take(fold != own).prefix(config.train_size),
            Validation(view, pairs.take(fold == own), config.all_dims, device),
        )
        for own in range(config.folds)
    ]


def _numbers(config: TrialConfig, fits: Sequence[Fit], stretches: Sequence[Stretch]) -> dict[str, Any]:
    """The numbers of a report: of the one fit, or over those of the folds.

    Budget, loss and AUC are means; accuracy and threshold are of all held-out pairs together, at the smallest dims.
    The folds train in turn, so their rate is that of all their pairs in all their time.
    """
    labels = [fit.validation.label for fit in fits if fit.validation is not None]
    aucs = np.array(
        [[roc_auc(at, label) for at in one.scores] for one, label in zip(stretches, labels, strict=True)]
    )  # [fits, dims]
    means = aucs.mean(axis=0).tolist()
    held_out = np.concatenate([one.scores[0] for one in stretches])
    threshold, accuracy = fit_accuracy_threshold(held_out, np.concatenate(labels))
    numbers: dict[str, Any] = {
        "budget": float(np.mean([one.budget for one in stretches])),
        "auc": means[0],
        "accuracy": accuracy,
        "threshold": threshold,
        "loss": float(np.mean([one.loss for one in stretches])),
        "pairs_per_second": sum(one.pairs for one in stretches) / max(sum(one.seconds for one in stretches), 1e-9),
    }
    if config.matryoshka:
        numbers["auc_by_dims"] = {str(dims): auc for dims, auc in zip(config.all_dims, means, strict=True)}
    if config.folds:
        numbers |= {"auc_std": float(aucs[:, 0].std(ddof=1)), "fold_aucs": tuple(aucs[:, 0].tolist())}
    return numbers


class _Fits:
    """The fits of a trial as one learner."""

    def __init__(self, fits: Sequence[Fit]) -> None:
        self._fits = fits

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights; those of fold i of several are named i.NAME."""
        prefixes = [f"{fold}." for fold in range(len(self._fits))] if len(self._fits) > 1 else [""]
        return {
            prefix + name: tensor
            for prefix, fit in zip(prefixes, self._fits, strict=True)
            for name, tensor in fit.dense.state_dict().items()
        }

    def state(self) -> dict[str, Any]:
        """Where every fit stands."""
        return {"fits": [fit.state() for fit in self._fits]}

    def load(self, state: dict[str, Any]) -> None:
        """Goes back to a `state`."""
        for fit, one in zip(self._fits, state["fits"], strict=True):
            fit.restore(one)
