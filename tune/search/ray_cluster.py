"""A Ray cluster for a search: started on this machine, or joined."""

import contextlib
import logging
import os
from collections.abc import Iterator

import ray

from tune.config.search import SearchConfig
from tune.errors import UserError


@contextlib.contextmanager
def connected(config: SearchConfig, jobs: int) -> Iterator[tuple[dict[str, float], int]]:
    """A Ray cluster for the search: one started here, or the one at `ray_address`.

    Yields a trial's resources, and how many trials the cluster has cores for.
    """
    address = config.search.ray_address
    if address is not None:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"[search] ray_address: no Ray cluster joined at {address} ({reason})") from None
    else:
        # This cluster listens on loopback alone and lives as long as this process, so it asks for no token.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        ray.init(
            num_cpus=jobs,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    try:
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = config.search.gpus_per_trial
        if gpus is None:
            # A layer is trained as fast without one; a whole model is not.
            gpus = 1.0 if config.whole and have.get("GPU", 0.0) >= 1 else 0.0
        for name, wanted in (("GPU", gpus), ("CPU", 1.0)):
            if have.get(name, 0.0) < wanted:
                raise UserError(
                    f"the Ray cluster has {have.get(name, 0.0):g} {name}s, and a trial wants {wanted:g}; none can start"
                )
        yield {"cpu": 1.0, **({"gpu": gpus} if gpus else {})}, int(have.get("CPU", 1))
    finally:
        ray.shutdown()
