"""Checks that need neither the data nor a model: they run before torch is imported."""

import socket
from collections.abc import Callable, Collection
from functools import partial

from tune.config.search import SearchConfig
from tune.data.guards import check_guards
from tune.data.pairs import check_data
from tune.embed.base_models import check_int8, check_lora, check_source
from tune.errors import ConfigError, UserError
from tune.pipeline.environment import check_cache, check_hub_cache, check_ray_folder
from tune.results.layout import check_results


def check_search(
    config: SearchConfig,
    resume: bool,
    elsewhere: Collection[str] = (),
    *,
    buys: bool = True,
    sdks: bool = True,
    trains: bool = False,
) -> None:
    """Check everything that needs neither the data nor a model. Raises ConfigError with every problem.

    resume: whether the results folder may exist. elsewhere: base models known to be available where the search will
    run. buys: whether closed models will be queried, so their keys are needed; sdks: whether from this machine.
    trains: whether trials will run here, under Ray.
    """
    problems: list[str] = []
    here = [name for name in config.base_models if name not in elsewhere]
    trust = config.search.trust_remote_code
    checks: list[Callable[[], None]] = [
        *(
            partial(check_source, name, config.closed, key=buys, sdk=buys and sdks, trust_remote_code=trust)
            for name in here
        ),
        *(partial(check_lora, name) for name in here if config.trained_by_lora(name)),
        *([partial(check_int8, config.base_models)] if config.search.precision == "int8" else []),
        partial(check_data, config.data),
        partial(check_guards, config.data),
    ]
    checks.append(partial(check_cache, config.search.cache))
    if buys and sdks:
        checks.append(partial(check_hub_cache, here))
    if trains and config.search.ray_address is None:
        checks.append(check_ray_folder)
    if not resume:
        checks.append(partial(check_results, config.search.results, config.search.name))
    if config.search.ray_address is not None:
        checks.append(partial(_check_address, config.search.ray_address))
    if config.search.gpus_per_trial and config.search.ray_address is None:
        checks.append(partial(_check_gpu, config.search.gpus_per_trial))
    for check in checks:
        try:
            check()
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)


def _check_address(address: str) -> None:
    """Check quickly that something listens there; Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"[search] ray_address: nothing listens at {address} ({error.strerror or error}); start a cluster with "
            "ray start --head, or drop the option"
        ) from None


def _check_gpu(wanted: float) -> None:
    import torch

    if not torch.cuda.is_available():
        raise UserError(f"[search] gpus_per_trial: {wanted:g} requested, but this machine has no GPU; drop the option")
