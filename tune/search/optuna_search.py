"""Optuna's TPE as a Ray searcher, with our conditional spaces, and with stopped and failed trials recorded as such.

The study lives in memory. A resumed search rebuilds it from the earlier trials (`past`), read from the trial
directories; `export_study` writes it for optuna-dashboard.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from ray.air.constants import TRAINING_ITERATION
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from tune.config.space import Point, Range, Space
from tune.search.points import point_key, unseen_point
from tune.search.tpe import QuickTPE
from tune.train.stream import sixteenth

REPEATS = 10
"""How often Optuna is asked again when it suggests a known point; then an unseen one is drawn at random."""

_REPEAT = "repeat"
"""The user attribute of Optuna trials that were only asked for and not run."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class PastTrial:
    """A trial of an earlier run. best_aucs: {sixteenths of the plan: best_auc}."""

    point: Point
    status: Literal["done", "stopped", "failed", "halfway"]
    best_aucs: dict[int, float]


class Alternatives:
    """The spaces as conditional Optuna parameters: a trial has only the parameters that apply in its own space.

    With several spaces, the parameter `space` (its number, from 1) comes first and prefixes the other names: a good
    learning rate for a frozen base model says nothing about one for a whole model.
    """

    def __init__(self, spaces: Sequence[Space]) -> None:
        self._spaces = list(spaces)

    def _name(self, number: int, axis: str) -> str:
        return axis if len(self._spaces) == 1 else f"{number}.{axis}"

    @property
    def _numbers(self) -> CategoricalDistribution:
        return CategoricalDistribution(tuple(range(1, len(self._spaces) + 1)))

    def draw(self, trial: Any) -> Point:
        """Return the point that an Optuna trial suggests."""
        number = 1 if len(self._spaces) == 1 else trial.suggest_categorical("space", self._numbers.choices)

        def choose(axis: str, values: Any) -> Any:
            name = self._name(number, axis)
            if isinstance(values, Range):
                return trial.suggest_float(name, values.low, values.high, log=values.log)
            # An axis with one value is a constant, so it is not a parameter.
            return trial.suggest_categorical(name, values) if len(values) > 1 else values[0]

        return self._spaces[number - 1].walk(choose)

    def parameters(self, point: Point) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
        """Return a point's parameters and their distributions by name; None if no space contains the point."""
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
    """Return the distribution of an axis; None if it has only one value."""
    if isinstance(values, Range):
        return FloatDistribution(values.low, values.high, log=values.log)
    return CategoricalDistribution(values) if len(values) > 1 else None


class TPESearch(OptunaSearch):
    """OptunaSearch on best_auc that suggests no point twice, and records stopped trials as pruned, failed as failed.

    past: trials of earlier runs; unfinished ones are suggested first, the others not again.
    """

    def __init__(self, spaces: Sequence[Space], seed: int, past: Sequence[PastTrial], study_name: str) -> None:
        self._alternatives = Alternatives(spaces)
        finished = [trial for trial in past if trial.status != "halfway"]
        super().__init__(
            space=self._alternatives.draw,
            metric="best_auc",
            mode="max",
            # A new seed after a resume: the same seed would draw the earlier points again.
            sampler=QuickTPE(seed=(seed + 1_000_003 * len(finished)) % 2**32),
            study_name=study_name,
        )
        self._ot_study: Any
        self._spaces = spaces
        self._seen = {point_key(trial.point) for trial in finished}
        self._random = random.Random(f"unseen {seed} {len(finished)}")
        for trial in past:
            found = self._alternatives.parameters(trial.point)
            if found is None:
                continue
            values, known = found
            if trial.status == "halfway":
                self._ot_study.enqueue_trial(values)
            else:
                self._ot_study.add_trial(_frozen(trial, values, known))

    def suggest(self, trial_id: str) -> Any:
        """Return the next point, or FINISHED if every point was suggested.

        Ray's method would return the parameters, which are not named like the axes.
        """
        if trial_id not in self._ot_trials:
            unseen = self._ask_unseen()
            if unseen is None:
                return Searcher.FINISHED
            self._ot_trials[trial_id] = unseen
        return self._alternatives.draw(self._ot_trials[trial_id])

    def _ask_unseen(self) -> Any:
        """Return a new Optuna trial at a point not seen before, marked as seen; None if there is none.

        A repeat stays running while Optuna is asked again: TPE takes a running trial for a bad one and moves away from
        it. Then it ends as failed, which TPE ignores; a second result at the same point would count twice.
        """
        repeats: list[Any] = []
        found: Any = None
        while found is None:
            if len(repeats) >= REPEATS:
                point = unseen_point(self._spaces, self._seen, self._random)
                parameters = None if point is None else self._alternatives.parameters(point)
                if parameters is None:
                    break
                self._ot_study.enqueue_trial(parameters[0])
            trial = self._ot_study.ask()
            key = point_key(self._alternatives.draw(trial))
            if key in self._seen:
                trial.set_user_attr(_REPEAT, True)
                repeats.append(trial)
            else:
                self._seen.add(key)
                found = trial
        for trial in repeats:
            self._ot_study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return found

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record in the study how the trial ended."""
        failed = error or bool(result and "failed" in result)
        if result is not None and "best_auc" in result:
            # Ray passes every report to on_trial_result except a trial's last one.
            self.on_trial_result(trial_id, result)
        complete = result is not None and not failed and result.get("budget", 0.0) >= 1.0
        super().on_trial_complete(trial_id, result=result if complete else None, error=failed)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record a report in the study, with the sixteenths of the plan as its step.

        TPE ranks pruned trials by how far they got, and some trials report less often than others.
        """
        super().on_trial_result(trial_id, {**result, TRAINING_ITERATION: sixteenth(result["budget"])})

    def export(self, path: Path) -> None:
        """Write the study to `path`; see `export_study`."""
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
    """Write the finished trials of a study to `path`, atomically, as a journal that optuna-dashboard can open.

    Points that were asked for again and not run are left out.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

    from tune.files import replace_atomic

    class Collected(BaseJournalBackend):
        """A journal in memory: the file's own backend flushes every line to disk."""

        def __init__(self) -> None:
            self.logs: list[dict[str, Any]] = []

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            return self.logs[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self.logs += logs

    collected = Collected()
    copy = optuna.create_study(storage=JournalStorage(collected), study_name=study.study_name, direction="maximize")
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and _REPEAT not in trial.user_attrs:
            copy.add_trial(trial)
    replace_atomic(path, lambda part: JournalFileBackend(str(part)).append_logs(collected.logs))
