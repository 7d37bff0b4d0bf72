"""Ray without the processes that a search has no use for.

Beside what runs trials, Ray starts a web server for its dashboard (also without a dashboard), one that asks clouds for
machines, and one that sends the output of workers here, where it is not shown. Each is a Python of some 80 MB, Ray's
start waits for the first of them, and its end for all.

Trials use one thread each, so workers get no more for their numeric libraries. They take Ray's environment; this
process keeps its own, and its threads, since torch may be imported here while Ray starts.

What this relies on in Ray, beyond its public API (tests/search/test_ray_processes.py fails if it changes; Ray then
starts all of its processes again, and this process gets one thread too):

- `ray.init` makes `ray._private.parameter.RayParams`, which has `no_monitor`, `include_log_monitor` and `env_vars`,
  variables for the raylet, which starts the workers;
- it calls `ray._private.services.start_api_server`, which returns (None, None) where there is no server;
- what Ray's processes want to tell people goes through `ray._private.worker.print_to_stdstream`.
"""

import contextlib
import functools
import inspect
import os
from collections.abc import Iterator
from typing import Any

from ray._private import parameter, services, worker

from tune.logs import replaced
from tune.machine import one_thread


@contextlib.contextmanager
def only_for_trials() -> Iterator[None]:
    """Within the context, `ray.init` starts what runs trials, and nothing else."""
    params: Any = getattr(parameter, "RayParams", None)
    server = getattr(services, "start_api_server", None)
    known = set() if params is None else set(inspect.signature(params).parameters)
    if server is None or not known >= {*_LEFT_OUT, "env_vars"}:
        os.environ.update(one_thread())
        yield
        return
    with (
        replaced(parameter, "RayParams", functools.partial(params, env_vars=one_thread(), **_LEFT_OUT)),
        replaced(services, "start_api_server", lambda *arguments, **options: (None, None)),
    ):
        yield


@contextlib.contextmanager
def unprinted() -> Iterator[None]:
    """Within the context, Ray does not print to our streams when one of its processes dies: our own events say so."""
    printer = hasattr(worker, "print_to_stdstream")
    with replaced(worker, "print_to_stdstream", lambda *data, **how: None) if printer else contextlib.nullcontext():
        yield


_LEFT_OUT = {"no_monitor": True, "include_log_monitor": False}
