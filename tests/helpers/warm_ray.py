"""One Ray per test process, whose workers have their imports: for tests of what a search leaves, not of Ray.

A search starts Ray, and Ray starts a process per concurrent trial; on two cores that is most of a small search. Here
searches in this process share both. Everything else is as usual: Ray Tune, trials in processes of their own, and the
environment that a search has while its Ray runs. Tests that look at Ray's start, its folder, the death of a worker or
the end of the processes must not use it.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, cast

import pytest
import ray
from ray.actor import ActorClass, ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError
from ray.tune.execution import tune_controller

from tune.search import ray_cluster, run
from tune.search.ray_place import _set
from tune.search.shared_actor import TrialHost, _TrialHandle

CPUS = 2
"""No search of the tests that share it runs more trials at a time."""


class _Host(TrialHost):
    """A process for one trial after the other, of any search."""

    def __init__(self) -> None:
        super().__init__(object)

    def take(self, trainable: type) -> None:
        """Make the next trials of this class."""
        self._trainable = trainable


class _Handle(_TrialHandle):
    """The handle of a trial's trainable. free: takes the process back when the trial has ended."""

    def __init__(self, host: ActorHandle[Any], kwargs: dict[str, Any], free: list[ActorHandle[Any]]) -> None:
        super().__init__(host, kwargs)
        self._free = free
        self._given_back = False

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of the trainable; return the reference to its result."""
        result = super().call(method, args, kwargs)
        # Ray Tune ends an actor by either.
        if method in ("stop", "__ray_terminate__") and not self._given_back:
            self._given_back = True
            self._free.append(self._host)
        return result


class _Class(ActorClass[Any]):
    """An actor class to Ray Tune, with actors in processes that run already."""

    def __init__(self, trainable: type, free: list[ActorHandle[Any]]) -> None:
        self._trainable = ray.put(trainable)
        self._free = free

    def options(self, **options: Any) -> "_Class":
        """Return itself: a trial's resources count how many may run, and nothing runs in them."""
        return self

    def remote(self, **kwargs: Any) -> _Handle:
        host = self._living()
        host.take.remote(self._trainable)
        return _Handle(host, kwargs, self._free)

    def _living(self) -> ActorHandle[Any]:
        while self._free:
            host = self._free.pop()
            # One that is dead, or still at what it was stopped in, is left.
            with contextlib.suppress(RayActorError, GetTimeoutError):
                ray.get(host.ping.remote(), timeout=10)
                return host
        host_class: Any = ray.remote(num_cpus=0)(_Host)
        return cast(ActorHandle[Any], host_class.remote())


class _Classes:
    """In place of Ray Tune's cache of actor classes, one per search."""

    def __init__(self, free: list[ActorHandle[Any]]) -> None:
        self._free = free
        self._classes: dict[type, _Class] = {}

    def get(self, trainable: type) -> _Class:
        if trainable not in self._classes:
            self._classes[trainable] = _Class(trainable, self._free)
        return self._classes[trainable]


class WarmRay:
    """Ray, started when the first search needs it; `stop` ends it."""

    def __init__(self) -> None:
        self._running: contextlib.ExitStack | None = None
        self._environment: dict[str, str | None] = {}
        self._free: list[ActorHandle[Any]] = []
        self._start = ray_cluster.started

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Within the context, searches in this process use it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ray_cluster, "started", self._started)
            patch.setattr(tune_controller, "_ActorClassCache", lambda: _Classes(self._free))
            patch.setattr(run, "_workers", lambda config: contextlib.nullcontext())
            yield

    @contextlib.contextmanager
    def _started(self, preload: str = "", last_words: object = None, **options: Any) -> Iterator[None]:
        assert options.keys() == {"num_cpus"} and options["num_cpus"] <= CPUS
        if self._running is None:
            before = dict(os.environ)
            with contextlib.ExitStack() as stack:
                stack.enter_context(self._start(preload, num_cpus=CPUS))
                self._running = stack.pop_all()
            names = {*before, *os.environ}
            self._environment = {
                name: os.environ.get(name) for name in names if os.environ.get(name) != before.get(name)
            }
            _set({name: before.get(name) for name in self._environment})
        before_search = {name: os.environ.get(name) for name in self._environment}
        _set(self._environment)
        try:
            yield
        finally:
            _set(before_search)

    def stop(self) -> None:
        """End Ray, if it runs."""
        running, self._running = self._running, None
        self._free.clear()
        if running is not None:
            with running:
                pass


WARM_RAY = WarmRay()
"""That of this process."""
