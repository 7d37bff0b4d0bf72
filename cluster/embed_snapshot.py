"""embed_snapshot: the Modal function that embeds one base model's texts into the snapshots Volume.

Where a search has several base models their calls run in parallel; a single one the head embeds on its own GPU.
"""

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

    order: tune.embedding.EmbedOrder. queue, partition: where progress is told. A UserError of ours comes back as
    `error`: raised, it would be retried.
    """
    from cluster.events import EventSender
    from tune.embedding import embed_base
    from tune.errors import UserError

    settings.quiet()
    told = EventSender(modal.Queue.from_id(queue), partition)
    try:
        base = embed_base(order, settings.CACHE, told.emit)
    except UserError as error:
        return {"error": str(error)}
    finally:
        told.close()
        settings.snapshots_volume.commit()
    settings.hub_volume.commit()
    return {"base": base.to_json()}
