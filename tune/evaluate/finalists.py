"""Chooses the finalists by validation, before test is opened."""

from collections.abc import Callable, Sequence
from typing import Any

from safetensors import SafetensorError

from tune.config.trial import TrialConfig
from tune.errors import ModelError
from tune.train.kinds import kind_of
from tune.train.outcomes import TrialOutcome
from tune.train.trained import Models, TrialModel

_SAME_AUC = 1e-4


def sound_finalists(
    outcomes: Sequence[TrialOutcome], models: Models, count: int, grid: bool, warn: Callable[[str], None]
) -> list[TrialModel]:
    """Return the finalists, the winner first; each still has the weights it reported.

    Others are dropped, with a warning each: a trial whose worker was killed between its weights and its report, or with
    damaged files, must lose its own place and no other.
    """
    candidates = list(outcomes)
    while True:
        finalists = [models.of(outcome) for outcome in choose_finalists(candidates, count, grid)]
        wrong = {}
        for model in finalists:
            if why := _unsound(model):
                wrong[model.outcome.trial] = why
        if not wrong:
            # Reports of trials that train the base model may have looked at a part of val; here all of it counts.
            return sorted(finalists, key=lambda model: (-model.val_auc(), model.outcome.trial))
        for trial, why in wrong.items():
            warn(f"trial {trial} cannot be a finalist: {why}")
        candidates = [outcome for outcome in candidates if outcome.trial not in wrong]


def _unsound(model: TrialModel) -> str:
    try:
        auc = model.reported_auc()
    except (OSError, ValueError, RuntimeError, SafetensorError, ModelError) as error:
        return f"its weights cannot be read ({' '.join(str(error).split())[:200]})"
    reported = _best_auc(model.outcome)
    if abs(auc - reported) > max(_SAME_AUC, model.rounding()):
        return f"it reported {reported:.6f} on val, but its weights score {auc:.6f}"
    return ""


def choose_finalists(outcomes: Sequence[TrialOutcome], count: int, grid: bool) -> list[TrialOutcome]:
    """Return the trials that test is opened for, best first by val; in a grid also the best of every cell.

    A cell is one (base_model, train_size, dims, freeze, train). Where frozen and whole models, or LoRA, were trained,
    the best of each is among them. Equal trials go by name, so that chance decides nothing.
    """
    scored = [outcome for outcome in outcomes if outcome.best is not None and outcome.status != "failed"]
    by_val = sorted(scored, key=lambda outcome: (-_best_auc(outcome), outcome.trial))
    chosen = {outcome.trial: outcome for outcome in by_val[:count]}
    cells: set[tuple[Any, ...]] = set()
    for outcome in by_val:
        cell = _cell(outcome.config) if grid else (kind_of(outcome.config).group,)
        if cell not in cells:
            cells.add(cell)
            chosen.setdefault(outcome.trial, outcome)
    return sorted(chosen.values(), key=lambda outcome: (-_best_auc(outcome), outcome.trial))


def _best_auc(outcome: TrialOutcome) -> float:
    return outcome.best.auc if outcome.best else 0.0


def _cell(config: TrialConfig) -> tuple[Any, ...]:
    return config.base_model, config.train_size, config.all_dims, kind_of(config).group
