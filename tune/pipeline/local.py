"""LocalBackend: trials in worker processes of a Ray cluster, started here or joined."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tune.config.search import SearchConfig
from tune.data.split import Split
from tune.embed.orders import EmbedOrder, embed_in_turn
from tune.embed.prepare import PreparedBase
from tune.embed.purchase import Ask, agree, search_estimates
from tune.evaluate.finalists import releasable
from tune.events import Emit, Message
from tune.machine import usable_cores
from tune.pipeline.backend import TrialsJob
from tune.pipeline.meanwhile import AS_RAY_STARTS, AS_TRIALS_RUN, imported
from tune.pipeline.room import LowDisk, check_room, largest_weights
from tune.train.outcomes import TrialOutcome, outcomes_of
from tune.train.trained import Models


class LocalBackend:
    """Embeds in this process and trains where Ray runs.

    ask: how to ask whether closed models may be bought; None if there is no terminal to ask at. last_words: what to say
    if Ray dies; see `tune.search.ray_deaths`.
    """

    def __init__(self, ask: Ask | None = None, last_words: Callable[[str], int] | None = None) -> None:
        self._ask = ask
        self._last_words = last_words
        self._cluster: tuple[dict[str, float], int] | None = None

    @contextlib.contextmanager
    def ahead(self, config: SearchConfig, emit: Emit) -> Iterator[None]:
        """See `Backend`: Ray starts, and its workers import what trials need while texts are embedded.

        Not in a thread: Ray forks, and a fork while numpy multiplies in another thread leaves OpenBLAS waiting forever.
        Imports in a thread beside it are safe.
        """
        from tune.search.ray_cluster import connected
        from tune.search.ray_place import ray_place

        options = config.search
        joined = options.ray_address is not None
        for note in () if joined else ray_place().notes:
            emit(Message(note))
        emit(Message(f"joining Ray at {options.ray_address}" if joined else "starting Ray"))
        with contextlib.ExitStack() as cluster:
            with imported(AS_RAY_STARTS):
                self._cluster = cluster.enter_context(
                    connected(config, options.jobs or usable_cores(), self._last_words)
                )
            yield

    def agree(self, config: SearchConfig, split: Split, emit: Emit) -> None:
        """See `Backend`: what the local cache lacks has to be bought."""
        estimates = search_estimates(config, split, config.search.cache.expanduser())
        agree(estimates, config.closed, emit, self._ask, max_usd=config.search.max_usd)

    def embed(self, orders: Sequence[EmbedOrder], cache: Path, emit: Emit) -> list[PreparedBase]:
        """See `Backend`."""
        return embed_in_turn(orders, cache, emit)

    def share_cache(self) -> None:
        """See `Backend`: trials read the same disk."""

    def search(self, job: TrialsJob, emit: Emit) -> str:
        """See `Backend`; only within `ahead`, unless no trial is left to run."""
        from tune.search.algorithm import TrialSetup
        from tune.search.callbacks import StopMarks
        from tune.search.kept_weights import DiskWatch, KeptWeights
        from tune.search.run import run_trials
        from tune.search.trainable import TrialDirectories
        from tune.train.local import LocalOpener

        config, folder, options = job.config, job.folder, job.config.search
        directories = TrialDirectories(folder.trials.resolve(), job.digests, job.options)
        cache = options.cache.expanduser().resolve()
        opener = LocalOpener({name: base.view(cache) for name, base in job.bases.items()})
        wanted, own = options.jobs or usable_cores(), options.ray_address is None
        resources, fitting = self._cluster or ({}, wanted)
        jobs = min(wanted, fitting) if own else options.jobs or fitting

        def ended() -> list[TrialOutcome]:
            outcomes = outcomes_of(folder.trials, folder.asha, job.digests)
            return [outcome for outcome in outcomes if outcome.status != "halfway"]

        sampled = bool(job.options.get("val_sample"))
        dims = {name: base.dims for name, base in job.bases.items()}
        if need := check_room(config, dims, jobs, lambda: len(ended()), sampled):
            emit(Message(need))
        callbacks: list[Any] = [StopMarks(folder, directories)] if options.search == "asha" else []
        if config.whole and options.keep_weights == "finalists":
            callbacks.append(KeptWeights(directories, partial(_releasable, job), ended()))
        callbacks.append(DiskWatch(LowDisk(folder.root, largest_weights(config, dims)), emit))
        # Of a cluster that others use too, nobody knows how many trials run at a time; held ones might wait forever.
        cost = job.cost(by_default=True) if own else None
        setup = TrialSetup(directories, opener, jobs, resources, callbacks, cost=cost, spent=lambda: job.bought_usd)
        with imported(AS_TRIALS_RUN):
            return run_trials(config, folder, setup, emit).interrupted

    def commit(self) -> None:
        """See `Backend`: results are on this machine's disk already."""

    def facts(self) -> dict[str, Any]:
        """See `Backend`: nothing to add."""
        return {}


def _releasable(job: TrialsJob, ended: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Return the trials that cannot be finalists."""
    options = job.config.search
    models = Models(job.bases, options.cache.expanduser(), job.config.data.max_length)
    return releasable(ended, models, options.finalists, options.search == "grid")
