"""One search with Ray Tune: makes the algorithm, runs the trials, and can go on where a killed one left off.

What is written when, by whom, in which order (so that a kill -9 of anything, at any moment, loses nothing paid for):

- the trial's process writes its directory `trials/DIGEST`, in the order that tune/train/directory.py gives;
- the driver writes `asha.json` (rungs, and which trials are stopped) before Ray acts on a decision;
- Ray writes its experiment (`ray/`: logs, TensorBoard) for people, by way of a folder of its own and every 10 seconds
  or so, which is many trials. Nothing is read back from it, and what it lacks is written from the trials' reports.

So a search goes on from `trials/` and `asha.json` alone. done, failed and stopped trials are told to the searcher as
past; half-way ones are suggested first and go on from their own resume state; grid and random leave out what is
finished. A directory is named by configuration and data, so no configuration is paid twice.
"""

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tune.config.search import SearchConfig
from tune.config.space import point_of
from tune.errors import UserError
from tune.events import Emit, SearchStarted, TrialEvent
from tune.search.optuna_search import PastTrial
from tune.search.trainable import StreamTrainable, TrialPlaces
from tune.train.directory import TrialDirectory
from tune.train.stream import TrialOpener

# Read when Ray is imported, so set before.
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
# A failed trial ends without the metric; see StreamTrainable.step.
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # see _Interrupt
# A trial that was given no GPU must not see one: on a workstation all trials would crowd onto it.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
from ray import tune as ray_tune

from tune.results.rungs import RungFile
from tune.search.asha import KeptASHA
from tune.search.optuna_search import TPESearch
from tune.search.points import grid_points, planned_trials, random_points
from tune.search.points_search import PointsSearch
from tune.search.tensorboard import restore_logs
from tune.train.outcomes import TrialOutcome, trial_outcomes

logger = logging.getLogger(__name__)

RAY_FOLDER = "ray"
MAX_WORKER_DEATHS = 3


@dataclass(frozen=True)
class SearchPlaces:
    """Where a search keeps itself: the results folder, its trials, ASHA's rungs, the export of the study."""

    root: Path
    trials: Path
    asha: Path
    journal: Path


@dataclass(frozen=True)
class SearchRun:
    """How a search ended. interrupted: why it ended before its plan, or ""."""

    trials: int
    interrupted: str = ""
    past: int = 0


@dataclass
class _Tally:
    """Which trials have ended, by trial directory; the last word counts."""

    ended: dict[str, str] = field(default_factory=dict)


def past_trials(outcomes: Sequence[TrialOutcome], trial_places: TrialPlaces) -> list[PastTrial]:
    """The trials of this search among `outcomes`, as its searcher wants to know them, in their order."""
    past = []
    for outcome in outcomes:
        point = point_of(outcome.config)
        if trial_places.digest(point) == outcome.trial:
            best = {report.sixteenth: report.best_auc for report in outcome.reports}
            past.append(PastTrial(point, outcome.status, best))
    return past


def run_search(
    config: SearchConfig,
    places: SearchPlaces,
    trial_places: TrialPlaces,
    opener: TrialOpener,
    emit: Emit,
    *,
    jobs: int,
    resources: dict[str, float],
    callbacks: Sequence[ray_tune.Callback] = (),
) -> SearchRun:
    """Runs the search, or what is left of it. Ray must be connected (`connected`).

    resources: of one trial, as Ray counts them. callbacks: further ones, called in the driver.
    """
    outcomes = trial_outcomes(places.trials, places.asha)
    past = past_trials(outcomes, trial_places)
    finished = [trial for trial in past if trial.status != "halfway"]
    _clear_logs(places, {trial_places.digest(t.point) for t in past if t.status == "halfway"})
    total = planned_trials(config)
    searcher, left = _searcher(config, past, total)
    emit(SearchStarted(total=total, finished=len(finished), jobs=jobs))
    if isinstance(searcher, TPESearch) and not places.journal.exists():
        searcher.export(places.journal)
    ended = [outcome for outcome in outcomes if outcome.status in ("done", "stopped")]
    restore_logs(places.root / RAY_FOLDER, ended)
    if left <= 0:
        return SearchRun(trials=0, past=len(finished))
    tally = _Tally()
    scheduler = None
    if config.search.search == "asha":
        scheduler = KeptASHA(RungFile(places.asha), trial_places.digest)
    interrupt = _Interrupt()
    trainable = ray_tune.with_parameters(StreamTrainable, opener=opener, places=trial_places)
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, resources),
        tune_config=ray_tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=left,
            max_concurrent_trials=jobs,
            time_budget_s=None if config.search.max_hours is None else config.search.max_hours * 3600,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial_places.digest(trial.config),
            trial_dirname_creator=lambda trial: f"{trial_places.digest(trial.config)}_{trial.trial_id}",
        ),
        run_config=ray_tune.RunConfig(
            name=RAY_FOLDER,
            storage_path=str(places.root.resolve()),
            stop=interrupt,
            verbose=0,
            # The trial's directory is the checkpoint; without this Ray writes an empty one at every trial's end.
            checkpoint_config=ray_tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=ray_tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
            callbacks=[_Told(trial_places, tally, emit), *callbacks],
        ),
    )
    began = time.monotonic()
    with _quiet(), interrupt.listening():
        tuner.fit()
        if isinstance(searcher, TPESearch):
            searcher.export(places.journal)
    hours = (time.monotonic() - began) / 3600
    interrupted = ""
    if config.search.max_hours is not None and hours >= config.search.max_hours:
        interrupted = f"after {config.search.max_hours:g} hours (--max-hours)"
    elif interrupt.asked:
        raise KeyboardInterrupt
    return SearchRun(trials=len(tally.ended), interrupted=interrupted, past=len(finished))


