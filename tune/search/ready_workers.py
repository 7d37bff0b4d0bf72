"""Trials in the workers that Ray has started ahead, whose imports are done.

Ray Tune gives its actors an environment of their own, and Ray starts a new process for each environment: the workers
that are ready would stay idle, and every trial's first process would import for seconds. In a cluster that this process
has started, workers have its environment anyway.

What this relies on in Ray, beyond its public API (tests/search/test_ready_workers.py fails if it changes): each
TuneController makes one `ray.tune.execution.tune_controller._ActorClassCache`, whose `get` returns an actor class.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import ray
from ray.tune.execution import tune_controller

from tune.logs import replaced


class _PlainClasses:
    """In place of Ray Tune's cache of actor classes: the same, in no environment of their own."""

    def __init__(self) -> None:
        self._classes: dict[type, Any] = {}

    def get(self, trainable: type) -> Any:
        if trainable not in self._classes:
            self._classes[trainable] = ray.remote(trainable)
        return self._classes[trainable]


@contextlib.contextmanager
def ready_workers() -> Iterator[None]:
    """Within the context, Ray Tune runs trials in workers that are ready. For a cluster started by this process."""
    with replaced(tune_controller, "_ActorClassCache", _PlainClasses):
        yield
