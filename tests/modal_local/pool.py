"""All state of the stand-in, and which input runs in which container: queueing, limits, retries, cancels, ends.

Tests read Call and Container, and write Faults. Only the server's event loop changes state; others may read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modal_proto import api_pb2 as api

from . import containers, simulated
from .rpc_faults import RpcFault
from .simulated import Simulation

Result = api.GenericResult
CANCELLED = Result(status=Result.GENERIC_STATUS_TERMINATED, exception="Input was cancelled")
STOP_GRACE_S = 3.0  # between interrupting and killing a stopped app's container


@dataclass
class Fault:
    """Ends the nth container of a function, counted from 1, `after_s` seconds after it took an input.

    "kill" is SIGKILL. "preempt" is an interrupt, SIGKILL `grace_s` later, and a new attempt that uses no retry.
    """

    function: str
    container: int = 1
    kind: Literal["kill", "preempt"] = "kill"
    after_s: float = 0.0
    grace_s: float = 5.0


@dataclass(eq=False)
class App:
    app_id: str
    detached: bool
    functions: dict[str, Function] = field(default_factory=dict)
    connected: bool = True
    stopping: bool = False
    logs: list[tuple[str, str]] = field(default_factory=list)  # (task id, text)


@dataclass(eq=False)
class Function:
    function_id: str
    name: str
    app: App
    definition: api.Function
    waiting: deque[Call] = field(default_factory=deque)

    def metadata(self) -> api.FunctionHandleMetadata:
        names = ("function_name", "function_type", "function_schema", "supported_input_formats")
        copied = {name: getattr(self.definition, name) for name in (*names, "supported_output_formats", "web_url")}
        app_id = self.app.app_id
        return api.FunctionHandleMetadata(definition_id=f"de-{self.function_id}", app_id=app_id, **copied)


@dataclass(eq=False)
class Call:
    """A function call with its one input. attempts: deliveries to containers. retries: failures retried."""

    call_id: str
    input_id: str
    function: str
    target: Function
    item: api.FunctionInput
    invocation: int
    state: Literal["pending", "running", "success", "failure", "cancelled"] = "pending"
    attempts: int = 0
    retries: int = 0
    containers: list[str] = field(default_factory=list)
    started: float | None = None
    ended: float | None = None
    error: str = ""
    # internal to the servers
    container: Container | None = None
    taken_at: float = 0.0
    cancelled_at: float | None = None
    output: api.FunctionGetOutputsItem | None = None
    data_in: bytes = b""
    data_out: list[api.DataChunk] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.ended is not None


@dataclass(eq=False)
class Container:
    """A function's `number`-th container. It asked for `gpu`, sees `root` as /, logs to `log`; `pid` is process 1."""

    task_id: str
    function: str
    target: Function
    number: int
    gpu: str
    root: Path
    log: Path
    ended: float | None = None
    pid: int | None = None
    exit_code: int | None = None
    preempted: bool = False
    # internal to the servers
    volumes: dict[str, containers.VolumeCopy] = field(default_factory=dict)
    call: Call | None = None
    cancel: bool = False
    polled: bool = False
    leaving: bool = False
    kill_at: float | None = None


