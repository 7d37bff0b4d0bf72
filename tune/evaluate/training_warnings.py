"""Warnings about learning rates and epochs, from how the trials that trained their base model ended."""

from collections.abc import Mapping, Sequence

from tune.train.kinds import LORA, kind_of
from tune.train.outcomes import TrialOutcome

_LEAST_TRIALS = 2
"""One trial may have drawn an unlucky learning rate."""
_CLEARLY = 0.001
"""A smaller change of AUC is none: rates that are too low move it about by less."""
_MORE = "more epochs or higher learning rates"


def training_warnings(outcomes: Sequence[TrialOutcome], untouched: Mapping[str, float]) -> list[str]:
    """Return a warning for each base model and kind (whole, LoRA) whose trials all fell short.

    Each of at least two trials that ran to their end was still improving, or none was better than the untouched model.
    untouched: AUC of each such base model on the pairs that the reports scored.
    """
    ended: dict[tuple[str, bool], list[TrialOutcome]] = {}
    for outcome in outcomes:
        kind = kind_of(outcome.config)
        if kind.trains_base and outcome.status == "done" and outcome.reports:
            ended.setdefault((outcome.config.base_model, kind == LORA), []).append(outcome)
    warnings = []
    for (base_model, lora), trials in ended.items():
        if len(trials) >= _LEAST_TRIALS:
            how = "with LoRA" if lora else "whole"
            warnings.append(_warning(f"trained {base_model} {how}", trials, base_model, untouched[base_model]))
    return list(filter(None, warnings))


def _warning(did: str, trials: Sequence[TrialOutcome], base_model: str, untouched: float) -> str:
    """Return the warning, or "" if some trial was better than the untouched model and some was past its best."""
    # A single report says nothing about improvement.
    curves = [trial for trial in trials if len(trial.reports) > 1]
    improving = len(curves) >= _LEAST_TRIALS and all(trial.best is trial.last for trial in curves)
    if max(trial.best.auc for trial in trials if trial.best) < untouched + _CLEARLY:
        unmoved = all(abs(trial.last.auc - untouched) < _CLEARLY for trial in trials if trial.last)
        still = ", and each was still improving at its last report" if improving else ""
        advice = _MORE if improving or unmoved else "lower learning rates, or another loss"
        return f"no trial that {did} was clearly better than untouched {base_model} on validation{still}: try {advice}"
    if improving:
        return f"every trial that {did} was still improving at its last report: try {_MORE}"
    return ""
