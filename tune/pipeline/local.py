"""The local backend: trials in worker processes of a Ray cluster, started here or joined."""

import os

from tune.config.search import SearchConfig
from tune.embed.prepare import PreparedBase
from tune.embed.purchase import Ask, agreement
from tune.events import Emit, Message
from tune.pipeline.backend import Backend
from tune.results.layout import ResultsFolder


def local_backend(ask: Ask | None = None) -> Backend:
    """Trains where Ray runs. ask: how to ask whether closed models may be bought; None: there is nobody to ask."""
    return Backend(jobs=os.cpu_count() or 1, search=search_locally, agree=agreement(ask))


def search_locally(
    config: SearchConfig, folder: ResultsFolder, bases: dict[str, PreparedBase], jobs: int, emit: Emit
) -> str:
    """Runs the trials; returns why the search was interrupted, or ""."""
    from tune.search.callbacks import StopMarks
    from tune.search.ray_cluster import connected
    from tune.search.run import run_search
    from tune.search.trainable import TrialPlaces
    from tune.train.local import LocalOpener

    trial_places = TrialPlaces(
        folder.trials.resolve(), {name: base.digest for name, base in bases.items()}, config.search.trial_options()
    )
    cache = config.search.cache.expanduser().resolve()
    opener = LocalOpener({name: base.view(cache) for name, base in bases.items()})
    emit(
        Message("starting Ray" if config.search.ray_address is None else f"joining Ray at {config.search.ray_address}")
    )
    with connected(config, jobs) as (resources, cores):
        if config.search.ray_address is not None and config.search.jobs is None:
            jobs = cores
        marks = [StopMarks(folder, trial_places)] if config.search.search == "asha" else []
        return run_search(
            config, folder, trial_places, opener, emit, jobs=jobs, resources=resources, callbacks=marks
        ).interrupted
