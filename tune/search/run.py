"""One search with Ray Tune: build the algorithm, run the trials, and resume where a killed search left off.

Who writes what, in an order that lets a kill -9 of any process at any moment lose no paid work:

- the trial's process writes its directory `trials/DIGEST`, in the order of tune/train/directory.py;
- the driver appends to `asha.log` (rungs and stopped trials) before Ray acts on a decision, and merges it into
  `asha.json` when a search begins and ends;
- the driver appends each report to TensorBoard's logs (`runs/`); gaps are filled from the trials' reports;
- Ray keeps its own experiment in `ray/` while the search runs. Nothing is read back from it, and it would grow with the
  square of the number of trials if Ray wrote it as often as it likes to, so it is written once and removed.

So a search resumes from `trials/` and `asha.json` alone. One that decides in a logical order (`ordered_trials.py`)
decides everything again, from the reports on disk, and trains only what is missing. In one that decides as reports
arrive, the searcher learns of done, failed and stopped trials as past ones, and unfinished trials are suggested first.
Grid and random skip finished trials. A directory is named by configuration and data, so no configuration is paid for
twice.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import ray
from ray import tune as ray_tune

from tune.config.search import SearchConfig
from tune.errors import UserError, pausing
from tune.events import Emit, SearchStarted
from tune.results.layout import ResultsFolder
from tune.results.rungs import RungFile
from tune.search.algorithm import Algorithm, TrialSetup, algorithm
from tune.search.callbacks import Forget, RunLogs, Silent, Tally, TrialEvents
from tune.search.hparams import Hparams
from tune.search.interrupt import Interrupt
from tune.search.limits import SAME_FAILURES, Limits, LimitWatch
from tune.search.pausing import PausingScheduler
from tune.search.pausing_search import PausingSearcher
from tune.search.ready_workers import ready_workers
from tune.search.shared_actor import shared_actor
from tune.search.tensorboard import restore_logs
from tune.search.trainable import StreamTrainable
from tune.train.directory import TrialDirectory
from tune.train.outcomes import TrialOutcome, trial_outcomes

logger = logging.getLogger(__name__)

MAX_WORKER_DEATHS = 3


@dataclass(frozen=True)
class SearchRun:
    """How a search ended.

    trials: number that ended in this run. interrupted: why the search stopped early, or "". past: finished earlier.
    """

    trials: int
    interrupted: str = ""
    past: int = 0


class CommonFailure(UserError):
    """The first trials all failed for one reason. trials: those that a resumed search trains again."""

    def __init__(self, message: str, trials: list[str]) -> None:
        super().__init__(message)
        self.trials = trials


def run_trials(config: SearchConfig, folder: ResultsFolder, setup: TrialSetup, emit: Emit) -> SearchRun:
    """Run the trials of a search, or on resume the remaining ones. Ray must be running (`connected` or `slots`).

    Raises, once the search has ended cleanly: KeyboardInterrupt after Ctrl-C, Terminated after SIGTERM, SearchPaused if
    something outside the trials stopped it, and CommonFailure if the first trials all failed for one reason.
    """
    directories = setup.directories
    outcomes = trial_outcomes(folder.trials, folder.asha)
    _tidy(folder)
    chosen = algorithm(config, folder, setup, outcomes, emit)
    emit(SearchStarted(total=chosen.finished + chosen.remaining, finished=chosen.finished, jobs=setup.jobs))
    if chosen.study is not None and not (folder.journal.exists() and chosen.remaining):
        chosen.study.export(folder.journal)
    hparams = Hparams.of(config.spaces)
    # Read again: some may have been stopped by now.
    outcomes = trial_outcomes(folder.trials, folder.asha)
    restore_logs(folder.runs, outcomes, hparams)
    watch = LimitWatch(Limits.of(config.search), outcomes, setup.spent)
    if not chosen.remaining or watch.reached:
        return SearchRun(trials=0, interrupted=watch.reached if chosen.remaining else "", past=chosen.finished)
    tally, interrupt = Tally(), Interrupt(watch, chosen.scheduler.training)
    callbacks = [
        TrialEvents(directories, tally, interrupt, emit),
        RunLogs(folder.runs, directories, hparams),
        *setup.callbacks,
        Forget(),
    ]
    trainable = ray_tune.with_parameters(StreamTrainable, opener=setup.opener, directories=directories)
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, setup.resources),
        tune_config=_tune_config(config, setup, chosen, interrupt),
        run_config=_run_config(folder, interrupt, callbacks),
    )
    actors = shared_actor(setup.jobs) if setup.shared else _workers(config)
    # Otherwise Ray Tune would start a Ray of its own.
    assert ray.is_initialized(), "Ray does not run"
    try:
        with _quiet(), interrupt.listening(), actors, pausing():
            tuner.fit()
            if chosen.study is not None:
                chosen.study.export(folder.journal)
    finally:
        _tidy(folder)
    silent = [] if setup.cost is None else _ended_silently(folder, outcomes, tally)
    restore_logs(folder.runs, silent, hparams)
    interrupt.check()
    if watch.common_cause:
        raise _common_failure(folder, tally, watch.common_cause)
    ended = len(tally.ended) + len(silent)
    return SearchRun(ended, watch.reached if ended < chosen.remaining else "", chosen.finished)


def _common_failure(folder: ResultsFolder, tally: Tally, cause: str) -> CommonFailure:
    """Return the error that all trials failed for one reason; a resumed search trains them again."""
    failed = [name for name, status in tally.ended.items() if status == "failed"]
    for name in failed:
        TrialDirectory(folder.trials / name).forgive()
    return CommonFailure(
        f"the first {SAME_FAILURES} trials that ended all failed: {cause}; no winner is fixed. Remove the "
        f"cause, then use --resume {folder.name}, which trains them again; --max-failures N allows more failures",
        failed,
    )


def _workers(config: SearchConfig) -> contextlib.AbstractContextManager[None]:
    """Return a context in which trials run in workers of their own: those that are ready, in a cluster started here."""
    return ready_workers() if config.search.ray_address is None else contextlib.nullcontext()


def _ended_silently(folder: ResultsFolder, before: list[TrialOutcome], tally: Tally) -> list[TrialOutcome]:
    """Return trials that ended without running: stopped by reports that an earlier run had left."""
    known = {outcome.trial for outcome in before if outcome.status != "halfway"} | tally.ended.keys()
    outcomes = trial_outcomes(folder.trials, folder.asha)
    return [outcome for outcome in outcomes if outcome.status != "halfway" and outcome.trial not in known]


def _tune_config(
    config: SearchConfig, setup: TrialSetup, chosen: Algorithm, interrupt: Interrupt
) -> ray_tune.TuneConfig:
    digest = setup.directories.digest
    return ray_tune.TuneConfig(
        search_alg=PausingSearcher(chosen.searcher, interrupt),
        scheduler=PausingScheduler(chosen.scheduler, interrupt),
        num_samples=chosen.remaining,
        max_concurrent_trials=setup.jobs,
        reuse_actors=True,
        trial_name_creator=lambda trial: digest(trial.config),
        trial_dirname_creator=lambda trial: f"{digest(trial.config)}_{trial.trial_id}",
    )


def _run_config(folder: ResultsFolder, interrupt: Interrupt, callbacks: list[ray_tune.Callback]) -> ray_tune.RunConfig:
    return ray_tune.RunConfig(
        name=folder.experiment.name,
        storage_path=str(folder.root.resolve()),
        stop=interrupt,
        verbose=0,
        # The trial's directory is the checkpoint; otherwise Ray writes an empty one at the end of every trial.
        checkpoint_config=ray_tune.CheckpointConfig(checkpoint_at_end=False),
        failure_config=ray_tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
        callbacks=[*callbacks, Silent()],
    )


def _tidy(folder: ResultsFolder) -> None:
    """Merge ASHA's log into asha.json, and remove Ray's own state.

    With it go TensorBoard logs of a search begun with an earlier version, which Ray wrote; they are restored.
    """
    rungs = RungFile(folder.asha)
    if rungs.rungs:
        # On a full disk everything stays in the log.
        with contextlib.suppress(OSError):
            rungs.write()
    shutil.rmtree(folder.experiment, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the logs of Ray Tune and Optuna: our events report the same, once."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "optuna")]
    levels = [entry.level for entry in loggers]
    for entry in loggers:
        entry.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for entry, level in zip(loggers, levels, strict=True):
            entry.setLevel(level)


__all__ = ["CommonFailure", "SearchRun", "run_trials"]
