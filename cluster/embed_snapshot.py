"""The Modal functions that embed one base model's texts into the snapshots Volume: open ones on a GPU, closed ones not.

Where a search has several base models their calls run in parallel; a single open one the head embeds on its own GPU.
"""

import contextlib
import gc
import time
from typing import Any

import modal

from cluster import settings


@settings.app.function(
    image=settings.image,
    gpu=settings.HEAD_GPUS,
    cpu=settings.TRIAL_CORES,
    memory=settings.HEAD_MEMORY_MB,
    volumes=settings.mounts(snapshots=settings.snapshots_volume, hub=settings.hub_volume),
    secrets=[settings.keys],
    timeout=settings.EMBED_TIMEOUT,
    retries=settings.TRIAL_RETRIES,
    scaledown_window=settings.TRIAL_SCALEDOWN,
)
def embed_snapshot(order: Any, queue: str, partition: str) -> dict[str, Any]:
    """Embeds what is missing and commits it; returns the PreparedBase as plain values.

    order: tune.embed.orders.EmbedOrder. queue, partition: where progress is told. A UserError of ours comes back as
    `error`: raised, it would be retried.
    """
    gc.collect()
    # Open files of an earlier call refuse it; then a model may be downloaded once more, and that is all.
    with contextlib.suppress(RuntimeError):
        settings.hub_volume.reload()
    answer = _embedded(order, queue, partition)
    if "error" not in answer:
        settings.hub_volume.commit()
    return answer


@settings.app.function(
    image=settings.image,
    cpu=settings.BUYER_CORES,
    memory=settings.BUYER_MEMORY_MB,
    volumes=settings.mounts(snapshots=settings.snapshots_volume),
    secrets=[settings.keys],
    timeout=settings.EMBED_TIMEOUT,
    # For lost containers: the new one finds what is committed, and buys the rest.
    retries=settings.TRIAL_RETRIES,
    scaledown_window=settings.TRIAL_SCALEDOWN,
)
def embed_closed(order: Any, queue: str, partition: str) -> dict[str, Any]:
    """Buys what is missing of a closed model; as `embed_snapshot`, without a GPU.

    What was bought is committed while the rest is: a lost container costs at most COMMIT_SECONDS of buying.
    """
    return _embedded(order, queue, partition, commit_seconds=settings.COMMIT_SECONDS)


def _embedded(order: Any, queue: str, partition: str, commit_seconds: float | None = None) -> dict[str, Any]:
    from cluster.event_queue import EventSender
    from tune.embed.orders import embed_base
    from tune.errors import UserError
    from tune.events import Embedding, Event

    settings.quiet()
    # A warm container sees what others committed since only after this. Nothing of the Volume may be open, so what an
    # earlier call has mapped has to be gone.
    gc.collect()
    settings.snapshots_volume.reload()
    told = EventSender(modal.Queue.from_id(queue), partition)
    committed = time.monotonic()

    def emit(event: Event) -> None:
        nonlocal committed
        told.emit(event)
        # It is told of a batch when that is on this container's disk.
        if (
            commit_seconds is not None
            and isinstance(event, Embedding)
            and time.monotonic() - committed >= commit_seconds
        ):
            settings.snapshots_volume.commit()
            committed = time.monotonic()

    try:
        base = embed_base(order, settings.CACHE, emit)
    except UserError as error:
        return {"error": str(error)}
    finally:
        told.close()
        settings.snapshots_volume.commit()
    return {"base": base.to_json()}


__all__ = ["embed_closed", "embed_snapshot"]
