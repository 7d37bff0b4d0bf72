"""Optuna's TPE as Ray's searcher: conditional on our space, told the truth about stopped and failed trials.

The study is in memory. A search that goes on is told the trials of before (`past`), which the trial directories hold;
`export_study` writes it for optuna-dashboard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from ray.air.constants import TRAINING_ITERATION
from ray.tune.search.optuna import OptunaSearch

from tune.config.space import Point, Range, Space
from tune.train.stream import sixteenth

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class PastTrial:
    """A trial of before: its point, how it stands, and best_auc by sixteenths of the plan."""

    point: Point
    status: Literal["done", "stopped", "failed", "halfway"]
    best_aucs: dict[int, float]


class Alternatives:
    """The spaces as Optuna's parameters, conditional: a trial has those of its own space that mean something there.

    With several spaces the parameter `space` (its number, from 1) comes first, and names begin with it: a learning
    rate of a frozen base model tells nothing about that of a whole one.
    """

    def __init__(self, spaces: Sequence[Space]) -> None:
        self._spaces = list(spaces)

    def _name(self, number: int, axis: str) -> str:
        return axis if len(self._spaces) == 1 else f"{number}.{axis}"

    @property
    def _numbers(self) -> CategoricalDistribution:
        return CategoricalDistribution(tuple(range(1, len(self._spaces) + 1)))

    def draw(self, trial: Any) -> Point:
        """The point that an Optuna trial suggests."""
        number = 1 if len(self._spaces) == 1 else trial.suggest_categorical("space", self._numbers.choices)

        def choose(axis: str, values: Any) -> Any:
            name = self._name(number, axis)
            if isinstance(values, Range):
                return trial.suggest_float(name, values.low, values.high, log=values.log)
            # An axis of one value is a constant, which TPE need not know.
            return trial.suggest_categorical(name, values) if len(values) > 1 else values[0]

        return self._spaces[number - 1].walk(choose)

    def parameters(self, point: Point) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
        """The parameters that stand for a point, and their distributions; None where no space holds it."""
        for number, space in enumerate(self._spaces, start=1):
            chosen = space.choices(point)
            if chosen is None:
                continue
            values: dict[str, Any] = {} if len(self._spaces) == 1 else {"space": number}
            known: dict[str, BaseDistribution] = {} if len(self._spaces) == 1 else {"space": self._numbers}
            for axis, value in chosen.items():
                distribution = _distribution(getattr(space, axis))
                if distribution is not None:
                    values[self._name(number, axis)] = value
                    known[self._name(number, axis)] = distribution
            return values, known
        return None


def _distribution(values: Range | tuple[Any, ...]) -> BaseDistribution | None:
    """Of an axis; None where it has one value."""
    if isinstance(values, Range):
        return FloatDistribution(values.low, values.high, log=values.log)
    return CategoricalDistribution(values) if len(values) > 1 else None


class TPESearch(OptunaSearch):
    """OptunaSearch on best_auc, where a trial that ASHA stopped is pruned (not complete) and a failed one failed."""

    def __init__(self, spaces: Sequence[Space], seed: int, past: Sequence[PastTrial], study_name: str) -> None:
        self._alternatives = Alternatives(spaces)
        finished = [trial for trial in past if trial.status != "halfway"]
        super().__init__(
            space=self._alternatives.draw,
            metric="best_auc",
            mode="max",
            # Another seed after a resume: the same one would draw the points of before again.
            sampler=optuna.samplers.TPESampler(seed=(seed + 1_000_003 * len(finished)) % 2**32),
            study_name=study_name,
        )
        self._ot_study: Any
        for trial in past:
            found = self._alternatives.parameters(trial.point)
            if found is None:
                continue
            values, known = found
            if trial.status == "halfway":
                self._ot_study.enqueue_trial(values)
            else:
                self._ot_study.add_trial(_frozen(trial, values, known))

    def suggest(self, trial_id: str) -> Point:
        """The next point. Ray would take the parameters for the point, and their names are not those of the axes."""
        if trial_id not in self._ot_trials:
            self._ot_trials[trial_id] = self._ot_study.ask()
        return self._alternatives.draw(self._ot_trials[trial_id])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the study how the trial ended."""
        failed = error or bool(result and "failed" in result)
        if result is not None and "best_auc" in result:
            # Ray tells the searcher of every report but the one that a trial ends with.
            self.on_trial_result(trial_id, result)
        complete = result is not None and not failed and result.get("budget", 0.0) >= 1.0
        super().on_trial_complete(trial_id, result=result if complete else None, error=failed)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tells the study of a report, by the share of the plan.

        TPE ranks pruned trials by how far they came, and some report less often.
        """
        super().on_trial_result(trial_id, {**result, TRAINING_ITERATION: sixteenth(result["budget"])})

    def export(self, path: Path) -> None:
        """Writes the study to `path` as an Optuna journal, whole."""
        export_study(self._ot_study, path)


def _frozen(trial: PastTrial, values: dict[str, Any], known: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    states = {
        "done": optuna.trial.TrialState.COMPLETE,
        "stopped": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
    }
    last = max(trial.best_aucs, default=0)
    return optuna.trial.create_trial(
        state=states[trial.status],
        value=trial.best_aucs[last] if trial.status == "done" else None,
        params=values,
        distributions=known,
        intermediate_values=dict(trial.best_aucs),
    )


def export_study(study: optuna.Study, path: Path) -> None:
    """Copies a study into a journal file that optuna-dashboard opens."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from tune.files import replace_atomic

    def write(part: Path) -> None:
        storage = JournalStorage(JournalFileBackend(str(part)))
        copy = optuna.create_study(storage=storage, study_name=study.study_name, direction="maximize")
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                copy.add_trial(trial)

    replace_atomic(path, write)
