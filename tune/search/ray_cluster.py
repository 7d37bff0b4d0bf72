"""The Ray cluster of a search: start one on this machine, or join an existing one."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import ray

from tune.config.search import SearchConfig
from tune.errors import UserError

SLOT = "trial_slot"
"""The Ray resource of a trial that only waits here for a container elsewhere."""

_SLOTS_OBJECT_STORE = 200 * 1024 * 1024


@contextlib.contextmanager
def connected(config: SearchConfig, jobs: int) -> Iterator[tuple[dict[str, float], int]]:
    """Connect to a Ray cluster: the one at `ray_address`, or one started here with `jobs` CPUs.

    Yields a trial's resources and the cluster's number of CPUs. Raises UserError if there is no cluster at the
    address, or if a trial would never fit into it.
    """
    address = config.search.ray_address
    with _started(num_cpus=jobs) if address is None else _joined(address):
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = config.search.gpus_per_trial
        if gpus is None:
            # A Dense layer trains as fast without a GPU; a whole model does not.
            gpus = 1.0 if config.whole and have.get("GPU", 0.0) >= 1 else 0.0
        for name, needed in (("GPU", gpus), ("CPU", 1.0)):
            if have.get(name, 0.0) < needed:
                raise UserError(
                    f"the Ray cluster has {have.get(name, 0.0):g} {name}s; a trial needs {needed:g}, so none can start"
                )
        yield {"cpu": 1.0, **({"gpu": gpus} if gpus else {})}, int(have.get("CPU", 1))


@contextlib.contextmanager
def slots(jobs: int) -> Iterator[dict[str, float]]:
    """Start Ray on this machine with `jobs` trial slots; yield a trial's resources.

    Such a trial only waits here for a container elsewhere, so it takes a slot and no CPU.
    """
    with _started(num_cpus=os.cpu_count() or 1, resources={SLOT: float(jobs)}, object_store_memory=_SLOTS_OBJECT_STORE):
        yield {"cpu": 0, SLOT: 1}


@contextlib.contextmanager
def _started(**options: Any) -> Iterator[None]:
    # This cluster listens on loopback only and lives as long as this process, so it needs no token.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
        **options,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"[search] ray_address: cannot join a Ray cluster at {address} ({reason})") from None
    try:
        yield
    finally:
        ray.shutdown()
