"""FoldedModel: the model of a trial with folds, as one that scores pairs and is exported."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune.embed.view import View
from tune.train.frozen.held_out import kept_scores
from tune.train.frozen.refit import mean_best_budget, out_of_fold, refit
from tune.train.trained import Final, TrialModel, final_of


class FoldedModel(TrialModel):
    """The model of a trial with folds. On val, each fold's layer scores the pairs that it has not seen.

    Test is scored by one layer refitted on train and val, up to the budget where the folds were best on average.
    """

    def weights(self) -> Path:
        """Return the path of the refitted layer, training it if missing."""
        budget = mean_best_budget(self.outcome.reports)
        # Named by its budget, which changes if an unfinished trial is exported and then resumed.
        refitted = self.outcome.directory / f"refit-{budget:.6f}.safetensors"
        if not refitted.exists():
            refit(self.config, View.open(self.base.view(self.cache)), budget, refitted)
        return refitted

    def out_of_fold(self) -> NDArray[np.floating]:
        """Return the out-of-fold scores of all pairs at each report, [reports, n], at the first dims.

        If they were not kept, or are damaged: those of the best report alone, [1, n]. Raises as `val` does.
        """
        view = View.open(self.base.view(self.cache))
        try:
            return kept_scores(self.outcome.directory, self.outcome.reports, len(view.train_and_val()))
        except (OSError, ValueError):
            scores, _ = out_of_fold(self.config, self.best, view, self.dims[0])
            return scores[None]

    def best_out_of_fold(self) -> NDArray[np.floating]:
        """Return those of the best report, [n]."""
        scores, best = self.out_of_fold(), self.outcome.best
        row: NDArray[np.floating] = scores[0 if best is None or len(scores) == 1 else best.number - 1]
        return row

    def _comparisons(self) -> int:
        label = View.open(self.base.view(self.cache)).train_and_val().label
        return int((label == 1).sum()) * int((label == 0).sum())

    def _on_val(self, view: View) -> dict[int, Final]:
        pairs, fold = view.train_and_val(), view.folds(self.config.folds, self.config.seed)
        finals = {}
        for dims in self.dims:
            scores, _ = out_of_fold(self.config, self.best, view, dims)
            finals[dims] = final_of(scores, pairs, fold)
            if dims == self.dims[0]:
                self._val_scores = scores.astype(np.float32)
        return finals
