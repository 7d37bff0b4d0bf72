"""A frozen trial: a Dense layer trained on a view's vectors with sentence-transformers' own losses.

With folds it is as many layers, each trained on all folds but its own, that advance together. A trial's numbers depend
on its configuration, the view and the kind of device alone (see `fit`), so a resumed trial ends as one that was never
stopped.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.evaluate.score import fit_accuracy_threshold, roc_auc
from tune.files import replace_atomic
from tune.train.dense import Validation, cosine, dense_cosine, load_dense, load_fold_denses, make_dense
from tune.train.directory import TrialDirectory
from tune.train.fit import MAX_GRADIENT_NORM, Fit, Stretch, TrainingVectors, make_optimizer, training_device
from tune.train.opening import open_trial_directory
from tune.train.stream import Report, Reports

__all__ = [
    "MAX_GRADIENT_NORM",
    "cosine",
    "dense_cosine",
    "load_dense",
    "load_fold_denses",
    "make_dense",
    "make_optimizer",
    "open_adapter",
]

logger = logging.getLogger(__name__)


def open_adapter(config: TrialConfig, directory: Path, view: View, after: int = 0) -> Reports:
    """The reports of a frozen trial; see `TrialOpener` for the contract."""
    return open_trial_directory(config, directory, after, lambda trial: _train(config, trial, view))


def _train(config: TrialConfig, trial: TrialDirectory, view: View) -> Reports:
    """All reports from the first on: those that are kept on disk, then new ones."""
    fits = _fold_fits(config, view) if config.folds else [_plain_fit(config, view)]
    run = _Progress(trial, fits)
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


class _Progress:
    """Where a trial stands, kept in its directory: reports, best weights, resume state of every fit."""

    def __init__(self, trial: TrialDirectory, fits: Sequence[Fit]) -> None:
        self.number = 0
        self._trial = trial
        self._fits = fits
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
            self.number = state["report"]["number"]
            for fit, fit_state in zip(self._fits, state["fits"], strict=True):
                fit.restore(fit_state)
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
            self._best = self._weights()
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

    def _weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights; those of fold i of several are named i.NAME."""
        prefixes = [f"{fold}." for fold in range(len(self._fits))] if len(self._fits) > 1 else [""]
        return {
            prefix + name: tensor.detach().cpu().clone()
            for prefix, fit in zip(prefixes, self._fits, strict=True)
            for name, tensor in fit.dense.state_dict().items()
        }

    def _write_best(self) -> None:
        replace_atomic(self._trial.best, lambda part: save_file(self._best, str(part)), sync=False)

    def _write_state(self, report: Report) -> None:
        state = {
            "fits": [fit.state() for fit in self._fits],
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
        # A state of before there were folds is as good as none.
        return state if "fits" in state else None
