"""Judges the winner of a search without a test side, on the pairs that it was chosen on: out of fold, and corrected.

Every report of every trial takes part, since the winner is the best report of the best trial.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from tune.data.sides import LabelledPairs
from tune.embed.view import View
from tune.evaluate.comparisons import judged, planned
from tune.evaluate.draws import draws_of
from tune.metrics.intervals import Bootstrap
from tune.metrics.out_of_fold import FoldedPairs, OutOfBagBootstrap, draws_for
from tune.metrics.verdict import correction
from tune.train.folded import FoldedModel
from tune.train.outcomes import TrialOutcome
from tune.train.trained import Models, baseline_key

JUDGED = "judged out of fold"


def judge_out_of_fold(
    winner: FoldedModel,
    outcomes: Sequence[TrialOutcome],
    models: Models,
    pairs: LabelledPairs,
    untouched: Mapping[str, NDArray[np.float64]],
    seed: int,
) -> dict[str, Any]:
    """Judge the winner, and compare it with each untouched base model.

    outcomes: all trials. pairs: all pairs, in the order of `View.train_and_val`, with components. untouched: name ->
    cosines [n] of each base model, and of what else is to be shown beside them. Returns plain values:
    `auc`, `low`, `high` (of the winner), `reason` (why there is no interval, or ""), `bases` (name -> auc, low, high on
    all pairs), `trials`, `reports` (among which the choice was repeated), `draws`, `redrawn`, `components`, `sentence`
    (how it was judged), `verdicts` (a sentence against each base model, its own first), `correction`, `comparisons`.
    """
    assert pairs.component is not None
    view = View.open(winner.base.view(models.cache))
    folded = FoldedPairs(pairs.label, pairs.component, view.folds(winner.config.folds, winner.config.seed))
    scores = _competing(outcomes, models)
    candidates = np.concatenate(scores)
    draws = draws_for(len(candidates), len(pairs))
    usual = draws_of(pairs, seed).bootstrap
    bootstrap = OutOfBagBootstrap(folded, usual, draws, seed)
    found = bootstrap.chosen(candidates, winner.best_out_of_fold())
    interval = bootstrap.interval_of(found)
    comparisons = [
        replace(one, models=replace(one.models, aside=f"{one.models.aside}, {JUDGED}"))
        for one in planned([winner], models)
        if one.family == "primary" and one.kind != "frozen"
    ]
    comparisons.sort(key=lambda one: one.kind != "own")
    fixed = {baseline_key(name): bootstrap.fixed(untouched[name]) for name in models.bases}
    entries = judged(comparisons, [bootstrap.difference_of(found, fixed[one.b]) for one in comparisons])
    return {
        "auc": found.value,
        "low": None if interval is None else interval[0],
        "high": None if interval is None else interval[1],
        "reason": bootstrap.reason,
        "bases": {name: _interval(usual, of) for name, of in untouched.items()},
        "trials": len(scores),
        "reports": len(candidates),
        "draws": draws,
        "redrawn": bootstrap.redraws,
        "components": bootstrap.components,
        "sentence": f"{JUDGED}: the choice among {_trials(len(scores))} was repeated on {bootstrap.described()}",
        "verdicts": [entry["sentence"] for entry in entries],
        "correction": correction(sum(entry["p_holm"] is not None for entry in entries)),
        "comparisons": entries,
    }


def _competing(outcomes: Sequence[TrialOutcome], models: Models) -> list[NDArray[np.floating]]:
    """Return the scores of each trial at all of its reports; a trial with damaged files is left out."""
    found = []
    for outcome in outcomes:
        model = models.of(outcome)
        if outcome.best is not None and outcome.status != "failed" and isinstance(model, FoldedModel):
            with contextlib.suppress(OSError, ValueError, RuntimeError, SafetensorError):
                found.append(model.out_of_fold())
    return found


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count:,} trials"


def _interval(bootstrap: Bootstrap, scores: NDArray[np.float64]) -> dict[str, Any]:
    resampled = bootstrap.resample(scores)
    interval = bootstrap.interval_of(resampled) or (None, None)
    return {"auc": resampled.value, "low": interval[0], "high": interval[1]}