@dataclass(eq=False)
class Pool:
    """The state. limit: most live containers per function. store: all uploaded content, by hash or id.

    preload: modules that containers have imported when they start.
    """

    root: Path
    store: Path
    limit: int
    faults: list[Fault]
    container_env: dict[str, str]
    simulated: dict[str, Simulation] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    rpc_url: str = ""
    http_url: str = ""
    functions: list[Function] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    objects: dict[str, Any] = field(default_factory=dict)  # these, apps, images, mounts, Secrets, Volumes, Queues by id
    named: dict[tuple[str, str], str] = field(default_factory=dict)  # (prefix of the id, name) -> id
    unknown_rpcs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    rpcs: Counter[str] = field(default_factory=Counter)
    rpc_faults: list[RpcFault] = field(default_factory=list)
    volume_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _change: asyncio.Event = field(default_factory=asyncio.Event)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers):06d}"

    def add(self, prefix: str, value: Any) -> str:
        """Store a new object; return its id."""
        object_id = self.new_id(prefix)
        self.objects[object_id] = value
        return object_id

    def changed(self) -> None:
        """Wake all waiters in `until`."""
        self._change.set()
        self._change = asyncio.Event()

    async def until(self, ready: Callable[[], Any], timeout_s: float) -> Any:
        """Return the first true value of `ready()`, rechecked at every change; after `timeout_s`, its last value."""
        deadline = time.monotonic() + timeout_s
        while not (value := ready()) and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._change.wait(), left)
        return value

    def submit(self, function: Function, item: api.FunctionInput, invocation: int = 0, data: bytes = b"") -> Call:
        """Create a call and queue it for a container."""
        call = Call(self.new_id("fc"), self.new_id("in"), function.name, function, item, invocation, data_in=data)
        self.objects[call.call_id] = call
        self.calls.append(call)
        self._wait(call)
        return call

    def _wait(self, call: Call) -> None:
        if call.target.app.stopping and not call.done:
            self._end(call, CANCELLED)
        elif not call.done and call.function in self.simulated:
            self._tasks.append(asyncio.create_task(simulated.work(self, call, self.simulated[call.function])))
        elif not call.done:
            call.data_out.clear()
            call.target.waiting.append(call)
            self.kick()

    def take(self, container: Container) -> Call | None:
        """Assign a container its next input and return the call; None if there is none for it."""
        function = container.target
        if container.leaving or container.call is not None or not function.waiting:
            return None
        call = function.waiting.popleft()
        call.state, call.container, call.taken_at = "running", container, time.monotonic()
        call.attempts += 1
        call.started = call.started or time.time()
        call.containers.append(container.task_id)
        container.call = call
        return call

    def cancel(self, call: Call) -> None:
        """End a pending call now, a running one when its container confirms."""
        if call.container is None and not call.done:
            self._end(call, CANCELLED)
        elif call.container is not None and call.cancelled_at is None:
            call.cancelled_at = time.monotonic()
            call.container.cancel = True
            self.changed()

    def finish(self, call: Call, result: Result, data_format: int = 0) -> None:
        """Handle the result of an attempt: answer the caller, or run the input again."""
        self._release(call)
        policy = call.target.definition.retry_policy
        over = result.status == Result.GENERIC_STATUS_SUCCESS or call.retries >= policy.retries
        if over or call.cancelled_at is not None:
            self._end(call, result, data_format)
        else:
            call.retries += 1
            asyncio.get_running_loop().call_later(policy.initial_delay_ms / 1000, self._wait, call)

    def _release(self, call: Call) -> None:
        if call.container is not None:
            call.container.call, call.container.cancel = None, False
        call.state, call.container = "pending", None

    def _end(self, call: Call, result: Result, data_format: int = 0) -> None:
        success = result.status == Result.GENERIC_STATUS_SUCCESS
        if call.cancelled_at is not None or (call.target.app.stopping and not success):
            result = CANCELLED
        call.state = "cancelled" if result is CANCELLED else "success" if success else "failure"
        call.ended, call.error = time.time(), result.exception
        call.output = api.FunctionGetOutputsItem(
            input_id=call.input_id, result=result, data_format=data_format, retry_count=call.retries
        )
        with contextlib.suppress(ValueError):  # most are no longer waiting
            call.target.waiting.remove(call)
        self.kick()

    def alive(self, owner: App | Function | None = None) -> list[Container]:
        """Return the containers that have not ended, optionally only those of an app or function."""
        alive = [container for container in self.containers if container.ended is None]
        return [container for container in alive if owner in (None, container.target, container.target.app)]

    def kick(self) -> None:
        """Start the containers that waiting inputs need, within the limits; wake all waiters."""
        for function in self.functions:
            mine = self.alive(function)
            free = sum(container.call is None and not container.leaving for container in mine)
            needed = 0 if function.app.stopping else len(function.waiting) - free
            most = min(self.limit, function.definition.concurrency_limit or self.limit)
            for _ in range(min(most - len(mine), needed)):
                self._start(function)
        self.changed()

    def _start(self, function: Function) -> None:
        task_id, gpu = self.new_id("ta"), function.definition.resources.gpu_config.gpu_type
        number = 1 + sum(container.function == function.name for container in self.containers)
        folder = self.root / "containers" / task_id
        container = Container(task_id, function.name, function, number, gpu, folder / "root", folder / "log")
        self.objects[task_id] = container
        self.containers.append(container)
        self._tasks.append(asyncio.create_task(containers.live(self, container)))

    def settle(self, container: Container) -> None:
        """Settle the inputs that an ended container had, and those that waited for it."""
        ended_by_us, container.leaving, container.ended = container.leaving, True, time.time()
        text = f"Container {container.task_id} of {container.function} ended with exit code {container.exit_code}"
        crash = Result(status=Result.GENERIC_STATUS_FAILURE, exception=f"{text}, see {container.log}")
        call = container.call
        if call is not None and container.preempted and call.cancelled_at is None:
            self._release(call)
            self._wait(call)
        elif call is not None:
            self.finish(call, crash)
        if not container.polled and not ended_by_us:  # the next one would fail as well
            for waiting in list(container.target.waiting):
                self._end(waiting, crash)
        self.kick()

    def stop_app(self, app: App, grace_s: float = STOP_GRACE_S) -> None:
        """End an app's calls and containers; busy containers are interrupted first."""
        app.stopping = True
        for call in self.calls:
            if call.target.app is app and call.container is None and not call.done:
                self._end(call, CANCELLED)
        for container in self.alive(app):
            containers.end(container, "stop" if grace_s and container.polled else "kill", grace_s)
        self.changed()

    async def close(self) -> None:
        """Kill all containers and wait, for a bounded time, until they are gone."""
        for function in self.functions:
            self.stop_app(function.app, 0.0)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10.0)
