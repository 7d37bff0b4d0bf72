"""The Modal functions that embed a base model's texts into the snapshots Volume: open models on a GPU, closed without.

The calls of several base models run in parallel; the head embeds a single open one on its own GPU.
"""

import contextlib
import gc
import time
from typing import Any

import modal

from cluster import settings
from cluster.calls import as_own, patiently


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
    """Embed missing texts and commit them; return the PreparedBase as plain values.

    order: tune.embed.orders.EmbedOrder. queue, partition: where progress is reported. A UserError is returned as
    `error`: Modal would retry a raised one.
    """
    with as_own():
        return _embedded_open(order, queue, partition)


def _embedded_open(order: Any, queue: str, partition: str) -> dict[str, Any]:
    gc.collect()
    # It fails if an earlier call's files are still open; the only cost is that a model may be downloaded again.
    with contextlib.suppress(RuntimeError):
        patiently(settings.hub_volume.reload, settings.ASK_SECONDS)
    answer = _embedded(order, queue, partition)
    if "error" not in answer:
        patiently(settings.hub_volume.commit, settings.ASK_SECONDS)
    return answer


@settings.app.function(
    image=settings.image,
    cpu=settings.BUYER_CORES,
    memory=settings.BUYER_MEMORY_MB,
    volumes=settings.mounts(snapshots=settings.snapshots_volume),
    secrets=[settings.keys],
    timeout=settings.EMBED_TIMEOUT,
    # For lost containers: the new one finds what is committed and buys the rest.
    retries=settings.TRIAL_RETRIES,
    scaledown_window=settings.TRIAL_SCALEDOWN,
)
def embed_closed(order: Any, queue: str, partition: str) -> dict[str, Any]:
    """Buy a closed model's missing embeddings; like `embed_snapshot`, without a GPU.

    Purchases are committed as they arrive: a lost container costs at most COMMIT_SECONDS of buying.
    """
    with as_own():
        return _embedded(order, queue, partition, commit_seconds=settings.COMMIT_SECONDS)


def _embedded(order: Any, queue: str, partition: str, commit_seconds: float | None = None) -> dict[str, Any]:
    from cluster.event_queue import EventSender
    from tune.embed.orders import embed_base
    from tune.errors import UserError
    from tune.events import Embedding, Event

    settings.quiet()
    # Only after a reload does a warm container see what others have committed. It needs all files of the Volume closed,
    # so an earlier call's memory maps must be collected first.
    gc.collect()
    patiently(settings.snapshots_volume.reload, settings.ASK_SECONDS)
    sender = EventSender(modal.Queue.from_id(queue), partition)
    committed = time.monotonic()

    def emit(event: Event) -> None:
        nonlocal committed
        sender.emit(event)
        # A batch is on this container's disk when its event arrives.
        if (
            commit_seconds is not None
            and isinstance(event, Embedding)
            and time.monotonic() - committed >= commit_seconds
        ):
            patiently(settings.snapshots_volume.commit, settings.ASK_SECONDS)
            committed = time.monotonic()

    try:
        base = embed_base(order, settings.CACHE, emit)
    except UserError as error:
        return {"error": str(error)}
    finally:
        sender.close()
        patiently(settings.snapshots_volume.commit, settings.ASK_SECONDS)
    return {"base": base.to_json()}


__all__ = ["embed_closed", "embed_snapshot"]
