"""Opens test, once: scores the untouched base models and the finalists on it, with intervals on the same draws.

Thresholds come from val. With bf16 snapshots the test texts are embedded in fp32, so that what is reported is what
the exported model (fp32 weights) gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from tune.config.trial import TrialConfig
from tune.embed.prepare import LabelledPairs, PreparedBase
from tune.embed.view import View
from tune.evaluate.intervals import ComponentBootstrap, with_interval
from tune.evaluate.score import TestScore, fit_thresholds, roc_auc, score_pairs
from tune.evaluate.verdict import verdict
from tune.search.outcomes import TrialOutcome
from tune.train.adapter import cosine, dense_cosine, load_dense

_SAME_AUC = 1e-4


@dataclass(frozen=True)
class Final:
    """A model's numbers: on val (auc and the thresholds fitted there), and on test once it is opened."""

    val_auc: float
    threshold: float
    logistic_threshold: float
    test: TestScore | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def baseline_key(base_model: str) -> str:
    """Names an untouched base model where a trial would be named."""
    return f"baseline:{base_model}"


def base_val(base: PreparedBase, cache: Path) -> Final:
    """The untouched base model on val."""
    view = View.open(base.view(cache))
    return _on_val(cosine(view.vectors, view.val), view.val.label)


def trial_val(outcome: TrialOutcome, base: PreparedBase, cache: Path) -> Final:
    """A trial's best weights on val: its AUC there, and the thresholds."""
    view = View.open(base.view(cache))
    dense = load_dense(outcome.config, outcome.directory / "best.safetensors", base.dims)
    return _on_val(dense_cosine(dense, view.vectors, view.val), view.val.label)


def sound_finalists(
    outcomes: Sequence[TrialOutcome],
    bases: dict[str, PreparedBase],
    cache: Path,
    count: int,
    grid: bool,
    warn: Callable[[str], None],
) -> list[TrialOutcome]:
    """The finalists, each of which still has the weights that it reported; others leave, with a warning each.

    A trial whose worker was killed for good between its weights and its report, or whose files were damaged, must
    cost its own place and no other.
    """
    candidates = list(outcomes)
    while True:
        finalists = choose_finalists(candidates, count, grid)
        wrong = {}
        for outcome in finalists:
            if why := _unsound(outcome, bases[outcome.config.base_model], cache):
                wrong[outcome.trial] = why
        if not wrong:
            return finalists
        for trial, why in wrong.items():
            warn(f"trial {trial} cannot be a finalist: {why}")
        candidates = [outcome for outcome in candidates if outcome.trial not in wrong]


def _unsound(outcome: TrialOutcome, base: PreparedBase, cache: Path) -> str:
    try:
        auc = trial_val(outcome, base, cache).val_auc
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        return f"its weights cannot be read ({' '.join(str(error).split())[:200]})"
    reported = _best_auc(outcome)
    label = View.open(base.view(cache)).val.label
    # On another machine sums are taken in another order, and some pairs of nearly equal cosine change places.
    swaps = 5 / (int((label == 1).sum()) * int((label == 0).sum()))
    if abs(auc - reported) > max(_SAME_AUC, swaps):
        return f"it reported {reported:.6f} on val, but its weights give {auc:.6f}"
    return ""


def _on_val(scores: NDArray[np.float64], label: NDArray[np.int8]) -> Final:
    thresholds = fit_thresholds(scores, label)
    return Final(roc_auc(scores, label), thresholds.accuracy, thresholds.logistic)


def choose_finalists(outcomes: Sequence[TrialOutcome], count: int, grid: bool) -> list[TrialOutcome]:
    """The trials that test is opened for, best first by val; in a grid also the best of every cell.

    A cell is one (base_model, train_size, dims, freeze). Equal trials go by name, so that chance decides nothing.
    """
    scored = [outcome for outcome in outcomes if outcome.best is not None and outcome.status != "failed"]
    by_val = sorted(scored, key=lambda outcome: (-_best_auc(outcome), outcome.trial))
    chosen = {outcome.trial: outcome for outcome in by_val[:count]}
    if grid:
        cells: set[tuple[Any, ...]] = set()
        for outcome in by_val:
            cell = _cell(outcome.config)
            if cell not in cells:
                cells.add(cell)
                chosen.setdefault(outcome.trial, outcome)
    return sorted(chosen.values(), key=lambda outcome: (-_best_auc(outcome), outcome.trial))


def _best_auc(outcome: TrialOutcome) -> float:
    return outcome.best.auc if outcome.best else 0.0


def _cell(config: TrialConfig) -> tuple[Any, ...]:
    return config.base_model, config.train_size, config.dims, config.freeze


def open_test(
    finalists: Sequence[TrialOutcome],
    bases: dict[str, PreparedBase],
    cache: Path,
    pairs: LabelledPairs,
    component: NDArray[np.int64],
    seed: int,
) -> dict[str, Any]:
    """Scores baselines and finalists on test. finalists[0] is the winner.

    pairs, component: the test side, [n]. Returns plain values: `models` (key -> Final), `verdict` (the winner
    against its own untouched base), `draws` (of the bootstrap).
    """
    bootstrap = ComponentBootstrap(pairs.label, component, seed=seed)
    models: dict[str, Final] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    for base in bases.values():
        vectors, rows = base.test_rows(cache, pairs)
        scores[baseline_key(base.name)] = cosine(vectors, rows)
        models[baseline_key(base.name)] = base_val(base, cache)
        for outcome in finalists:
            if outcome.config.base_model == base.name:
                dense = load_dense(outcome.config, outcome.directory / "best.safetensors", base.dims)
                scores[outcome.trial] = dense_cosine(dense, vectors, rows)
                models[outcome.trial] = trial_val(outcome, base, cache)
    scored = {
        key: Final(
            final.val_auc,
            final.threshold,
            final.logistic_threshold,
            with_interval(
                score_pairs(scores[key], pairs.label, final.threshold, final.logistic_threshold),
                bootstrap,
                scores[key],
            ),
        )
        for key, final in models.items()
    }
    result: dict[str, Any] = {
        "pairs": len(pairs),
        "components": bootstrap.components,
        "draws": bootstrap.draws,
        "redrawn": bootstrap.redraws,
        "models": {key: final.to_json() for key, final in scored.items()},
        "verdict": None,
    }
    if finalists:
        winner = finalists[0]
        own = baseline_key(winner.config.base_model)
        difference = bootstrap.difference(scores[winner.trial], scores[own])
        result["verdict"] = verdict(
            f"the winner ({winner.config.base_model}, {winner.config.dims} dims, {winner.config.loss})",
            f"the untouched {winner.config.base_model}",
            difference,
        ).to_json()
    return result
