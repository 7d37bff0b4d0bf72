"""ModalBackend: runs embedding and trials as Modal calls, from the head's container."""

import contextlib
import functools
import gc
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modal

from cluster import settings
from cluster.calls import patiently, pausing_unreachable, result_of
from cluster.claims import Claims
from cluster.embed_snapshot import embed_closed, embed_snapshot
from cluster.keeper import Keeper
from cluster.ledger import CallsLeft, end_calls
from cluster.train_trial import train_trial
from tune.config.closed import provider_of
from tune.config.prices import modal_usd
from tune.config.search import SearchConfig
from tune.errors import ConfigError, ModelError
from tune.events import Emit, Message

if TYPE_CHECKING:
    # Every container imports this module; most need only their own function.
    from cluster.call_stream import CallOpener
    from tune.data.split import Split
    from tune.embed.orders import EmbedOrder
    from tune.embed.prepare import PreparedBase
    from tune.pipeline.backend import TrialsJob

_NAMED = 20
"""How many calls are named in a message; all are in the ledgers, calls.jsonl."""


@dataclass(frozen=True)
class CallOptions:
    """The user's options for calls.

    events: partition of the Queue for progress. gpu, trial_timeout (seconds): for trials; None is the default.
    agreed_usd: the estimated embedding price that the user agreed to. run: id of the search, the same for all its
    heads.
    """

    events: str
    gpu: str | None = None
    trial_timeout: int | None = None
    agreed_usd: float = 0.0
    run: str = ""


@dataclass(frozen=True)
class Shared:
    """Object ids of what all searches share. queue: for news and progress. claims: a Dict."""

    queue: str
    claims: str


