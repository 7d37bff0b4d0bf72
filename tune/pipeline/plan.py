"""The plan of a search before it begins: how long its trials will take, from what trials took before.

Times come from earlier searches in the same results folder, at the same place and with the same base models; for layers
on frozen base models that no earlier search has trained here, from ten steps on random vectors. A place or a whole
model without an earlier search has no estimate.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tune.config.search import SearchConfig
from tune.config.trial import TrialConfig, trial_config
from tune.embed.view import PairRows, write_view
from tune.errors import ResultsError
from tune.machine import cpu_name
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary
from tune.search.points import grid_points, planned_trials, random_points
from tune.search.rung_rule import GRACE, REDUCTION
from tune.train.kinds import kind_of
from tune.train.local import LocalOpener
from tune.train.outcomes import trial_outcomes
from tune.train.planned import planned_cost
from tune.train.stream import TrialFailed

_SAMPLE = 200
"""Points of a space whose planned costs stand for all."""
_STEPS = 10
_SHOWN = 3
_UNKNOWN_DIMS = 768
_MIDDLE = (0.25, 0.75)
"""Quantiles: a machine that was busy for a while made some trials slow."""


@dataclass(frozen=True)
class Place:
    """Where trials run. jobs: at a time. gpu: on Modal, as `modal.gpu` of the summary has it; None for this machine.

    usd_per_hour: at least and at most, of a GPU on Modal; None if unknown.
    """

    jobs: int
    gpu: str | list[str] | None = None
    usd_per_hour: tuple[float, float] | None = None

    def ran(self, summary: Summary) -> bool:
        """Return whether a search ran at such a place."""
        if self.gpu is None:
            return summary.get("modal") is None and summary.get("cpu") == cpu_name()
        return (summary.get("modal") or {}).get("gpu") == self.gpu


@dataclass(frozen=True)
class TrialTimes:
    """Seconds of all trials together, as if one ran after the other, at least and at most. origin: how it is known."""

    least: float
    most: float
    origin: str


def planned_times(config: SearchConfig, train_pairs: int, earlier: "Earlier") -> TrialTimes | None:
    """Return how long the trials of a search will take; None if nothing is known about some of them."""
    trials = _sampled_trials(config)
    speeds = {_group(trial): earlier.speeds(trial) for trial in trials}
    origins = set()
    for group, found in speeds.items():
        if found:
            origins.add(f"earlier searches ({earlier.shown})")
            continue
        if earlier.place.gpu is not None or not all(trial.freeze for trial in trials if _group(trial) == group):
            return None
        example = next(trial for trial in trials if _group(trial) == group)
        try:
            speeds[group] = [_calibrated(example, earlier.dims_of(example.base_model))]
        except TrialFailed:
            return None
        origins.add(f"{_STEPS} steps on random vectors")
    least = most = 0.0
    for trial in trials:
        cost = planned_cost(trial, earlier.dims_of(trial.base_model), train_pairs)
        fast, slow = np.quantile(speeds[_group(trial)], _MIDDLE)
        least += (cost.opening + cost.training) * fast
        most += (cost.opening + cost.training) * slow
    scale = planned_trials(config) / len(trials)
    share = _least_share() if config.search.search == "asha" else 1.0
    return TrialTimes(least * scale * share, most * scale, " and ".join(sorted(origins)))


def _sampled_trials(config: SearchConfig) -> list[TrialConfig]:
    """Return the trials of a search, or a sample of them."""
    if config.search.search == "grid":
        points = grid_points(config.spaces)
        points = points[:: max(1, len(points) // _SAMPLE)]
    else:
        points = random_points(config.spaces, min(_SAMPLE, config.search.trials), config.search.seed)
    return [trial_config(point, config.search.trial_options()) for point in points]


def _group(trial: TrialConfig) -> tuple[str, str]:
    """Return the base model and the kind of a trial: such trials are as fast as each other, by planned costs."""
    return trial.base_model, kind_of(trial).group


def _least_share() -> float:
    """Return the share of the planned training that asha runs if at each rung all but the best part are stopped."""
    first, second = GRACE, GRACE * REDUCTION
    return first + (second - first) / REDUCTION + (1 - second) / REDUCTION**2


class Earlier:
    """What trials of earlier searches took. results: the folder of their folders. place: where they ran."""

    def __init__(self, results: Path, place: Place) -> None:
        self.place = place
        self._names: list[str] = []
        self._dims: dict[str, int] = {}
        self._speeds: dict[tuple[str, str], list[float]] = {}
        for path in sorted(results.glob("*/search.toml")):
            folder = ResultsFolder(path.parent)
            try:
                summary = Summary(folder.summary)
            except ResultsError:
                continue
            if place.ran(summary) and self._read(folder, summary):
                self._names.append(folder.name)

    def dims_of(self, base_model: str) -> int:
        """Return the dims of a base model, 768 if they are not known."""
        return self._dims.get(base_model, _UNKNOWN_DIMS)

    def speeds(self, trial: TrialConfig) -> list[float]:
        """Return seconds per planned second of such trials."""
        return self._speeds.get(_group(trial), [])

    @property
    def shown(self) -> str:
        """The names of these searches, if they are few."""
        more = len(self._names) - _SHOWN
        return ", ".join(self._names[-_SHOWN:]) + (f" and {more} more" if more > 0 else "")

    def _read(self, folder: ResultsFolder, summary: Summary) -> int:
        """Take the times of a search's trials; return how many there were."""
        bases: dict[str, Any] = summary.get("bases") or {}
        rows = ((summary.get("data") or {}).get("split") or {}).get("rows") or {}
        found = 0
        self._dims |= {name: int(base["dims"]) for name, base in bases.items()}
        for outcome in trial_outcomes(folder.trials, folder.asha):
            last, name = outcome.last, outcome.config.base_model
            if last is None or outcome.status != "done" or name not in bases or "train" not in rows:
                continue
            cost = planned_cost(outcome.config, self._dims[name], rows["train"])
            speed = last.seconds / (cost.opening + cost.training)
            self._speeds.setdefault(_group(outcome.config), []).append(speed)
            found += 1
        return found


def _calibrated(trial: TrialConfig, dims: int) -> float:
    """Return seconds per planned second of a frozen trial, by ten of its steps on random vectors of so many dims."""
    pairs = _STEPS * trial.batch_size
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2 * pairs, dims), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = np.arange(pairs)
    rows = PairRows(index, index + pairs, (index % 2).astype(np.int8))
    short = trial.model_copy(update={"epochs": 1, "train_size": 0, "folds": 0})
    with tempfile.TemporaryDirectory(prefix="embedtune-") as place:
        view = write_view(Path(place), "random", vectors, rows, rows)
        reports = list(LocalOpener({trial.base_model: view})(short, Path(place, "trial")))
    cost = planned_cost(short, dims, pairs)
    return reports[-1].seconds / (cost.opening + cost.training)


__all__ = ["Earlier", "Place", "TrialTimes", "planned_times"]
