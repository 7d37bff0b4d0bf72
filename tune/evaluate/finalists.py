"""Chooses the finalists by validation, before test is opened.

Trials may have reported on a sample of val, the same for all. What may be as good as the leader on that sample is
scored on all of val, and only then are finalists and winner chosen.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tune.config.trial import TrialConfig
from tune.embed.view import View
from tune.errors import ModelError
from tune.metrics.sample import sample_error
from tune.train.kinds import kind_of
from tune.train.outcomes import TrialOutcome
from tune.train.stream import TrialFailed
from tune.train.trained import Models, TrialModel

_SAME_AUC = 1e-4
_Z = 1.96
"""Half the width of a 95% interval, in standard errors."""
SPARE = 1
"""How many finalists may turn out to be damaged before a place stays empty, where weights were deleted."""

_FALLS_FROM = 0.5
"""From this AUC on, the leader's interval only narrows as its AUC grows, so nothing far below comes close again."""

Scored = tuple[float, TrialOutcome]
"""A trial with the AUC that ranks it."""


@dataclass(frozen=True)
class Choice:
    """finalists: the winner first. contenders: all that were scored on all of val, best first, finalists among them."""

    finalists: list[TrialModel]
    contenders: list[TrialModel]


def choose(
    outcomes: Sequence[TrialOutcome], models: Models, count: int, grid: bool, report: Callable[[str], None]
) -> Choice:
    """Return the finalists; each still has the weights it reported.

    Others are dropped, with a warning each: a trial whose worker was killed between its weights and its report, or with
    damaged files, must lose its own place and no other.
    """
    candidates = [outcome for outcome in _candidates(outcomes) if not outcome.weights_deleted]
    announced = False
    while True:
        contending = contenders_among(candidates, models, count, grid)
        if not announced and any(_sampled(outcome) for outcome in contending):
            report(f"scoring {len(contending)} contenders on all of validation")
            announced = True
        contenders = [models.of(outcome) for outcome in contending]
        wrong = {model.outcome.trial: why for model in contenders if (why := _unsound(model))}
        if not wrong:
            break
        for trial, why in wrong.items():
            report(f"trial {trial} cannot be a finalist: {why}")
        candidates = [outcome for outcome in candidates if outcome.trial not in wrong]
    scored = [(model.val_auc(), model.outcome) for model in contenders]
    return Choice(
        [models.of(outcome) for _, outcome in leading(scored, count, grid)],
        [models.of(outcome) for _, outcome in _ranked(scored)],
    )


def releasable(ended: Sequence[TrialOutcome], models: Models, count: int, grid: bool) -> list[TrialOutcome]:
    """Return those of the ended trials that cannot be finalists, whatever others still reach; see `choose`.

    They cannot even if one finalist (`SPARE`) turns out to be damaged. ended: done or stopped; those that were returned
    before may be left out.
    """
    candidates = _candidates(ended)
    best = sorted((_best_auc(outcome) for outcome in candidates), reverse=True)[SPARE:]
    if not best or best[0] < _FALLS_FROM:
        return []
    kept = {outcome.trial for outcome in contenders_among(candidates, models, count, grid, SPARE)}
    return [outcome for outcome in candidates if outcome.trial not in kept]


def leading(scored: Sequence[Scored], count: int, grid: bool, of_cell: int = 1) -> list[Scored]:
    """Return the best trials, the best first; in a grid also the best of every cell, else of every kind.

    A cell is one (base_model, train_size, dims, kind). Equal trials go by name, so that chance decides nothing.
    of_cell: how many are the best of a cell.
    """
    ranked = _ranked(scored)
    chosen, cells = {outcome.trial: (auc, outcome) for auc, outcome in ranked[:count]}, Counter[tuple[Any, ...]]()
    for auc, outcome in ranked:
        cell = cell_of(outcome.config) if grid else (kind_of(outcome.config).group,)
        cells[cell] += 1
        if cells[cell] <= of_cell:
            chosen.setdefault(outcome.trial, (auc, outcome))
    return _ranked(list(chosen.values()))


def contenders_among(
    candidates: Sequence[TrialOutcome], models: Models, count: int, grid: bool, spare: int = 0
) -> list[TrialOutcome]:
    """Return the leading trials by their reports, and all whose interval overlaps the leader's.

    spare: how many of them may leave without any but these taking their places.
    """
    scored = _ranked([(_best_auc(outcome), outcome) for outcome in candidates])
    chosen = {outcome.trial for _, outcome in leading(scored, count + spare, grid, 1 + spare)}
    if len(scored) > spare:
        leader, margin = scored[spare][0], _half_width(*scored[spare], models)
        for auc, outcome in scored:
            if margin and leader - auc <= margin + _half_width(auc, outcome, models):
                chosen.add(outcome.trial)
    return [outcome for _, outcome in scored if outcome.trial in chosen]


def _half_width(auc: float, outcome: TrialOutcome, models: Models) -> float:
    """Return half the 95% interval of a reported AUC, as an estimate of that on all of val; 0 if it is that."""
    if outcome.best is None or not _sampled(outcome):
        return 0.0
    share, of_pairs = _val_labels(models.bases[outcome.config.base_model].view(models.cache))
    pairs = outcome.best.val_pairs
    positives = min(max(round(pairs * share), 1), pairs - 1)
    return _Z * sample_error(auc, positives, pairs - positives, of_pairs)


@lru_cache(maxsize=64)
def _val_labels(view: Path) -> tuple[float, int]:
    """Return the share of positive pairs in a view's val, and the number of all."""
    label = View.open(view).val.label
    return float((label == 1).mean()), len(label)


def _sampled(outcome: TrialOutcome) -> bool:
    return bool(outcome.config.val_sample)


def _candidates(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    return [outcome for outcome in outcomes if outcome.best is not None and outcome.status != "failed"]


def _unsound(model: TrialModel) -> str:
    try:
        auc = model.reported_auc()
        model.weights()  # with folds, trains the model that is tested and exported
    except TrialFailed as error:
        return f"training it on all pairs failed ({error})"
    except (OSError, ValueError, RuntimeError, SafetensorError, ModelError) as error:
        return f"its weights cannot be read ({' '.join(str(error).split())[:200]})"
    reported = _best_auc(model.outcome)
    if abs(auc - reported) > max(_SAME_AUC, model.rounding()):
        return f"it reported {reported:.6f} on val, but its weights score {auc:.6f}"
    return ""


def _ranked(scored: Sequence[Scored]) -> list[Scored]:
    return sorted(scored, key=lambda one: (-one[0], one[1].trial))


def _best_auc(outcome: TrialOutcome) -> float:
    return outcome.best.auc if outcome.best else 0.0


def cell_of(config: TrialConfig) -> tuple[Any, ...]:
    """Return the cell of a grid that a trial is in."""
    return config.base_model, config.train_size, config.all_dims, kind_of(config).label
