"""RPCs on functions and their calls: the client's half (create, spawn, get, cancel) and the container's half."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import Status
from modal_proto import api_pb2 as api

from .layout import in_system
from .objects import ObjectRpcs
from .records import Call, Function
from .rpc import fail
from .web import WebSide

POLL_S = 50.0  # how long an input or output is waited for before the caller asks again
HEARTBEAT_S = 5.0  # what containers are told; the answer to a heartbeat is held for a little less


class Rpcs(ObjectRpcs):
    """All RPCs that the stand-in answers."""

    web: WebSide

    def _function(self, function_id: str) -> Function:
        return self.world.functions.get(function_id) or fail(Status.NOT_FOUND, f"Function {function_id} not found")

    def _call(self, call_id: str) -> Call:
        return self.world.calls.get(call_id) or fail(Status.NOT_FOUND, f"FunctionCall {call_id} not found")

    async def FunctionPrecreate(self, request: Any) -> api.FunctionPrecreateResponse:
        function_id = request.existing_function_id or self.world.new_id("fu")
        app = self.world.apps[request.app_id]
        draft = api.Function(
            function_name=request.function_name,
            function_type=request.function_type,
            function_schema=request.function_schema,
            supported_input_formats=request.supported_input_formats,
            supported_output_formats=request.supported_output_formats,
        )
        old = self.world.functions.get(function_id)
        function = Function(function_id, app, request.function_name, draft, url=old.url if old else "")
        self.world.functions[function_id] = function
        if request.webhook_config.type and not function.url:
            function.url = await self.web.open(function_id)
        metadata = self.pool.function_metadata(function)
        return api.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    async def FunctionCreate(self, request: api.FunctionCreateRequest) -> api.FunctionCreateResponse:
        function = self._function(request.existing_function_id)
        # a list of GPUs arrives as one definition per rank; we run the first, as if it were always free
        ranked = [entry.function for entry in request.function_data.ranked_functions] or [request.function]
        if any(mount.sub_path for mount in ranked[0].volume_mounts):
            fail(Status.UNIMPLEMENTED, "tests/modal_local does not emulate sub_path of a Volume")
        if hidden := [mount.mount_path for mount in ranked[0].volume_mounts if in_system(mount.mount_path)]:
            fail(Status.UNIMPLEMENTED, f"tests/modal_local cannot mount inside the host's folders: {hidden}")
        function.definition, function.ranked = ranked[0], ranked
        function.definition.web_url = function.url
        for container in self.pool.alive():
            if container.function_id == function.function_id and container.definition is not function:
                container.leaving = True  # of an earlier deploy: ends after what it has in hand
        return api.FunctionCreateResponse(
            function_id=function.function_id,
            function=function.definition,
            function_data=self._data(function),
            handle_metadata=self.pool.function_metadata(function),
        )

    def _data(self, function: Function) -> api.FunctionData:
        first = function.definition
        return api.FunctionData(
            module_name=first.module_name,
            function_name=first.function_name,
            function_type=first.function_type,
            webhook_config=first.webhook_config,
            web_url=function.url,
            ranked_functions=[
                api.FunctionData.RankedFunction(rank=rank, function=definition)
                for rank, definition in enumerate(function.ranked)
            ],
        )

    async def FunctionGetById(self, request: api.FunctionGetByIdRequest) -> api.FunctionGetByIdResponse:
        function = self._function(request.function_id)
        metadata = self.pool.function_metadata(function)
        return api.FunctionGetByIdResponse(function=self._data(function), handle_metadata=metadata)

    async def FunctionBindParams(self, request: Any) -> api.FunctionBindParamsResponse:
        """`with_options`: a variant with an id of its own and the same code."""
        base, options = self._function(request.function_id), request.function_options
        definition = api.Function()
        definition.CopyFrom(base.definition)
        if options.HasField("resources"):
            definition.resources.MergeFrom(options.resources)
        if options.HasField("retry_policy"):
            definition.retry_policy.CopyFrom(options.retry_policy)
        for field in ("timeout_secs", "concurrency_limit", "task_idle_timeout_secs", "max_concurrent_inputs"):
            if options.HasField(field):
                setattr(definition, field, getattr(options, field))
        if options.replace_secret_ids or options.replace_volume_mounts:
            fail(
                Status.UNIMPLEMENTED,
                "tests/modal_local does not emulate with_options(secrets=..., volumes=...)",
            )
        variant = Function(self.world.new_id("fu"), base.app, base.name, definition, [definition])
        self.world.functions[variant.function_id] = variant
        return api.FunctionBindParamsResponse(
            bound_function_id=variant.function_id, handle_metadata=self.pool.function_metadata(variant)
        )

    async def FunctionMap(self, request: api.FunctionMapRequest) -> api.FunctionMapResponse:
        if request.function_call_type != api.FUNCTION_CALL_TYPE_UNARY or len(request.pipelined_inputs) != 1:
            fail(Status.UNIMPLEMENTED, "tests/modal_local does not emulate FunctionMap with many inputs (.map)")
        function = self._function(request.function_id)
        parent = self.world.call_of_input(request.parent_input_id)
        call = self.pool.submit(
            function,
            request.pipelined_inputs[0].input,
            request.function_call_invocation_type,
            parent.call_id if parent else "",
        )
        answer = api.FunctionPutInputsResponseItem(input_id=call.input_id, input_jwt=call.input_id)
        return api.FunctionMapResponse(
            function_call_id=call.call_id,
            pipelined_inputs=[answer],
            retry_policy=function.definition.retry_policy,
            sync_client_retries_enabled=False,  # retries are ours, for .remote() as well
        )

    async def FunctionGetOutputs(self, request: Any) -> api.FunctionGetOutputsResponse:
        call = self._call(request.function_call_id)
        await self.world.until(lambda: call.output is not None, min(request.timeout, POLL_S))
        if call.output is None:
            return api.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        return api.FunctionGetOutputsResponse(outputs=[call.output], idxs=[0])

    async def FunctionCallFromId(self, request: Any) -> api.FunctionCallFromIdResponse:
        call = self._call(request.function_call_id)
        metadata = api.FunctionCallHandleMetadata(app_id=call.definition.app.app_id, function_id=call.function_id)
        return api.FunctionCallFromIdResponse(function_call_id=call.call_id, num_inputs=1, metadata=metadata)

    async def FunctionCallCancel(self, request: api.FunctionCallCancelRequest) -> Empty:
        self.pool.cancel(self._call(request.function_call_id), request.terminate_containers)
        return Empty()

    # the container's half

    async def ContainerHeartbeat(self, request: Any) -> api.ContainerHeartbeatResponse:
        container = self.caller
        if not await self.world.until(lambda: bool(container.cancels), HEARTBEAT_S - 0.2):
            return api.ContainerHeartbeatResponse()
        event = api.CancelInputEvent(input_ids=sorted(container.cancels))
        container.cancels.clear()
        return api.ContainerHeartbeatResponse(cancel_input_event=event)

    async def FunctionGetInputs(self, request: Any) -> api.FunctionGetInputsResponse:
        container = self.caller
        container.polled = True
        call = await self.world.until(lambda: container.leaving or self.pool.take(container), POLL_S)
        if isinstance(call, Call):
            item = api.FunctionGetInputsItem(
                input_id=call.input_id,
                input=call.item,
                function_call_id=call.call_id,
                function_call_invocation_type=call.invocation,
                retry_count=call.retries,
            )
        elif container.leaving:
            item = api.FunctionGetInputsItem(kill_switch=True)
        else:
            return api.FunctionGetInputsResponse()
        return api.FunctionGetInputsResponse(inputs=[item])

    async def FunctionPutOutputs(self, request: api.FunctionPutOutputsRequest) -> Empty:
        for item in request.outputs:
            call = self.caller.running.get(item.input_id)
            if call is not None and call.retries == item.retry_count:  # anything else is of an attempt we gave up
                self.pool.finish(call, item.result, item.data_format)
        return Empty()

    async def TaskResult(self, request: api.TaskResultRequest) -> Empty:
        self.caller.start_error = request.result
        return Empty()

    # the streams of a web function: its request goes in, its answer comes out

    async def FunctionCallGetDataIn(self, request: Any) -> AsyncIterator[api.DataChunk]:
        call = self._call(request.function_call_id)
        for chunk in call.data_in[request.last_index :]:  # all of it is there before a container can ask
            yield chunk
        await self.world.until(lambda: call.done, POLL_S)  # or the container would ask again and again

    async def FunctionCallPutDataOut(self, request: api.FunctionCallPutDataRequest) -> Empty:
        self._call(request.function_call_id).data_out.extend(request.data_chunks)
        self.world.changed()
        return Empty()
