"""ModalBackend: runs embedding and trials as Modal calls, from the head's container."""

import contextlib
import gc
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modal

from cluster import settings
from cluster.embed_snapshot import embed_closed, embed_snapshot
from cluster.keeper import Keeper
from cluster.ledger import end_calls
from cluster.train_trial import train_trial
from tune.config.closed import provider_of
from tune.config.search import SearchConfig
from tune.errors import ConfigError, ModelError
from tune.events import Emit, Message

if TYPE_CHECKING:
    # Every container imports this module; most need only their own function.
    from tune.data.split import Split
    from tune.embed.orders import EmbedOrder
    from tune.embed.prepare import PreparedBase
    from tune.pipeline.backend import TrialsJob


@dataclass(frozen=True)
class CallOptions:
    """The user's options for calls.

    events: partition of the Queue for progress. gpu, trial_timeout (seconds): for trials; None is the default.
    agreed_usd: the estimated embedding price that the user agreed to.
    """

    events: str
    gpu: str | None = None
    trial_timeout: int | None = None
    agreed_usd: float = 0.0


class ModalBackend:
    """Implements `tune.pipeline.backend.Backend`. queue: object id of the Queue for news and progress."""

    def __init__(self, options: CallOptions, queue: str, keeper: Keeper) -> None:
        self.left_running = 0
        self._options = options
        self._queue = queue
        self._keeper = keeper
        self._gpu: str | list[str] = options.gpu or settings.TRIAL_GPUS

    def ahead(self, config: SearchConfig, emit: Emit) -> contextlib.AbstractContextManager[None]:
        """Start nothing ahead: Ray's seconds do not count beside the minutes of containers."""
        return contextlib.nullcontext()

    def agree(self, config: SearchConfig, split: "Split", emit: Emit) -> None:
        """Check that the texts the Volume lacks cost at most `agreed_usd`; the head has no terminal to ask at."""
        from tune.embed.purchase import search_estimates, within_agreed

        if config.closed_models:
            settings.snapshots_volume.reload()
            within_agreed(search_estimates(config, split, settings.CACHE), self._options.agreed_usd)
            # A memory-mapped file would prevent reloading the Volume after embedding.
            gc.collect()

    def embed(self, orders: Sequence["EmbedOrder"], cache: Path, emit: Emit) -> "list[PreparedBase]":
        """Embed a single open model on the head's own GPU, anything else in parallel calls."""
        from tune.embed.orders import embed_in_turn
        from tune.embed.prepare import PreparedBase

        closed = [provider_of(order.base_model) is not None for order in orders]
        if closed == [False]:
            bases = embed_in_turn(orders, cache, emit)
            settings.snapshots_volume.commit()
            settings.hub_volume.commit()
            return bases
        calls = [
            (embed_closed if is_closed else embed_snapshot).spawn(order, self._queue, self._options.events)
            for order, is_closed in zip(orders, closed, strict=True)
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

    def share_cache(self) -> None:
        """Put what was added to the snapshots on their Volume."""
        settings.snapshots_volume.commit()

    def search(self, job: "TrialsJob", emit: Emit) -> str:
        """Run the trials as Modal calls; however it ends, cancel all that still run."""
        from cluster.call_stream import CallOpener
        from cluster.callbacks import EndCalls, StopOnCancel
        from tune.search.algorithm import TrialSetup
        from tune.search.ray_cluster import slots
        from tune.search.run import run_trials
        from tune.search.trainable import TrialDirectories

        config, folder = job.config, job.folder
        if config.whole and self._options.gpu is None:
            self._gpu = settings.WHOLE_TRIAL_GPU
        trials = folder.trials.resolve()
        self._keeper.watch(trials)
        collect(folder.name, trials)
        directories = TrialDirectories(trials, job.digests, job.options)
        opener = CallOpener(
            function=self._trial_function(config.whole),
            queue=self._queue,
            search=folder.name,
            root=trials,
            views=job.digests,
            poll_seconds=settings.POLL_SECONDS,
            end_seconds=settings.END_SECONDS,
        )
        end = EndCalls(directories)
        jobs = config.search.jobs or settings.JOBS
        emit(Message("starting Ray"))
        try:
            with slots(jobs) as resources, StopOnCancel() as stop:
                # Containers start seconds to minutes after they are asked for, which no plan knows.
                cost = job.cost(by_default=False)
                setup = TrialSetup(directories, opener, jobs, resources, [end, stop], shared=True, cost=cost)
                try:
                    run = run_trials(config, folder, setup, emit)
                finally:
                    # Before Ray ends: its actors write to the ledgers while they live.
                    end.close()
                    self.left_running = end_calls(trials, settings.END_SECONDS)
        finally:
            self.left_running = end_calls(trials, settings.END_SECONDS)
            emit(Message(_calls_line(self._keeper.totals().calls, self.left_running)))
            collect(folder.name, trials)
        return run.interrupted

    def commit(self) -> None:
        """Commit the results to the Volume."""
        self._keeper.commit()

    def facts(self) -> dict[str, Any]:
        """Return what the calls used, and on which GPUs."""
        totals = self._keeper.totals()
        return {
            "modal": {
                "calls": totals.calls,
                "containers": totals.containers,
                "container_seconds": round(totals.seconds, 1),
                "left_running": self.left_running,
                "gpu": self._gpu,
            }
        }

    def _trial_function(self, whole: bool) -> str:
        """Return the object id of train_trial with this search's options. whole: the search trains base models."""
        options: dict[str, Any] = {}
        if whole:
            options = {"gpu": settings.WHOLE_TRIAL_GPU, "timeout": settings.WHOLE_TRIAL_TIMEOUT}
        if self._options.gpu is not None:
            options["gpu"] = self._options.gpu
        if self._options.trial_timeout is not None:
            options["timeout"] = self._options.trial_timeout
        function = train_trial.with_options(**options) if options else train_trial
        # Hydrated once, here: actors get the id.
        try:
            function.hydrate()
        except modal.exception.Error as error:
            raise ConfigError([f"--gpu, --trial-timeout: Modal does not accept {options}: {error}"]) from error
        return str(function.object_id)


def _calls_line(calls: int, left: int) -> str:
    if not left:
        return f"{calls} trial calls, 0 left running"
    return f"{calls} trial calls, {left} LEFT RUNNING; stop them with: modal app stop {settings.APP_NAME}"


def collect(search: str, trials: Path) -> None:
    """Copy a search's trials from the trials Volume into its results folder, replacing files there.

    Call it only while none of the search's trials runs.
    """
    settings.trials_volume.reload()
    for source in sorted((settings.TRIALS / search).glob("*")):
        target = trials / source.name
        if (target / "done").exists() or not source.is_dir():
            continue
        target.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            # `done` promises that all other files are there, so it comes last.
            if file.is_file() and file.name not in (".lock", "state.pt", "done") and not file.name.endswith(".part"):
                _copy(file, target / file.name)
        if (source / "done").exists():
            _copy(source / "done", target / "done")


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.copy2(source, part)
    part.replace(target)


__all__ = ["CallOptions", "ModalBackend", "collect"]
