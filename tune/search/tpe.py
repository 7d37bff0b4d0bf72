"""Optuna's TPE with the same suggestions and less work for each, so that thousands of trials do not slow a search down.

Optuna reads and sorts all trials anew for every parameter. Here each is read once, when it has ended.
"""

from bisect import insort
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import default_gamma
from optuna.trial import FrozenTrial, TrialState

SHOWN = 1000
"""Ended trials that TPE takes for bad ones, at most; of more, so many that are evenly spread over time."""
BEST = 25
"""As many as TPE takes for good ones at most."""

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class _Shown(NamedTuple):
    """A trial that TPE learns from. badness: the key by which TPE sorts for a maximum. values: as Optuna computes."""

    number: int
    badness: tuple[int, float, float, int]
    values: dict[str, float]


class QuickTPE(TPESampler):
    """TPESampler for one value to maximise, with the suggestions of Optuna's up to SHOWN ended trials.

    With more, the model of bad trials is of a sample, and that of good ones still of the best of all.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self._read: set[int] = set()
        self._trials: list[_Shown] = []
        self._best: list[_Shown] = []

    def _sample(self, study: Any, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """As in Optuna, but with the trials kept. Raises AttributeError if an update of Optuna has renamed a part."""
        running = self._learn(study, trial.number)
        good = sorted(self._best[: default_gamma(len(self._trials))])
        numbers = {one.number for one in good}
        bad = [one for one in self._trials if one.number not in numbers]
        if len(bad) > SHOWN:
            bad = [bad[place] for place in np.linspace(0, len(bad) - 1, SHOWN, dtype=int)]
        # A running trial counts as bad, so that others at the same time are elsewhere.
        bad = sorted([*bad, *running], key=attrgetter("number"))
        of_good, of_bad = self._model(good, search_space), self._model(bad, search_space)
        drawn = of_good.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(drawn, self._compute_acquisition_func(drawn, of_good, of_bad))
        return {name: space.to_external_repr(chosen[name]) for name, space in search_space.items()}

    def _learn(self, study: Any, asked: int) -> list[_Shown]:
        """Read the trials that have ended since; return the running ones, without the one that is asked for."""
        running = []
        for trial in study.get_trials(deepcopy=False, states=(*_ENDED, TrialState.RUNNING)):
            if trial.number in self._read or trial.number == asked:
                continue
            values = {name: space.to_internal_repr(trial.params[name]) for name, space in trial.distributions.items()}
            one = _Shown(trial.number, _badness(trial), values)
            if trial.state == TrialState.RUNNING:
                running.append(one)
                continue
            self._read.add(trial.number)
            insort(self._trials, one, key=attrgetter("number"))
            insort(self._best, one, key=attrgetter("badness"))
            del self._best[BEST:]
        return running

    def _model(self, trials: Sequence[_Shown], search_space: dict[str, BaseDistribution]) -> Any:
        values = [one.values for one in trials if search_space.keys() <= one.values.keys()]
        columns = {name: np.asarray([one[name] for one in values]) for name in search_space}
        return self._parzen_estimator_cls(columns, search_space, self._parzen_estimator_parameters)


def _badness(trial: FrozenTrial) -> tuple[int, float, float, int]:
    """Complete trials first, the best of them before the others; then the pruned ones that got furthest."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return 0, 0.0, -trial.value, trial.number
    if not trial.intermediate_values:
        return 2, 0.0, 0.0, trial.number
    step, auc = max(trial.intermediate_values.items())
    return 1, -step, -auc, trial.number
