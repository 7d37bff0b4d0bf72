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
from cluster.backend import CallOptions, ModalBackend
from cluster.event_queue import EventSender
from cluster.keeper import Keeper
from tune.config.search import SearchConfig
from tune.errors import UserError

HEADS = ".heads"
"""Folder on the results Volume with a file NAME.json per search: the call that runs it, and its options."""


@dataclass(frozen=True)
class HeadOrder:
    """What a head is to run. config: with a name. data: path of uploaded pairs in a container, or None.

    guards: the same of each guard set.
    """

    config: SearchConfig
    command: str
    calls: CallOptions
    data: str | None = None
    guards: tuple[str | None, ...] = ()

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
    """Run a search, or resume it. Returns {"left_running": calls}; a UserError is returned as `error`.

    However it ends, its trials' calls are ended first and its results are committed.
    """
    settings.quiet()
    settings.results_volume.reload()
    queue = settings.queue()
    queue.hydrate()
    sender = EventSender(queue, order.calls.events)
    keeper = Keeper(settings.results_volume, sender.emit, settings.COMMIT_SECONDS, settings.LEDGER_SECONDS)
    backend = ModalBackend(order.calls, queue.object_id, keeper)
    try:
        _run(order, backend, sender, keeper)
    except UserError as error:
        return {"error": str(error), "left_running": backend.left_running}
    except TimeoutError as error:
        # A caller would take the builtin TimeoutError for "no result yet".
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    finally:
        sender.close()
    return {"left_running": backend.left_running}


def _run(order: HeadOrder, backend: ModalBackend, sender: EventSender, keeper: Keeper) -> None:
    from tune.pipeline.search import SearchJob, run_search

    root = settings.RESULTS / order.name
    try:
        _note_head(order, root)
        keeper.commit()
        if root.exists() and not (root / "search.toml").is_file():
            # An earlier head was lost before it wrote its configuration.
            shutil.rmtree(root)
        resume = order.name if (root / "search.toml").is_file() else None
        job = SearchJob(order.config, order.command, resume, order.data, order.guards)
        run_search(job, backend, sender.emit)
    finally:
        keeper.close()
        keeper.commit()


def _note_head(order: HeadOrder, root: Path) -> None:
    """Record which call runs the search, for a later --resume."""
    about = root.parent / HEADS / f"{order.name}.json"
    about.parent.mkdir(parents=True, exist_ok=True)
    about.write_text(json.dumps({"call": modal.current_function_call_id(), **order.about()}))


__all__ = ["HEADS", "HeadOrder", "search_head"]
