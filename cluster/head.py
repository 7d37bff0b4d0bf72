"""search_head: the Modal function that runs a whole search: tune's own pipeline, with trials and embedding as calls.

Its state is the results folder on the Volume. A head that starts finds it there and goes on: after a preemption (Modal
starts the same call again), or after a crash, by --resume.
"""

import contextlib
import gc
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modal

from cluster import settings
from cluster.embed_snapshot import embed_closed, embed_snapshot
from cluster.event_queue import EventSender
from cluster.ledger import end_calls
from cluster.train_trial import train_trial
from tune.config.search import SearchConfig
from tune.errors import ConfigError

logger = logging.getLogger(__name__)

HEADS = ".heads"
"""Folder on the results Volume with a file NAME.json per search: who runs it, and with what."""


@dataclass(frozen=True)
class HeadOrder:
    """What a head is asked to run. config: with a name. data: where uploaded pairs lie in a container, or None.

    events: partition of the Queue that progress goes to. gpu, trial_timeout: of the trials, None for the default.
    agreed_usd: estimated price of the texts to buy that the user has agreed to.
    """

    config: SearchConfig
    command: str
    events: str
    data: str | None = None
    gpu: str | None = None
    trial_timeout: int | None = None
    agreed_usd: float = 0.0

    @property
    def name(self) -> str:
        """The search's name."""
        return str(self.config.search.name)

    def about(self) -> dict[str, Any]:
        """What a later --resume wants to know, besides the results folder itself."""
        return {"events": self.events, "data": self.data, "gpu": self.gpu, "trial_timeout": self.trial_timeout}


@settings.app.function(
    image=settings.image,
    gpu=settings.HEAD_GPUS,
    cpu=settings.HEAD_CORES,
    memory=settings.HEAD_MEMORY_MB,
    volumes=settings.mounts(
        results=settings.results_volume,
        trials=settings.trials_volume,
        snapshots=settings.snapshots_volume,
        hub=settings.hub_volume,
    ),
    secrets=[settings.keys],
    timeout=settings.HEAD_TIMEOUT,
    # One search per container: no state of Ray's is left for the next.
    single_use_containers=True,
)
def search_head(order: HeadOrder) -> dict[str, Any]:
    """Runs a search, or goes on with it. Returns {"left_running": calls}; a UserError comes back as `error`.

    Whatever happens, the calls of its trials are ended before it ends, and what there is is committed.
    """
    from tune.errors import UserError

    settings.quiet()
    settings.results_volume.reload()
    queue = settings.queue()
    queue.hydrate()
    sender = EventSender(queue, order.events)
    head = _Head(order, queue.object_id, sender)
    try:
        head.run()
    except UserError as error:
        return {"error": str(error), "left_running": head.left_running}
    except TimeoutError as error:
        # A call that failed by this would look to who watches it like one that has no result yet.
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    finally:
        sender.close()
    return {"left_running": head.left_running}


