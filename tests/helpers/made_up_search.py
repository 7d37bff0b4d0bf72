"""run_trials over an opener that trains nothing, as tests of what a search leaves need it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.made_up_trials import MadeUp
from tune.config.search import SearchConfig, search_config
from tune.config.trial import TrialConfig
from tune.events import Event
from tune.results.layout import ResultsFolder
from tune.search.algorithm import TrialSetup
from tune.search.run import SearchRun, run_trials
from tune.search.trainable import TrialDirectories
from tune.train.outcomes import TrialOutcome, trial_outcomes
from tune.train.planned import PlannedCost
from tune.train.stream import TrialOpener

Cost = Callable[[TrialConfig], PlannedCost]
MADE_UP = MadeUp()


def search(
    root: Path, resources: dict[str, float], opener: TrialOpener = MADE_UP, cost: Cost | None = None, **options: Any
) -> tuple[SearchRun, list[TrialOutcome], list[Event]]:
    space = {"base_model": "wordllama", "loss": "cosent", "learning_rate": [1e-3], **options.pop("space")}
    events: list[Event] = []
    emit, spent = options.pop("emit", events.append), options.pop("spent", lambda: 0.0)
    config: SearchConfig = search_config(options, space=space)
    folder = ResultsFolder(root)
    directories = TrialDirectories(root / "trials", {"wordllama": "data"}, {"seed": 0})
    setup = TrialSetup(directories, opener, options.get("jobs", 2), resources, cost=cost, spent=spent)
    run = run_trials(config, folder, setup, emit)
    return run, trial_outcomes(folder.trials, folder.asha), events
