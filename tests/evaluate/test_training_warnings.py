"""When a search warns that no trial was trained to its best, and what it advises."""

from pathlib import Path
from typing import Any

from tune.config.trial import TrialConfig
from tune.evaluate.training_warnings import training_warnings
from tune.train.outcomes import Status, TrialOutcome
from tune.train.stream import Report

UNTOUCHED = {"base": 0.8, "other": 0.9}
RISING, PEAKED, WORSE, UNMOVED = (0.81, 0.83, 0.85), (0.81, 0.85, 0.84), (0.79, 0.76, 0.7), (0.8, 0.8003, 0.7998)


def trial(*aucs: float, status: Status = "done", **axes: Any) -> TrialOutcome:
    values = {"base_model": "base", "dims": 8, "loss": "cosent", "learning_rate": 1e-3, "freeze": False, **axes}
    reports = [
        Report(number, number / len(aucs), auc, max(aucs[:number]), 0.5, 0.1, 1.0, 1.0, 1.0)
        for number, auc in enumerate(aucs, start=1)
    ]
    return TrialOutcome("t", Path(), TrialConfig(**values), status, reports, "")


def warned(*trials: TrialOutcome) -> list[str]:
    return training_warnings(trials, UNTOUCHED)


def test_all_were_still_improving() -> None:
    [line] = warned(trial(*RISING), trial(*RISING))
    assert line == (
        "every trial that trained base whole was still improving at its last report: "
        "try more epochs or higher learning rates"
    )
    assert warned(trial(*RISING), trial(*PEAKED)) == []


def test_none_was_better_than_the_untouched_model() -> None:
    [line] = warned(trial(*WORSE), trial(*WORSE))
    assert line == (
        "no trial that trained base whole was clearly better than untouched base on validation: "
        "try lower learning rates, or another loss"
    )
    assert warned(trial(*WORSE), trial(*PEAKED)) == []
    [line] = warned(trial(*UNMOVED), trial(*UNMOVED))
    assert "clearly better" in line and line.endswith("try more epochs or higher learning rates")
    [line] = warned(trial(0.6, 0.7), trial(0.7, 0.75))
    assert line.endswith("each was still improving at its last report: try more epochs or higher learning rates")


def test_a_single_report_says_nothing_about_improvement() -> None:
    assert warned(trial(0.85), trial(0.86)) == []
    assert warned(trial(0.85), trial(*RISING)) == [], "one curve is not enough"
    assert len(warned(trial(0.7), trial(0.75))) == 1, "but one report shows that a trial is worse"


def test_only_trials_of_a_base_model_that_ran_to_their_end_count() -> None:
    stopped = [trial(*RISING, status=status) for status in ("stopped", "halfway", "failed")]
    assert warned(trial(*RISING)) == warned(trial(*RISING), *stopped) == []
    assert warned(*(trial(*RISING, freeze=True) for _ in range(2))) == [], "layers are not meant"
    assert warned(trial(), trial()) == [], "without reports"
    assert len(warned(trial(*RISING), trial(*RISING), trial(*PEAKED, status="stopped"))) == 1


def test_base_models_and_kinds_are_judged_apart() -> None:
    lines = warned(
        *(trial(*PEAKED) for _ in range(2)),
        *(trial(*PEAKED, base_model="other") for _ in range(2)),
        *(trial(*RISING, train="lora") for _ in range(2)),
    )
    assert [line.partition(" was ")[0] for line in lines] == [
        "no trial that trained other whole",
        "every trial that trained base with LoRA",
    ]
