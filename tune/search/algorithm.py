"""The algorithm of a search as Ray Tune takes it: what suggests trials, what stops them, and how many remain."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ray import tune as ray_tune
from ray.tune.search import Searcher

from tune.config.search import SearchConfig
from tune.config.space import point_of
from tune.config.trial import TrialConfig
from tune.events import Emit, Message
from tune.files import read_object, write_atomic
from tune.results.layout import ResultsFolder
from tune.results.rungs import RungFile
from tune.search.asha import KeptASHA
from tune.search.in_turn import InTurn
from tune.search.optuna_search import PastTrial, TPESearch
from tune.search.ordered import OrderedScheduler, OrderedSearcher
from tune.search.ordered_trials import Order, OrderedTrials
from tune.search.points import distinct_points, grid_points, planned_trials, point_key, random_points
from tune.search.points_search import PointsSearch
from tune.search.trainable import TrialDirectories
from tune.train.outcomes import TrialOutcome
from tune.train.planned import PlannedCost
from tune.train.stream import TrialOpener

STUDY = "embedtune"
"""The name of the Optuna study."""

BY_ARRIVAL = "from here on, trials are suggested and stopped in the order in which reports arrive"


@dataclass(frozen=True)
class Algorithm:
    """What runs a search. finished: trials that had ended before. remaining: trials still to run, at most.

    study: of TPE, if there is one, to be exported.
    """

    searcher: Searcher
    scheduler: InTurn
    finished: int
    remaining: int
    study: TPESearch | None = None


@dataclass(frozen=True)
class TrialSetup:
    """How the trials of a search run.

    jobs: number of concurrent trials; all of them must fit. resources: of one trial, as Ray counts them. callbacks:
    additional ones, run in the driver. shared: all trials in one process, for trials that only wait here for a
    container elsewhere. cost: the planned cost of a trial, to decide in a logical order; None: as reports arrive.
    spent: returns the USD that the search has cost so far.
    """

    directories: TrialDirectories
    opener: TrialOpener
    jobs: int
    resources: dict[str, float]
    callbacks: Sequence[ray_tune.Callback] = ()
    shared: bool = False
    cost: Callable[[TrialConfig], PlannedCost] | None = None
    spent: Callable[[], float] = lambda: 0.0


def past_trials(outcomes: Sequence[TrialOutcome], directories: TrialDirectories) -> list[PastTrial]:
    """Return those of `outcomes` that belong to this search, in the same order."""
    past = []
    for outcome in outcomes:
        point = point_of(outcome.config)
        if directories.digest(point) == outcome.trial:
            best = {report.sixteenth: report.best_auc for report in outcome.reports}
            past.append(PastTrial(point, outcome.status, best))
    return past


def algorithm(
    config: SearchConfig, folder: ResultsFolder, setup: TrialSetup, outcomes: Sequence[TrialOutcome], emit: Emit
) -> Algorithm:
    """Return what a search runs by. outcomes: of all trials that have begun."""
    past = past_trials(outcomes, setup.directories)
    finished = [trial for trial in past if trial.status != "halfway"]
    seen = {point_key(trial.point) for trial in finished}
    if config.search.search in ("grid", "random"):
        points = (
            grid_points(config.spaces)
            if config.search.search == "grid"
            else random_points(config.spaces, config.search.trials, config.search.seed)
        )
        rest = [point for point in points if point_key(point) not in seen]
        return Algorithm(PointsSearch(rest), InTurn(), len(finished), len(rest))
    if setup.cost is not None and (ordered := _ordered(config, folder, setup, outcomes, emit)) is not None:
        return ordered
    folder.order.unlink(missing_ok=True)
    study = TPESearch(config.spaces, config.search.seed, past, STUDY)
    asha = config.search.search == "asha"
    scheduler = KeptASHA(RungFile(folder.asha), setup.directories.digest) if asha else InTurn()
    unseen = distinct_points(config.spaces, config.search.trials - len(finished), seen)
    return Algorithm(study, scheduler, len(finished), unseen, study)


def _ordered(
    config: SearchConfig, folder: ResultsFolder, setup: TrialSetup, outcomes: Sequence[TrialOutcome], emit: Emit
) -> Algorithm | None:
    """Return an algorithm that decides in a logical order; None if the trials so far came about in another way."""
    if outcomes and not _began_so(folder, setup.jobs, emit):
        return None
    directories, cost = setup.directories, setup.cost
    assert cost is not None
    study = TPESearch(config.spaces, config.search.seed, [], STUDY)
    order = Order(
        slots=setup.jobs,
        trials=planned_trials(config),
        key=directories.digest,
        cost=lambda point: cost(directories.config(point)),
        rungs=RungFile(folder.asha) if config.search.search == "asha" else None,
    )
    past = {outcome.trial: outcome for outcome in outcomes}
    trials = OrderedTrials(study, order, past)
    ended = {outcome.trial for outcome in outcomes if outcome.status in ("done", "stopped")}
    if strangers := ended - trials.keys:
        emit(Message(f"{len(strangers)} trials were suggested differently before: {BY_ARRIVAL}"))
        return None
    trials.begin()
    write_atomic(folder.order, json.dumps({"jobs": setup.jobs}))
    numbers: dict[str, int] = {}
    remaining = 0 if trials.over else order.trials - trials.ended
    searcher, scheduler = OrderedSearcher(trials, numbers), OrderedScheduler(trials, numbers)
    return Algorithm(searcher, scheduler, trials.ended, remaining, study)


def _began_so(folder: ResultsFolder, jobs: int, emit: Emit) -> bool:
    """Return whether the search began with decisions in a logical order of as many jobs; if not, say so."""
    try:
        began = read_object(folder.order)["jobs"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError):
        emit(Message(f"{folder.order} is damaged: {BY_ARRIVAL}"))
        return False
    if began != jobs:
        emit(Message(f"the search began with {began} jobs and has {jobs} now: {BY_ARRIVAL}"))
        return False
    return True
