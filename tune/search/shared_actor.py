"""One Ray actor for all trials of a search, for trials that only wait here for a container elsewhere.

Ray Tune gives every trial an actor, and every actor a process of some 107 MB. Here a trial gets a handle instead, and
all handles call the same actor: a process with a thread per waiting trial. Ray Tune sees no difference:

- the calls of a trial run one at a time, in a trainable of its own;
- the death of the process is the death of the worker of each of its trials: Ray starts them again, in a new process;
- `reuse_actors` resets a trial's trainable as it would reset an actor.

Only a trial that is stopped while it waits for a report differs: the wait cannot be interrupted, so `stop` returns at
once, and the trainable is cleaned up when the wait ends. Whoever needs an earlier end must end what it waits for.

What this relies on in Ray, beyond its public API (tests/search/test_shared_actor.py fails if it changes):

- `ray.tune.execution.tune_controller._ActorClassCache`, instantiated by each TuneController, provides actor classes;
- RayActorManager (`ray/air/execution/_internal/actor_manager.py`) calls `options` and `remote` on such a class, and on
  the handle methods by name, `__ray_ready__` and `__ray_terminate__`; `ray.kill` reads the handle's `_ray_actor_id`.
"""

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import ray
from ray.actor import ActorClass, ActorHandle
from ray.exceptions import RayActorError
from ray.tune.execution import tune_controller

from tune.logs import replaced

_SPARE_THREADS = 16
"""For calls that do not wait, such as a trial's creation and its reset."""
_ANSWER_SECONDS = 10.0


@contextlib.contextmanager
def shared_actor(trials: int) -> Iterator[None]:
    """Within the context, Ray Tune runs all trials in one actor. trials: how many run at the same time."""
    with replaced(tune_controller, "_ActorClassCache", lambda: _SharedClasses(trials)):
        yield


class _SharedClasses:
    """In place of Ray Tune's cache of actor classes: one shared actor per class of trainables."""

    def __init__(self, trials: int) -> None:
        self._trials = trials
        self._classes: dict[type, _SharedClass] = {}

    def get(self, trainable: type) -> "_SharedClass":
        if trainable not in self._classes:
            self._classes[trainable] = _SharedClass(trainable, self._trials)
        return self._classes[trainable]


class _SharedClass(ActorClass[Any]):
    """An actor class to Ray Tune. A new "actor" is a trainable in the shared process, which is started if need be."""

    def __init__(self, trainable: type, trials: int) -> None:
        self._trainable = ray.put(trainable)
        options: dict[str, Any] = {"num_cpus": 0, "max_concurrency": trials + _SPARE_THREADS}
        self._host_class: Any = ray.remote(**options)(TrialHost)
        self._host: Any = None
        self._ready: Any = None

    def options(self, **options: Any) -> "_SharedClass":
        """Return itself: a trial's resources count how many may run, and nothing runs in them."""
        return self

    def remote(self, **kwargs: Any) -> "_TrialHandle":
        if not self._lives():
            self._host = self._host_class.remote(self._trainable)
            self._ready = self._host.ping.remote()
        return _TrialHandle(self._host, kwargs)

    def _lives(self) -> bool:
        """Return whether the process runs or starts; a call to one that does not answer shows it in time."""
        if self._host is None:
            return False
        try:
            if ray.wait([self._ready], timeout=0)[0]:
                ray.get(self._host.ping.remote(), timeout=_ANSWER_SECONDS)
        except RayActorError:
            return False
        except ray.exceptions.GetTimeoutError:
            pass
        return True


class _TrialHandle(ActorHandle[Any]):
    """The handle of one trial's trainable in the shared actor."""

    def __init__(self, host: Any, kwargs: dict[str, Any]) -> None:
        self._host = host
        self._trial = uuid.uuid4().hex
        self._created = host.create.remote(self._trial, kwargs)
        self._ray_actor_id = host._ray_actor_id
        # The actor lives as long as the real handle, `host`.
        self._ray_weak_ref = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name not in ("__ray_ready__", "__ray_terminate__"):
            raise AttributeError(name)
        return _Method(self, name)

    def __repr__(self) -> str:
        return f"_TrialHandle({self._trial})"

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of the trainable; return the reference to its result."""
        if method == "__ray_ready__":
            return self._created
        if method in ("stop", "__ray_terminate__"):
            return self._host.stop.remote(self._trial)
        return self._host.call.remote(self._trial, method, args, kwargs)


class _Method:
    def __init__(self, handle: _TrialHandle, name: str) -> None:
        self._handle = handle
        self._name = name

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        return self._handle.call(self._name, args, kwargs)


class _Hosted:
    """A trainable and what serialises its calls."""

    def __init__(self, trainable: Any) -> None:
        self.trainable = trainable
        self.stopped = False
        self.lock = threading.Lock()

    def end(self) -> None:
        """Clean up, unless a call is under way; that one then does it."""
        if self.lock.acquire(blocking=False):
            try:
                trainable, self.trainable = self.trainable, None
                if trainable is not None:
                    trainable.stop()
            finally:
                self.lock.release()


class TrialHost:
    """The shared actor: the trainables of all live trials by id. Ray calls it in many threads."""

    def __init__(self, trainable: type) -> None:
        # A process has one working directory.
        os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
        self._trainable = trainable
        self._trials: dict[str, _Hosted] = {}

    def ping(self) -> None:
        """Answer."""

    def create(self, trial: str, kwargs: dict[str, Any]) -> None:
        """Create a trial's trainable."""
        self._trials[trial] = _Hosted(self._trainable(**kwargs))

    def call(self, trial: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of a trial's trainable, after its call under way."""
        hosted = self._trials[trial]
        try:
            with hosted.lock:
                return getattr(hosted.trainable, method)(*args, **kwargs)
        finally:
            if hosted.stopped:
                hosted.end()

    def stop(self, trial: str) -> None:
        """End a trial, or if it waits for a report, have it end after that."""
        hosted = self._trials.pop(trial, None)
        if hosted is not None:
            hosted.stopped = True
            hosted.end()


__all__ = ["shared_actor"]