class _Head:
    """One run of the pipeline in this container."""

    def __init__(self, order: HeadOrder, queue: str, sender: EventSender) -> None:
        from cluster.keeper import Keeper

        self.order = order
        self.root = settings.RESULTS / order.name
        self.left_running = 0
        self._queue = queue
        self._sender = sender
        self._keeper = Keeper(settings.results_volume, sender.emit, settings.COMMIT_SECONDS, settings.LEDGER_SECONDS)

    def run(self) -> None:
        from tune.pipeline.backend import Backend
        from tune.pipeline.search import run

        self._begin()
        backend = Backend(
            jobs=settings.JOBS,
            search=self._search,
            embed=self._embed,
            kept=self._keeper.commit,
            facts=self._facts,
            agree=self._within_agreed,
        )
        resume = self.order.name if (self.root / "search.toml").is_file() else None
        try:
            run(
                self.order.config,
                backend,
                command=self.order.command,
                emit=self._sender.emit,
                resume=resume,
                data=self.order.data,
            )
        finally:
            self._keeper.close()
            self._keeper.commit()

    def _begin(self) -> None:
        about = settings.RESULTS / HEADS / f"{self.order.name}.json"
        about.parent.mkdir(parents=True, exist_ok=True)
        call = modal.current_function_call_id()
        about.write_text(json.dumps({"call": call, **self.order.about()}))
        self._keeper.commit()
        if self.root.exists() and not (self.root / "search.toml").is_file():
            # A head was lost before it had written what it searches.
            shutil.rmtree(self.root)

    def _within_agreed(self, config: SearchConfig, split: Any, emit: Any) -> None:
        """Backend.agree: nobody is to be asked here, so what the Volume lacks costs at most what was agreed to."""
        from tune.embed.purchase import search_estimates, within_agreed

        if config.closed_models:
            settings.snapshots_volume.reload()
            within_agreed(search_estimates(config, split, settings.CACHE), self.order.agreed_usd)
            # What was mapped for it would keep the Volume from being reloaded once all is embedded.
            gc.collect()

    def _embed(self, orders: Sequence[Any], cache: Path, emit: Any) -> list[Any]:
        from tune.config.closed import provider_of
        from tune.embed.orders import embed_in_turn
        from tune.embed.prepare import PreparedBase
        from tune.errors import ModelError

        closed = [provider_of(order.base_model) is not None for order in orders]
        if closed == [False]:
            bases = embed_in_turn(orders, cache, emit)
            settings.snapshots_volume.commit()
            settings.hub_volume.commit()
            return bases
        calls = [
            (embed_closed if bought else embed_snapshot).spawn(order, self._queue, self.order.events)
            for order, bought in zip(orders, closed, strict=True)
        ]
        try:
            answers = [call.get() for call in calls]
        except BaseException:
            for call in calls:
                with contextlib.suppress(Exception):
                    call.cancel()
            raise
        for answer in answers:
            if "error" in answer:
                raise ModelError(answer["error"])
        settings.snapshots_volume.reload()
        settings.hub_volume.reload()
        return [PreparedBase.from_json(answer["base"]) for answer in answers]

    def _search(self, config: SearchConfig, folder: Any, bases: dict[str, Any], jobs: int, emit: Any) -> str:
        """Backend.search: the trials as Modal calls."""
        from cluster.call_stream import CallOpener
        from cluster.callbacks import EndCalls, HeedCancel
        from tune.events import Message
        from tune.search.run import run_search
        from tune.search.trainable import TrialPlaces

        trials = folder.trials.resolve()
        self._keeper.watch(trials)
        collect(folder.name, trials)
        views = {name: base.digest for name, base in bases.items()}
        trial_places = TrialPlaces(trials, views, config.search.trial_options())
        opener = CallOpener(
            function=self._trial_function(config.whole),
            queue=self._queue,
            search=folder.name,
            root=trials,
            views=views,
            poll_seconds=settings.POLL_SECONDS,
            end_seconds=settings.END_SECONDS,
        )
        ending = EndCalls(trial_places)
        emit(Message("starting Ray"))
        try:
            with _ray(jobs), HeedCancel() as heed:
                try:
                    run = run_search(
                        config,
                        folder,
                        trial_places,
                        opener,
                        emit,
                        jobs=jobs,
                        resources={"cpu": 0, "trial_slot": 1},
                        callbacks=[ending, heed],
                    )
                finally:
                    # Before Ray ends: its actors write into the ledgers as long as they live.
                    ending.close()
                    self.left_running = end_calls(trials, settings.END_SECONDS)
        finally:
            self.left_running = end_calls(trials, settings.END_SECONDS)
            emit(Message(_told(self._keeper.cost().calls, self.left_running)))
            collect(folder.name, trials)
        return run.interrupted

    def _trial_function(self, whole: bool) -> str:
        """The object id of train_trial as this search wants it. whole: it trains base models themselves."""
        options: dict[str, Any] = {}
        if whole:
            options = {"gpu": settings.WHOLE_TRIAL_GPU, "timeout": settings.WHOLE_TRIAL_TIMEOUT}
        if self.order.gpu is not None:
            options["gpu"] = self.order.gpu
        if self.order.trial_timeout is not None:
            options["timeout"] = self.order.trial_timeout
        function = train_trial.with_options(**options) if options else train_trial
        # Hydrated once, here: actors are given the id.
        try:
            function.hydrate()
        except modal.exception.Error as error:
            raise ConfigError([f"--gpu, --trial-timeout: Modal takes {options} for no option: {error}"]) from error
        return str(function.object_id)

    def _facts(self) -> dict[str, Any]:
        cost = self._keeper.cost()
        return {
            "modal": {
                "calls": cost.calls,
                "containers": cost.containers,
                "container_seconds": round(cost.seconds, 1),
                "left_running": self.left_running,
                "gpu": self.order.gpu or (settings.WHOLE_TRIAL_GPU if self.order.config.whole else settings.TRIAL_GPUS),
            }
        }


def _told(calls: int, left: int) -> str:
    """What has become of the calls of a search, for people."""
    if not left:
        return f"{calls} calls of trials, 0 left running"
    return f"{calls} calls of trials, {left} LEFT RUNNING; end them by: modal app stop {settings.APP_NAME}"


def collect(search: str, trials: Path) -> None:
    """Copies a search's trials from the trials Volume into its results folder; what a trial's container wrote counts.

    Called while no trial of the search runs.
    """
    settings.trials_volume.reload()
    for source in sorted((settings.TRIALS / search).glob("*")):
        target = trials / source.name
        if (target / "done").exists() or not source.is_dir():
            continue
        target.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            # done says that all else is there, so it comes last.
            if file.is_file() and file.name not in (".lock", "state.pt", "done") and not file.name.endswith(".part"):
                _copy(file, target / file.name)
        if (source / "done").exists():
            _copy(source / "done", target / "done")


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.copy2(source, part)
    part.replace(target)


@contextlib.contextmanager
def _ray(jobs: int) -> Iterator[None]:
    """Ray in this process, with a slot per trial: a trial only waits here, so it takes no core."""
    import ray

    import tune.search  # noqa: F401  sets what Ray reads from the environment when it is imported

    ray.init(
        num_cpus=os.cpu_count() or 1,
        resources={"trial_slot": float(jobs)},
        object_store_memory=200 * 1024 * 1024,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


__all__ = ["HEADS", "HeadOrder", "collect", "search_head"]