def _searcher(config: SearchConfig, past: list[PastTrial], total: int) -> tuple[Any, int]:
    """The searcher, and how many trials it has left."""
    done = {repr(sorted(trial.point.items())) for trial in past if trial.status != "halfway"}
    if config.search.search in ("grid", "random"):
        points = (
            grid_points(config.spaces)
            if config.search.search == "grid"
            else random_points(config.spaces, config.search.trials, config.search.seed)
        )
        left = [point for point in points if repr(sorted(point.items())) not in done]
        return PointsSearch(left), len(left)
    return TPESearch(config.spaces, config.search.seed, past, "embedtune"), total - len(done)


class _Told(ray_tune.Callback):
    """Turns what Ray's driver sees into events."""

    def __init__(self, places: TrialPlaces, tally: _Tally, emit: Emit) -> None:
        self._places = places
        self._tally = tally
        self._emit = emit

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its callbacks into a state that is never read back here; a terminal cannot be pickled."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its first report may be long in coming."""
        self._tell(trial, "running")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A report, or a failed trial's end."""
        if "failed" in result:
            self._tell(trial, "failed", reason=result["failed"])
        else:
            self._tell(trial, "running", budget=result["budget"], best_auc=result["best_auc"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's end: by its plan, by ASHA, or failed."""
        result = trial.last_result or {}
        if "failed" in result:
            self._end(trial, "failed", reason=result["failed"])
        else:
            budget = result.get("budget", 0.0)
            status = "done" if budget >= 1 else "stopped"
            self._end(trial, status, budget=budget, best_auc=result.get("best_auc"))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its worker died; it is started again."""
        self._tell(trial, "lost")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its worker died too often, or our own code broke."""
        reason = _last_line(trial)
        TrialDirectory(self._places.directory(trial.config)).lose(self._places.config(trial.config), reason)
        self._end(trial, "failed", reason=reason)

    def _end(self, trial: Any, status: str, **facts: Any) -> None:
        self._tally.ended[self._places.digest(trial.config)] = status
        self._tell(trial, status, **facts)

    def _tell(self, trial: Any, status: str, **facts: Any) -> None:
        self._emit(TrialEvent(self._places.digest(trial.config), status, dict(trial.config), **facts))


class StopMarks(ray_tune.Callback):
    """Marks the directories of trials that ASHA has stopped, where the driver can write them."""

    def __init__(self, places: SearchPlaces, trial_places: TrialPlaces) -> None:
        self._places = places
        self._trial_places = trial_places

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Trials that end for Ctrl-C or --max-hours are none of ASHA's, and can go on."""
        digest = self._trial_places.digest(trial.config)
        if digest in RungFile(self._places.asha).stopped:
            TrialDirectory(self._trial_places.trials / digest).stop()


class _Interrupt(ray_tune.Stopper):
    """Ctrl-C as a wish to end the search in good order; a second one ends it at once.

    Ray's own handler does the like but does not tell afterwards that it did.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """True after Ctrl-C."""
        return self.asked

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes Ctrl-C while the block runs; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        original = signal.getsignal(signal.SIGINT)

        def ask(number: int, frame: Any) -> None:
            self.asked = True
            signal.signal(signal.SIGINT, original)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, original)


def _last_line(trial: Any) -> str:
    error = trial.get_error()
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the worker died"


def _clear_logs(places: SearchPlaces, digests: set[str]) -> None:
    """Removes Ray's logs of half-way trials: they are written again from the trial's first report on."""
    for folder in (places.root / RAY_FOLDER).glob("*_*"):
        if folder.is_dir() and folder.name.split("_")[0] in digests:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def connected(config: SearchConfig, jobs: int) -> Iterator[tuple[dict[str, float], int]]:
    """A Ray cluster for the search: one started here, or the one at `ray_address`.

    Yields a trial's resources, and how many trials the cluster has cores for.
    """
    address = config.search.ray_address
    if address is not None:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"[search] ray_address: no Ray cluster joined at {address} ({reason})") from None
    else:
        # This cluster listens on loopback alone and lives as long as this process, so it asks for no token.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        ray.init(
            num_cpus=jobs,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    try:
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = config.search.gpus_per_trial
        if gpus is None:
            # A layer is trained as fast without one; a whole model is not.
            gpus = 1.0 if config.whole and have.get("GPU", 0.0) >= 1 else 0.0
        for name, wanted in (("GPU", gpus), ("CPU", 1.0)):
            if have.get(name, 0.0) < wanted:
                raise UserError(
                    f"the Ray cluster has {have.get(name, 0.0):g} {name}s, and a trial wants {wanted:g}; none can start"
                )
        yield {"cpu": 1.0, **({"gpu": gpus} if gpus else {})}, int(have.get("CPU", 1))
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray Tune's own chatter off: the events say the same, once."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "optuna")]
    levels = [entry.level for entry in loggers]
    for entry in loggers:
        entry.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for entry, level in zip(loggers, levels, strict=True):
            entry.setLevel(level)


__all__ = ["SearchPlaces", "SearchRun", "StopMarks", "connected", "past_trials", "run_search"]
