"""Ray without the processes that a search has no use for.

Beside what runs trials, Ray starts a web server for its dashboard (also without a dashboard), one that asks clouds for
machines, and one that sends the output of workers here, where it is not shown. Each is a Python of some 80 MB, Ray's
start waits for the first of them, and its end for all.

What this relies on in Ray, beyond its public API (tests/search/test_ray_processes.py fails if it changes; Ray then
starts all of its processes again, and nothing else is different):

- `ray.init` makes `ray._private.parameter.RayParams`, which has `no_monitor` and `include_log_monitor`;
- it calls `ray._private.services.start_api_server`, which returns (None, None) where there is no server.
"""

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any

from ray._private import parameter, services

from tune.logs import replaced


@contextlib.contextmanager
def only_for_trials() -> Iterator[None]:
    """Within the context, `ray.init` starts what runs trials, and nothing else."""
    params: Any = getattr(parameter, "RayParams", None)
    server = getattr(services, "start_api_server", None)
    known = set() if params is None else set(inspect.signature(params).parameters)
    if server is None or not known >= _LEFT_OUT.keys():
        yield
        return
    with (
        replaced(parameter, "RayParams", functools.partial(params, **_LEFT_OUT)),
        replaced(services, "start_api_server", lambda *arguments, **options: (None, None)),
    ):
        yield


_LEFT_OUT = {"no_monitor": True, "include_log_monitor": False}
