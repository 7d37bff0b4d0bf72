"""search_head: the Modal function that runs a whole search: tune's pipeline, with trials and embedding as calls.

Its state is the results folder on the Volume. A head that finds one there resumes it: after a preemption, when Modal
restarts the same call, and with --resume.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modal

from cluster import settings
from cluster.backend import CallOptions, ModalBackend, Shared
from cluster.calls import as_own, patiently, pausing_unreachable
from cluster.claims import Claims, Fence, enter
from cluster.event_queue import EventSender
from cluster.keeper import Keeper
from tune.config.search import SearchConfig
from tune.errors import SearchPaused, UserError

HEADS = ".heads"
"""Folder on the results Volume with a file NAME.json per search: the call that runs it, and its options."""


@dataclass(frozen=True)
class HeadOrder:
    """What a head is to run. config: with a name. data: path of uploaded pairs in a container, or None.

    guards: the same of each guard set. epoch: the search's, one above that of the head before.
    """

    config: SearchConfig
    command: str
    calls: CallOptions
    data: str | None = None
    guards: tuple[str | None, ...] = ()
    epoch: int = 1

    @property
    def name(self) -> str:
        """The search's name."""
        return str(self.config.search.name)

    def about(self) -> dict[str, Any]:
        """Return what a later --resume needs to know, besides the results folder itself."""
        calls = self.calls
        return {
            "events": calls.events,
            "data": self.data,
            "guards": list(self.guards),
            "gpu": calls.gpu,
            "trial_timeout": calls.trial_timeout,
            "run": calls.run,
        }


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
    # One search per container, so that Ray leaves no state for the next.
    single_use_containers=True,
)
def search_head(order: HeadOrder) -> dict[str, Any]:
    """Run a search, or resume it. Returns {"left_running": calls, "unknown": calls}, with a UserError as `error`.

    A pause is returned as `paused`. However it ends, its trials' calls are ended first and its results are committed;
    but a head that finds a newer one leaves at once.
    """
    settings.quiet()
    with as_own():
        queue, claims = settings.queue(), settings.claims()
        patiently(queue.hydrate, settings.ASK_SECONDS)
        patiently(claims.hydrate, settings.ASK_SECONDS)
        try:
            fence = enter(Claims(claims), order.name, order.epoch, modal.current_function_call_id() or "")
        except UserError as error:
            return {"error": str(error), "left_running": 0, "unknown": 0}
        # After the head before is known to be over: its last commit was its last act.
        patiently(settings.results_volume.reload, settings.ASK_SECONDS)
        sender = EventSender(queue, order.calls.events)
        keeper = Keeper(settings.results_volume, fence, sender.emit, settings.COMMIT_SECONDS, settings.LEDGER_SECONDS)
        backend = ModalBackend(order.calls, Shared(queue.object_id, claims.object_id), keeper)
        answer: dict[str, Any] = {}
        try:
            _run(order, backend, sender, keeper, fence)
        except UserError as error:
            answer = {"error": str(error)}
        except SearchPaused as error:
            answer = {"paused": str(error)}
        finally:
            sender.close()
        return answer | {"left_running": len(backend.left.running), "unknown": len(backend.left.unknown)}


def _run(order: HeadOrder, backend: ModalBackend, sender: EventSender, keeper: Keeper, fence: Fence) -> None:
    from tune.pipeline.search import SearchJob, run_search

    root = settings.RESULTS / order.name
    try:
        _note_head(order, root, fence.epoch)
        backend.commit()
        if root.exists() and not (root / "search.toml").is_file():
            # An earlier head was lost before it wrote its configuration.
            shutil.rmtree(root)
        resume = order.name if (root / "search.toml").is_file() else None
        job = SearchJob(order.config, order.command, resume, order.data, order.guards)
        run_search(job, backend, sender.emit)
    finally:
        keeper.close()
        with pausing_unreachable():
            keeper.commit(settings.ASK_SECONDS)


def _note_head(order: HeadOrder, root: Path, epoch: int) -> None:
    """Record which call runs the search, for a later --resume."""
    about = root.parent / HEADS / f"{order.name}.json"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text(json.dumps({"call": modal.current_function_call_id(), "epoch": epoch, **order.about()}))


__all__ = ["HEADS", "HeadOrder", "search_head"]
