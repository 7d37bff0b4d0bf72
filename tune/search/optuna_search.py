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
from ray.tune.search.optuna import OptunaSearch

from tune.config.space import Range, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class PastTrial:
    """A trial of before: its axes, how it stands, and best_auc by report number."""

    axes: dict[str, Any]
    status: Literal["done", "stopped", "failed", "halfway"]
    best_aucs: dict[int, float]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Of the axes that have more than one value; the others are constants, which TPE need not know."""
    found: dict[str, BaseDistribution] = {}
    for name, values in space.axes():
        if isinstance(values, Range):
            found[name] = FloatDistribution(values.low, values.high, log=values.log)
        elif len(values) > 1:
            found[name] = CategoricalDistribution(values)
    return found


class _Draw:
    """Draws a point; a class, because Ray pickles its searcher."""

    def __init__(self, space: Space) -> None:
        self._distributions = distributions(space)
        self._constants = {
            name: values[0] for name, values in space.axes() if not isinstance(values, Range) and len(values) == 1
        }

    def __call__(self, trial: Any) -> dict[str, Any]:
        for name, distribution in self._distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                trial.suggest_categorical(name, distribution.choices)
            elif isinstance(distribution, FloatDistribution):
                trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
        return dict(self._constants)


class TPESearch(OptunaSearch):
    """OptunaSearch on best_auc, where a trial that ASHA stopped is pruned (not complete) and a failed one failed."""

    def __init__(self, space: Space, seed: int, past: Sequence[PastTrial], study_name: str) -> None:
        known = distributions(space)
        finished = [trial for trial in past if trial.status != "halfway"]
        super().__init__(
            space=_Draw(space),
            metric="best_auc",
            mode="max",
            # Another seed after a resume: the same one would draw the points of before again.
            sampler=optuna.samplers.TPESampler(seed=(seed + 1_000_003 * len(finished)) % 2**32),
            study_name=study_name,
        )
        self._ot_study: Any
        for trial in finished:
            self._ot_study.add_trial(_frozen(trial, known))
        for trial in past:
            if trial.status == "halfway":
                self._ot_study.enqueue_trial({name: trial.axes[name] for name in known})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the study how the trial ended."""
        failed = error or bool(result and "failed" in result)
        if result is not None and "best_auc" in result:
            # Ray tells the searcher of every report but the one that a trial ends with.
            self._ot_trials[trial_id].report(result["best_auc"], result["training_iteration"])
        complete = result is not None and not failed and result.get("budget", 0.0) >= 1.0
        super().on_trial_complete(trial_id, result=result if complete else None, error=failed)

    def export(self, path: Path) -> None:
        """Writes the study to `path` as an Optuna journal, whole."""
        export_study(self._ot_study, path)


def _frozen(trial: PastTrial, known: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    states = {
        "done": optuna.trial.TrialState.COMPLETE,
        "stopped": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
    }
    last = max(trial.best_aucs, default=0)
    return optuna.trial.create_trial(
        state=states[trial.status],
        value=trial.best_aucs[last] if trial.status == "done" else None,
        params={name: trial.axes[name] for name in known},
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
