"""A frozen trial: a Dense layer trained on a view's vectors with the losses of sentence-transformers.

With folds it trains one layer per fold, each on all other folds, and advances them together. A trial's numbers depend
only on its configuration, the view and the device type (see `fit`), so a resumed trial ends with the same numbers as
one that was never interrupted.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.metrics.score import fit_accuracy_threshold, roc_auc
from tune.train.directory import TrialDirectory
from tune.train.frozen.fit import Fit, FitResult, TrainingVectors
from tune.train.frozen.held_out import keep_scores
from tune.train.frozen.validation import Validation
from tune.train.progress import Progress
from tune.train.session import open_trial_directory
from tune.train.setup import training_device
from tune.train.stream import Reports


def open_frozen_trial(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """Yield the reports of a frozen trial; see `TrialOpener` for the contract."""
    return open_trial_directory(config, directory, after, lambda trial: _train(config, trial, view))


def _train(config: TrialConfig, trial: TrialDirectory, view: View) -> Reports:
    """Yield all reports: first those kept on disk, then new ones."""
    fits = _fold_fits(config, view) if config.folds else [_plain_fit(config, view)]
    run = Progress(trial, _Fits(fits))
    kept = run.resume()
    yield from kept
    if kept and kept[-1].last:
        trial.finish()
        return
    while not all(fit.ended for fit in fits):
        began = time.perf_counter()
        results = [fit.advance() for fit in fits]
        if config.folds and not len(view.val):
            keep_scores(trial.path, run.number + 1, _out_of_fold(view.folds(config.folds, config.seed), results))
        numbers = _numbers(config, fits, results)
        run.step = min(fit.step for fit in fits)
        report = run.report(**numbers, took=time.perf_counter() - began)
        if report is not None:
            yield report


def _plain_fit(config: TrialConfig, view: View) -> Fit:
    """Return the fit of a trial without folds: trained on train, validated on val."""
    device = training_device()
    pairs = view.train.prefix(config.train_size)
    val = view.val.take(view.sample_index(config.val_sample))
    validation = Validation(view, val, config.all_dims, device, config.side)
    return Fit(config, TrainingVectors(view, pairs, device), pairs, validation)


def _fold_fits(config: TrialConfig, view: View) -> list[Fit]:
    """Return a fit per fold of train and val: trained on the first train_size pairs of the others, validated on it."""
    device, pairs = training_device(), view.train_and_val()
    fold = view.folds(config.folds, config.seed)
    vectors = TrainingVectors(view, pairs, device)
    return [
        Fit(
            config,
            vectors,
            pairs.take(fold != own).prefix(config.train_size),
            Validation(view, pairs.take(fold == own), config.all_dims, device, config.side),
        )
        for own in range(config.folds)
    ]


def _out_of_fold(fold: NDArray[np.int8], results: Sequence[FitResult]) -> NDArray[np.float64]:
    """Return the score of each pair by the fit of its own fold, [n], at the dims that rank the trial."""
    scores = np.empty(len(fold))
    for own, result in enumerate(results):
        scores[fold == own] = result.scores[0]
    return scores


def _numbers(config: TrialConfig, fits: Sequence[Fit], results: Sequence[FitResult]) -> dict[str, Any]:
    """Return the numbers of a report: of the single fit, or over the fits of all folds.

    Budget, loss and AUC are means; accuracy and threshold pool all held-out pairs, at the smallest dims. The folds
    train one after the other, so their rate is all pairs over all seconds.
    """
    labels = [fit.validation.label for fit in fits if fit.validation is not None]
    aucs = np.array(
        [[roc_auc(scores, label) for scores in result.scores] for result, label in zip(results, labels, strict=True)]
    )  # [fits, dims]
    means = aucs.mean(axis=0).tolist()
    held_out = np.concatenate([result.scores[0] for result in results])
    threshold, accuracy = fit_accuracy_threshold(held_out, np.concatenate(labels))
    seconds = sum(result.seconds for result in results)
    numbers: dict[str, Any] = {
        "budget": float(np.mean([result.budget for result in results])),
        "auc": means[0],
        "accuracy": accuracy,
        "threshold": threshold,
        "loss": float(np.mean([result.loss for result in results])),
        "pairs_per_second": sum(result.pairs for result in results) / max(seconds, 1e-9),
    }
    by_dims = [str(dims) for dims in config.all_dims]
    if config.matryoshka:
        numbers["auc_by_dims"] = dict(zip(by_dims, means, strict=True))
    if config.val_sample:
        numbers["val_pairs"] = len(held_out)
    if config.folds:
        spread = aucs.std(axis=0, ddof=1).tolist()
        numbers |= {"auc_std": spread[0], "fold_aucs": tuple(aucs[:, 0].tolist())}
        if config.matryoshka:
            numbers["auc_std_by_dims"] = dict(zip(by_dims, spread, strict=True))
    return numbers


class _Fits:
    """The fits of a trial as one `Learner`."""

    def __init__(self, fits: Sequence[Fit]) -> None:
        self._fits = fits

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights by name; with folds, those of fold i are named i.NAME."""
        prefixes = [f"{fold}." for fold in range(len(self._fits))] if len(self._fits) > 1 else [""]
        return {
            prefix + name: tensor
            for prefix, fit in zip(prefixes, self._fits, strict=True)
            for name, tensor in fit.dense.state_dict().items()
        }

    def state(self) -> dict[str, Any]:
        """Return the states of all fits."""
        return {"fits": [fit.state() for fit in self._fits]}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        for fit, fit_state in zip(self._fits, state["fits"], strict=True):
            fit.restore(fit_state)
