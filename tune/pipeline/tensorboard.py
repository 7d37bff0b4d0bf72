"""Precision-recall curves of the finalists, in TensorBoard's logs: on validation, before test is opened."""

from collections.abc import Sequence

from tune.embed.view import View
from tune.pipeline.run import Run
from tune.train.trained import TrialModel


def write_pr_curves(run: Run, finalists: Sequence[TrialModel]) -> None:
    """Add each finalist's curve at its first dims to its run; with folds, of the out-of-fold scores of all pairs."""
    from tune.search.tensorboard import add_pr_curve

    for model in finalists:
        view = View.open(model.base.view(model.cache))
        pairs = view.train_and_val() if model.kind.has_folds else view.val
        add_pr_curve(run.folder.runs, model.outcome.trial, model.val_scores(), pairs.label)
