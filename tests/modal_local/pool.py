"""Which input runs in which container: queueing, limits, retries, cancels, and the end of apps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modal_proto import api_pb2 as api

from .containers import interrupt, kill, supervise
from .records import App, Call, Container, Fault, Function, World

Result = api.GenericResult
STOP_GRACE_S = 3.0  # between the interrupt of a stopped app's container and its end
HEARTBEAT_LOST_S = 60.0  # an ephemeral app whose client is silent for longer is stopped
START_TRIES = 3  # containers that may end before they ask for input, until the waiting calls fail


class Pool:
    """All calls and containers. `limit` caps the containers alive at a time over all functions."""

    def __init__(self, world: World, limit: int | None, faults: list[Fault], env: dict[str, str]) -> None:
        self.world = world
        self.limit = limit
        self.faults = faults
        self.env = env
        self.sockets = Path()
        self.servicer: Callable[[Container], Any] = lambda container: None
        self.volume_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(
        self,
        function: Function,
        item: api.FunctionInput,
        invocation: api.FunctionCallInvocationType.ValueType = api.FUNCTION_CALL_INVOCATION_TYPE_SYNC,
        parent: str = "",
    ) -> Call:
        """A new call of `function`, which waits for a container."""
        call_id, input_id = self.world.new_id("fc"), self.world.new_id("in")
        call = Call(
            call_id,
            function.name,
            function.function_id,
            parent,
            input_id=input_id,
            definition=function,
            item=item,
            invocation=invocation,
        )
        self.world.calls[call_id] = call
        if function.app.stopping:
            self._end(call, _terminated("the app is stopped"))
        self.kick()
        return call

    def take(self, container: Container) -> Call | None:
        """The next input for a container that asks, if there is one that it may have."""
        if container.ended is not None or len(container.running) >= container.definition.slots:
            return None
        call = next(self._waiting(container.function_id), None)
        if call is not None:
            call.state, call.container, call.taken_at = "running", container, time.monotonic()
            call.attempts += 1
            call.started = call.started or time.time()
            call.containers.append(container.task_id)
            container.calls.append(call.call_id)
            container.running[call.input_id] = call
            container.first_input = container.first_input or call.taken_at
            container.definition.failed_starts = 0
        return call

    def _waiting(self, function_id: str) -> Iterator[Call]:
        now = time.monotonic()
        return (
            call
            for call in self.world.calls.values()
            if call.state == "pending" and call.function_id == function_id and call.ready_at <= now
        )

    def cancel(self, call: Call, terminate: bool = False) -> None:
        """Ends a waiting call at once, and a running one when its container confirms."""
        if call.done or call.cancelled_at is not None:
            return
        if call.container is None:
            self._end(call, _terminated("Input was cancelled"))
            return
        call.cancelled_at = time.monotonic()
        call.container.cancels.add(call.input_id)
        if terminate:
            kill(call.container)
        self.world.changed()

    def finish(self, call: Call, result: Result, data_format: int = 0) -> None:
        """An attempt of `call` ended with `result`: answer the caller, or run the input again."""
        self._release(call)
        over = result.status in (Result.GENERIC_STATUS_SUCCESS, Result.GENERIC_STATUS_TERMINATED)
        policy = call.definition.definition.retry_policy
        if over or call.cancelled_at is not None or call.retries >= policy.retries or call.definition.app.stopping:
            self._end(call, result, data_format)
            return
        delay_ms = policy.initial_delay_ms * (policy.backoff_coefficient or 1.0) ** call.retries
        call.retries += 1
        call.error = result.exception
        self._again(call, min(delay_ms, policy.max_delay_ms or delay_ms) / 1000)

    def _release(self, call: Call) -> None:
        if call.container is not None:
            call.container.running.pop(call.input_id, None)
            call.container.cancels.discard(call.input_id)
            call.container.idle_since = time.monotonic()
            call.container = None

    def _again(self, call: Call, delay_s: float) -> None:
        call.state, call.ready_at = "pending", time.monotonic() + delay_s
        call.data_out.clear()
        asyncio.get_running_loop().call_later(delay_s + 0.01, self.kick)

    def _end(self, call: Call, result: Result, data_format: int = 0) -> None:
        if call.cancelled_at is not None or result.status == Result.GENERIC_STATUS_TERMINATED:
            call.state, result = "cancelled", _terminated(result.exception or "Input was cancelled")
        else:
            call.state = "success" if result.status == Result.GENERIC_STATUS_SUCCESS else "failure"
        call.ended, call.error = time.time(), result.exception
        call.output = api.FunctionGetOutputsItem(
            input_id=call.input_id,
            result=result,
            data_format=data_format,  # type: ignore[arg-type]
            output_created_at=call.ended,
            retry_count=call.retries,
        )
        self.kick()

    def alive(self, app: App | None = None) -> list[Container]:
        return [
            container
            for container in self.world.containers.values()
            if container.ended is None and (app is None or container.definition.app is app)
        ]

    def kick(self) -> None:
        """Start the containers that waiting inputs need, as far as the limits allow; wake all who wait."""
        for function in list(self.world.functions.values()):
            waiting = sum(1 for _ in self._waiting(function.function_id))
            mine = [one for one in self.alive() if one.function_id == function.function_id]
            free = sum(function.slots - len(one.running) for one in mine if not one.leaving)
            most = function.definition.concurrency_limit or waiting + len(mine)
            while waiting > free and len(mine) < most and not function.app.stopping and self._room():
                mine.append(self._start(function))
                free += function.slots
        self.world.changed()

    def _room(self) -> bool:
        """Whether one more container fits; if not, asks the longest idle one to make room."""
        alive = self.alive()
        if self.limit is None or len(alive) < self.limit:
            return True
        idle = [one for one in alive if one.polled and not one.running and not any(self._waiting(one.function_id))]
        if idle and not any(one.leaving for one in alive):
            min(idle, key=lambda one: one.idle_since).leaving = True
        return False

    def _start(self, function: Function) -> Container:
        task_id = self.world.new_id("ta")
        number = 1 + sum(1 for one in self.world.containers.values() if one.function == function.name)
        gpu = function.definition.resources.gpu_config
        name = gpu.gpu_type if gpu.count <= 1 else f"{gpu.gpu_type}:{gpu.count}"
        folder = self.world.root / "containers" / task_id
        container = Container(task_id, function.name, number, name, folder, definition=function)
        self.world.containers[task_id] = container
        task = asyncio.get_running_loop().create_task(supervise(self, container))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return container

    def settle(self, container: Container) -> None:
        """What becomes of the inputs that an ended container left behind, and of those that waited for it."""
        function, error = container.definition, container.start_error
        text = f"Container {container.task_id} of {container.function} ended with exit code {container.exit_code}"
        crash = Result(status=Result.GENERIC_STATUS_FAILURE, exception=f"{text}, see {container.log}")
        for call in list(container.running.values()):
            if call.cancelled_at is not None or function.app.stopping:
                self.finish(call, _terminated("Input was cancelled"))
            elif container.preempted:
                self._release(call)
                self._again(call, 0.0)
            else:
                self.finish(call, crash)
        if error is not None or not container.polled:
            function.failed_starts += 1
            if error is not None or function.failed_starts >= START_TRIES:
                for call in list(self._waiting(function.function_id)):
                    self._end(call, error or crash)
        self.kick()

    def stop_app(self, app: App) -> None:
        """End the calls and the containers of an app; those at work are interrupted first."""
        app.stopping = True
        for call in self.world.calls.values():
            if call.definition.app is app and call.state == "pending":
                self._end(call, _terminated("the app is stopped"))
        for container in self.alive(app):
            if container.running:
                interrupt(container, STOP_GRACE_S)
            elif container.polled:
                container.leaving, container.kill_at = True, time.monotonic() + STOP_GRACE_S
            else:
                kill(container)
        self.world.changed()

    async def watch_apps(self) -> None:
        """Stops ephemeral apps whose client is gone, and detached ones that have nothing left to do."""
        while True:
            for app in self.world.apps.values():
                lost = time.monotonic() - app.heard > HEARTBEAT_LOST_S
                busy = any(not call.done for call in self.world.calls.values() if call.definition.app is app)
                left = app.state == api.APP_STATE_DETACHED and not app.connected and not busy
                if not app.stopping and (left or (lost and app.state == api.APP_STATE_EPHEMERAL)):
                    app.connected = False
                    self.stop_app(app)
            await asyncio.sleep(1.0)

    async def close(self) -> None:
        """Kill every container and wait until they are gone (bounded)."""
        for app in self.world.apps.values():
            app.stopping = True
        for container in self.alive():
            kill(container)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=10.0)

    def volume_metadata(self, volume_id: str) -> api.VolumeMetadata:
        volume = self.world.volumes[volume_id]
        return api.VolumeMetadata(version=volume.version, name=volume.name)  # type: ignore[arg-type]

    def function_metadata(self, function: Function) -> api.FunctionHandleMetadata:
        definition = function.definition
        return api.FunctionHandleMetadata(
            function_name=function.name,
            function_type=definition.function_type,
            definition_id=f"de-{function.function_id}",
            function_schema=definition.function_schema,
            supported_input_formats=definition.supported_input_formats,
            supported_output_formats=definition.supported_output_formats,
            web_url=function.url,
            app_id=function.app.app_id,
        )

    def layout(self, app: App) -> api.AppLayout:
        """The functions of an app by name, as containers and a second deploy need them."""
        layout = api.AppLayout(function_ids=app.functions)
        for function_id in app.functions.values():
            metadata = self.function_metadata(self.world.functions[function_id])
            layout.objects.add(object_id=function_id, function_handle_metadata=metadata)
        return layout


def _terminated(text: str) -> Result:
    return Result(status=Result.GENERIC_STATUS_TERMINATED, exception=text)