class ModalBackend:
    """Implements `tune.pipeline.backend.Backend`. left: the calls that are not known to have ended."""

    def __init__(self, options: CallOptions, shared: Shared, keeper: Keeper) -> None:
        self.left = CallsLeft()
        self._options = options
        self._shared = shared
        self._keeper = keeper
        self._gpu = settings.trial_gpus(whole=False, given=options.gpu)

    def ahead(self, config: SearchConfig, emit: Emit) -> contextlib.AbstractContextManager[None]:
        """Start nothing ahead: Ray's seconds do not count beside the minutes of containers."""
        return contextlib.nullcontext()

    def agree(self, config: SearchConfig, split: "Split", emit: Emit) -> None:
        """Check that the texts the Volume lacks cost at most `agreed_usd`; the head has no terminal to ask at."""
        from tune.embed.purchase import search_estimates, within_agreed

        if config.closed_models:
            _patiently(settings.snapshots_volume.reload)
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
            _patiently(settings.snapshots_volume.commit)
            _patiently(settings.hub_volume.commit)
            return bases
        calls: list[Any] = []
        try:
            # Not repeated if Modal does not answer: a second call would buy the same texts.
            with pausing_unreachable():
                for order, is_closed in zip(orders, closed, strict=True):
                    function = embed_closed if is_closed else embed_snapshot
                    calls.append(function.spawn(order, self._shared.queue, self._options.events))
            answers = [result_of(call.object_id) for call in calls]
        except BaseException:
            for call in calls:
                with contextlib.suppress(Exception):
                    patiently(call.cancel, settings.END_SECONDS)
            raise
        for answer in answers:
            if "error" in answer:
                raise ModelError(answer["error"])
        _patiently(settings.snapshots_volume.reload)
        _patiently(settings.hub_volume.reload)
        return [PreparedBase.from_json(answer["base"]) for answer in answers]

    def share_cache(self) -> None:
        """Put what was added to the snapshots on their Volume."""
        _patiently(settings.snapshots_volume.commit)

    def search(self, job: "TrialsJob", emit: Emit) -> str:
        """Run the trials as Modal calls; however it ends, cancel all that still run."""
        from cluster.callbacks import EndCalls, StopOnCancel
        from tune.search.algorithm import TrialSetup
        from tune.search.ray_cluster import slots
        from tune.search.run import CommonFailure, run_trials
        from tune.search.trainable import TrialDirectories
        from tune.train.outcomes import settle_trials

        config, folder = job.config, job.folder
        self._gpu = settings.trial_gpus(config.whole, self._options.gpu)
        trials = folder.trials.resolve()
        price = functools.partial(modal_usd, gpus=self._gpu, usd_per_hour=config.search.gpu_usd_per_hour)
        self._keeper.watch(trials, price)
        collect(folder.name, trials)
        for sentence in settle_trials(trials, folder.asha):
            emit(Message(sentence))
        directories = TrialDirectories(trials, job.digests, job.options)
        end, opener = EndCalls(directories), self._opener(job, trials)
        jobs = config.search.jobs or settings.JOBS
        emit(Message("starting Ray"))
        forgiven: list[str] = []
        try:
            with slots(jobs) as resources, StopOnCancel() as stop:
                # Containers start seconds to minutes after they are asked for, which no plan knows.
                cost = job.cost(by_default=False)
                setup = TrialSetup(
                    directories, opener, jobs, resources, [end, stop], shared=True, cost=cost,
                    spent=lambda: job.bought_usd + (self._keeper.usd() or 0.0),
                )  # fmt: skip
                try:
                    run = run_trials(config, folder, setup, emit)
                finally:
                    # Before Ray ends: its actors write to the ledgers while they live.
                    end.close()
                    self._end_calls(trials, settings.ASK_SECONDS)
        except CommonFailure as error:
            forgiven = error.trials
            raise
        finally:
            # Once more for calls that were spawned meanwhile. What could not be asked has been waited for.
            self._end_calls(trials, 0.0 if self.left.unknown else settings.ASK_SECONDS)
            emit(Message(calls_line(self._keeper.totals().calls, self.left)))
            # After the last commit of each container: Modal says "over" when its function has returned.
            collect(folder.name, trials)
            forgive(folder.name, trials, forgiven)
        return run.interrupted

    def _opener(self, job: "TrialsJob", trials: Path) -> "CallOpener":
        from cluster.call_stream import CallOpener

        return CallOpener(
            function=self._trial_function(job.config.whole),
            queue=self._shared.queue,
            search=job.folder.name,
            root=trials,
            views=job.digests,
            poll_seconds=settings.POLL_SECONDS,
            end_seconds=settings.END_SECONDS,
            claims=self._shared.claims,
            run=self._options.run,
        )

    def _end_calls(self, trials: Path, patience: float) -> None:
        self.left = end_calls(trials, settings.END_SECONDS, patience, Claims.of(self._shared.claims))

    def commit(self) -> None:
        """Commit the results to the Volume."""
        with pausing_unreachable():
            self._keeper.commit(settings.OUTAGE_SECONDS)

    def facts(self) -> dict[str, Any]:
        """Return what the calls of all runs used, on which GPUs, and what each trial cost."""
        # Containers that wait for a call now will wait to the end, and are paid for.
        ahead = settings.TRIAL_SCALEDOWN
        totals = self._keeper.totals(ahead)
        return {
            "modal": {
                "calls": totals.calls,
                "containers": totals.containers,
                "container_seconds": round(totals.seconds, 1),
                "left_running": len(self.left.running),
                "unknown": len(self.left.unknown),
                "gpu": self._gpu,
                "usd": self._keeper.usd(ahead),
                "usd_by_trial": self._keeper.usd_by_trial(),
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
            _patiently(function.hydrate)
        except modal.exception.Error as error:
            raise ConfigError([f"--gpu, --trial-timeout: Modal does not accept {options}: {error}"]) from error
        return str(function.object_id)


def _patiently(work: Callable[[], Any]) -> None:
    """Do `work` through an outage; raise SearchPaused if it lasts."""
    with pausing_unreachable():
        patiently(work, settings.OUTAGE_SECONDS)


def calls_line(calls: int, left: CallsLeft) -> str:
    """Return the sentence on what the calls of a search have come to, with the ids of those that may still cost."""
    if not left:
        return f"{calls} trial calls, 0 left running"
    parts = [
        f"{len(ids)} {what} ({', '.join(ids[:_NAMED])}{', ...' if len(ids) > _NAMED else ''})"
        for ids, what in ((left.running, "LEFT RUNNING"), (left.unknown, "COULD NOT BE ASKED, maybe still running"))
        if ids
    ]
    stop = f"modal app stop {settings.app.app_id or settings.APP_NAME}"
    return f"{calls} trial calls, {', '.join(parts)}; once this search has ended, stop them with: {stop}"


def collect(search: str, trials: Path) -> None:
    """Copy a search's trials from the trials Volume into its results folder, replacing files there.

    Call it only while none of the search's trials runs.
    """
    _patiently(settings.trials_volume.reload)
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


def forgive(search: str, trials: Path, names: Sequence[str]) -> None:
    """Forget that these trials failed, here and on the trials Volume: a resumed search trains them again."""
    from tune.train.directory import TrialDirectory

    for name in names:
        for root in (trials, settings.TRIALS / search):
            TrialDirectory(root / name).forgive()
    if names:
        _patiently(settings.trials_volume.commit)


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.copy2(source, part)
    part.replace(target)


__all__ = ["CallOptions", "ModalBackend", "Shared", "calls_line", "collect", "forgive"]
