"""The RPCs of Modal's control plane that this project uses, and the HTTP server that goes with them.

A handler is a method named after its RPC; it takes the request and returns or yields the fields of the answer.
"""

import asyncio
import hashlib
import inspect
import shlex
import time
import traceback
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from google.protobuf.message_factory import GetMessageClass
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import StreamTerminatedError
from h2.exceptions import ProtocolError
from modal._serialization import deserialize_data_format, serialize, serialize_data_format
from modal_proto import api_pb2 as api

from .containers import HEARTBEAT_S, TICK_S
from .pool import App, Call, Function, Pool
from .rpc_faults import RpcFault

SERVICE = api.DESCRIPTOR.services_by_name["ModalClient"]
BUILDER = {"image_builder_version": "2025.06"}
BLOCK_BYTES = 8 << 20  # clients read and write files of Volumes in blocks of this size
POLL_S = 50.0  # how long to wait for an input or output before the caller asks again
ANSWER_S = 120.0  # how long to wait for a web function's answer
PROXY_TOKEN = ("wk-local", "ws-local")
Fields = dict[str, Any]
# Every deploy creates a new app; an import error (TaskResult) is also in the container's log.
EMPTY = ("AppGetByDeploymentName", "AppHeartbeat", "ContainerHello", "QueueHeartbeat", "TaskResult")
SAME_FOR_ALL: dict[str, Fields] = {name: {} for name in EMPTY} | {
    "AppPublish": {"url": "http://127.0.0.1/apps"},
    "EnvironmentGetOrCreate": {"environment_id": "en-1", "metadata": {"name": "main", "settings": BUILDER}},
}


@dataclass
class Rpcs:
    """The RPC handlers. container: the caller; None for a client outside any. request_id: the same for each retry."""

    pool: Pool
    container: Any = None
    request_id: str = ""

    def __mapping__(self) -> dict[str, Handler]:
        """Return what the gRPC server serves: a path for every RPC of Modal."""
        mapping = {}
        for rpc in SERVICE.methods:
            kind = Cardinality.UNARY_STREAM if rpc.server_streaming else Cardinality.UNARY_UNARY
            asked, answer = GetMessageClass(rpc.input_type), GetMessageClass(rpc.output_type)
            serve = partial(self._serve, rpc.name, answer)
            mapping[f"/{SERVICE.full_name}/{rpc.name}"] = Handler(serve, kind, asked, answer)
        return mapping

    async def _serve(self, name: str, answer: Any, stream: Any) -> None:
        # Few requests name the calling container, but its host name is its id.
        container = self.pool.objects.get(stream.metadata.get("x-modal-node", ""))
        rpcs = Rpcs(self.pool, container, stream.metadata.get("x-idempotency-key", ""))
        self.pool.rpcs[name] += 1
        handler = getattr(rpcs, name, SAME_FOR_ALL.get(name))
        if handler is None:
            self.pool.unknown_rpcs.append(name)
            raise GRPCError(Status.UNIMPLEMENTED, f"tests/modal_local does not emulate the RPC {name}")
        fault = await self._rpc_fault(name)
        try:
            request = await stream.recv_message()
            given = handler(request) if callable(handler) else handler
            if inspect.isasyncgen(given):
                async for fields in given:
                    await stream.send_message(answer(**fields))
            else:
                fields = await given if inspect.isawaitable(given) else given
                if fault is not None:
                    raise GRPCError(fault.status, f"injected: the answer to {name} is lost")
                await stream.send_message(answer(**(fields or {})))
        except (GRPCError, StreamTerminatedError, ProtocolError):
            raise  # an answer, or a caller that did not wait
        except Exception as error:
            # Not INTERNAL or UNKNOWN: the client would retry those, and our bug would look like a hang.
            self.pool.errors.append(f"{name}: {traceback.format_exc()}")
            raise GRPCError(Status.FAILED_PRECONDITION, f"bug in tests/modal_local, {name}: {error!r}") from error

    async def _rpc_fault(self, name: str) -> RpcFault | None:
        """Do what the test wants of this RPC; return the fault if its answer is to be lost."""
        fault = next((fault for fault in self.pool.rpc_faults if fault.hits(name)), None)
        if fault is None:
            return None
        await asyncio.sleep(fault.delay_s)
        if fault.status is not None and not fault.lost:
            raise GRPCError(fault.status, f"injected into {name}")
        return fault if fault.lost else None

    def _keep(self, data: bytes) -> str:
        """Store data by its hash; return the hash."""
        name = hashlib.sha256(data).hexdigest()
        (self.pool.store / name).write_bytes(data)
        return name

    def AppCreate(self, request: Any) -> Fields:
        app_id = self.pool.new_id("ap")
        self.pool.objects[app_id] = App(app_id, request.app_state == api.APP_STATE_DETACHED)
        return {"app_id": app_id, "app_page_url": f"http://127.0.0.1/apps/{app_id}"}

    def AppClientDisconnect(self, request: Any) -> None:
        app = self.pool.objects[request.app_id]
        app.connected = False
        if not app.detached:
            self.pool.stop_app(app)

    async def AppGetLogs(self, request: Any) -> AsyncIterator[Fields]:
        app, sent, over = self.pool.objects[request.app_id], 0, False
        while not over:
            # A detached app's client may leave when it disconnects; any other waits for the last container.
            over = not app.connected and (app.detached or not self.pool.alive(app))
            for task_id, text in app.logs[sent:]:
                sent += 1
                items = [{"data": text, "timestamp": time.time(), "file_descriptor": api.FILE_DESCRIPTOR_STDOUT}]
                yield {"task_id": task_id, "items": items, "entry_id": str(sent)}
            await asyncio.sleep(TICK_S)
        yield {"app_done": True}

    def ImageGetOrCreate(self, request: Any) -> Fields:
        """Keep only the environment that the image's ENV commands set; nothing is built."""
        env: dict[str, str] = {}
        for base in request.image.base_images:
            env |= self.pool.objects[base.image_id]
        for command in request.image.dockerfile_commands:
            if command.startswith("ENV "):
                env |= dict(setting.split("=", 1) for setting in shlex.split(command)[1:])
        result = {"status": api.GenericResult.GENERIC_STATUS_SUCCESS}
        return {"image_id": self.pool.add("im", env), "result": result, "metadata": BUILDER}

    def MountBatchedCheckExistence(self, request: Any) -> Fields:
        missing = [sha for sha in request.sha256_hex_hashes if not (self.pool.store / sha).exists()]
        return {"missing_sha256_hex_hashes": missing}

    def MountPutFile(self, request: Any) -> Fields:
        return {"exists": self._keep(request.data) == request.sha256_hex}

    def MountGetOrCreate(self, request: Any) -> Fields:
        # A look-up by name is for the client's own package, which our containers have from the interpreter.
        return {"mount_id": self.pool.add("mo", list(request.files)), "handle_metadata": {}}

    def BlobCreate(self, request: Any) -> Fields:
        blob_id = self.pool.new_id("bl")
        return {"blob_ids": [blob_id], "upload_urls": {"items": [f"{self.pool.http_url}/store/{blob_id}"]}}

    def BlobGet(self, request: Any) -> Fields:
        return {"download_url": f"{self.pool.http_url}/store/{request.blob_id}"}

    def SecretGetOrCreate(self, request: Any) -> Fields:
        return {"secret_id": self.pool.add("st", dict(request.env_dict))}

    def _object(self, object_id: str) -> Any:
        if object_id not in self.pool.objects:
            raise GRPCError(Status.NOT_FOUND, f"{object_id} not found")
        return self.pool.objects[object_id]

    def _get_or_create(self, prefix: str, request: Any, new: Any) -> str:
        """Return the id of a named object, created as `new` if missing and allowed, or of a new unnamed one."""
        key = (prefix, request.deployment_name)
        if key not in self.pool.named or not request.deployment_name:
            if request.object_creation_type == api.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise GRPCError(Status.NOT_FOUND, f"'{request.deployment_name}' not found")
            self.pool.named[key] = self.pool.add(prefix, new)
        return self.pool.named[key]

    def VolumeGetOrCreate(self, request: Any) -> Fields:
        path = self.pool.root / "volumes" / request.deployment_name
        path.mkdir(parents=True, exist_ok=True)
        metadata = {"version": api.VOLUME_FS_VERSION_V2, "name": request.deployment_name}
        return {"volume_id": self._get_or_create("vo", request, path), "version": 2, "metadata": metadata}

    async def VolumeCommit(self, request: Any) -> Fields:
        async with self.pool.volume_lock:
            await asyncio.to_thread(self.container.volumes[request.volume_id].commit)
        return {"skip_reload": True}

    async def VolumeReload(self, request: Any) -> None:
        async with self.pool.volume_lock:
            if user := await asyncio.to_thread(self.container.volumes[request.volume_id].reload):
                raise GRPCError(Status.FAILED_PRECONDITION, f"there are open files preventing the operation ({user})")

    def _in_volume(self, request: Any) -> tuple[Path, Path]:
        root: Path = self._object(request.volume_id)
        path = root / request.path.lstrip("/")
        if not path.exists():
            raise GRPCError(Status.NOT_FOUND, f"{request.path}: no such file or directory")
        return root, path

    async def VolumeListFiles2(self, request: Any) -> AsyncIterator[Fields]:
        root, start = self._in_volume(request)
        paths = [start] if start.is_file() else sorted(start.rglob("*") if request.recursive else start.iterdir())
        yield {"entries": [_file_entry(path, root) for path in paths]}

    def VolumeGetFile2(self, request: Any) -> Fields:
        _, path = self._in_volume(request)
        with path.open("rb") as file:
            names = [self._keep(block) for block in iter(lambda: file.read(BLOCK_BYTES), b"")]
            size = file.tell()
        return {"get_urls": [f"{self.pool.http_url}/store/{name}" for name in names], "size": size, "len": size}

    async def VolumePutFiles2(self, request: Any) -> Fields:
        missing = [
            {"file_index": index, "block_index": number, "put_url": f"{self.pool.http_url}/store/{name}"}
            for index, file in enumerate(request.files)
            for number, name in enumerate(block.contents_sha256.hex() for block in file.blocks)
            if not (self.pool.store / name).exists()
        ]
        async with self.pool.volume_lock:
            for file in request.files if not missing else ():
                path: Path = self._object(request.volume_id) / file.path.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                blocks = [(self.pool.store / block.contents_sha256.hex()).read_bytes() for block in file.blocks]
                whole = b"".join(block.ljust(BLOCK_BYTES, b"\0") for block in blocks)  # the client omits trailing zeros
                path.write_bytes(whole[: file.size])
        return {"missing_blocks": missing}

    def QueueGetOrCreate(self, request: Any) -> Fields:
        queue_id = self._get_or_create("qu", request, defaultdict(deque))
        return {"queue_id": queue_id, "metadata": {"name": request.deployment_name}}

    def QueueGetById(self, request: Any) -> Fields:
        return {"queue_id": request.queue_id, "metadata": {}}

    def QueuePut(self, request: Any) -> None:
        self._object(request.queue_id)[request.partition_key].extend(request.values)
        self.pool.changed()

    async def QueueGet(self, request: Any) -> Fields:
        items = self._object(request.queue_id)[request.partition_key]
        await self.pool.until(lambda: bool(items), request.timeout)
        return {"values": [items.popleft() for _ in range(min(len(items), request.n_values or 1))]}

    def DictGetOrCreate(self, request: Any) -> Fields:
        return {"dict_id": self._get_or_create("di", request, {}), "metadata": {"name": request.deployment_name}}

    def DictGetById(self, request: Any) -> Fields:
        self._object(request.dict_id)
        return {"dict_id": request.dict_id, "metadata": {}}

    def DictUpdate(self, request: Any) -> Fields:
        entries: dict[bytes, bytes] = self._object(request.dict_id)
        new = [update for update in request.updates if not (request.if_not_exists and update.key in entries)]
        entries.update((update.key, update.value) for update in new)
        return {"created": bool(new)}

    def DictGet(self, request: Any) -> Fields:
        value = self._object(request.dict_id).get(request.key)
        return {"found": value is not None, "value": value}

    def FunctionPrecreate(self, request: Any) -> Fields:
        draft, app = api.Function(function_name=request.function_name), self.pool.objects[request.app_id]
        function = app.functions[request.function_name] = self._new_function(app, draft)
        return {"function_id": function.function_id, "handle_metadata": function.metadata()}

    def _new_function(self, app: App, definition: api.Function) -> Function:
        function = Function(self.pool.new_id("fu"), definition.function_name, app, definition)
        self.pool.objects[function.function_id] = function
        self.pool.functions.append(function)
        return function

    def FunctionCreate(self, request: Any) -> Fields:
        function = self._object(request.existing_function_id)
        # A list of GPUs arrives as one definition per rank; we use the first, as if it were always free.
        ranked = [entry.function for entry in request.function_data.ranked_functions]
        function.definition = (ranked or [request.function])[0]
        if function.definition.webhook_config.type:
            function.definition.web_url = f"{self.pool.http_url}/web/{function.function_id}"
        data, metadata = {"ranked_functions": [{"function": function.definition}]}, function.metadata()
        return {"function_id": function.function_id, "function_data": data, "handle_metadata": metadata}

    def FunctionGetById(self, request: Any) -> Fields:
        function = self._object(request.function_id)
        data, metadata = {"ranked_functions": [{"function": function.definition}]}, function.metadata()
        return {"function": data, "handle_metadata": metadata}

    def FunctionBindParams(self, request: Any) -> Fields:
        """Handle `with_options`: create a variant with its own id and the same code."""
        base, definition = self._object(request.function_id), api.Function()
        options = {field.name: value for field, value in request.function_options.ListFields()}
        if others := options.keys() - {"resources", "retry_policy", "timeout_secs"}:
            raise GRPCError(Status.UNIMPLEMENTED, f"tests/modal_local does not emulate with_options of {others}")
        definition.CopyFrom(base.definition)
        if "retry_policy" in options:
            definition.ClearField("retry_policy")  # MergeFrom would not overwrite with a 0
        definition.MergeFrom(api.Function(**options))
        variant = self._new_function(base.app, definition)
        return {"bound_function_id": variant.function_id, "handle_metadata": variant.metadata()}

    def FunctionMap(self, request: Any) -> Fields:
        [first] = request.pipelined_inputs  # more would be a .map
        # The client repeats a request whose answer was lost.
        call = self.pool.objects.get(f"request-{self.request_id}")
        if call is None or not self.request_id:
            function, invocation = self._object(request.function_id), request.function_call_invocation_type
            call = self.pool.objects[f"request-{self.request_id}"] = self.pool.submit(function, first.input, invocation)
        answers = [{"input_id": call.input_id, "input_jwt": call.input_id}]
        # The server retries, for .remote() as well.
        return {"function_call_id": call.call_id, "pipelined_inputs": answers, "sync_client_retries_enabled": False}

    async def FunctionGetOutputs(self, request: Any) -> Fields:
        call = self._object(request.function_call_id)
        await self.pool.until(lambda: call.done, min(request.timeout, POLL_S))
        return {"outputs": [call.output], "idxs": [0]} if call.output else {"num_unfinished_inputs": 1}

    def FunctionCallCancel(self, request: Any) -> None:
        self.pool.cancel(self._object(request.function_call_id))

    async def ContainerHeartbeat(self, request: Any) -> Fields:
        if not await self.pool.until(lambda: self.container.cancel, HEARTBEAT_S - 0.2):
            return {}
        self.container.cancel = False
        return {"cancel_input_event": {"input_ids": [self.container.call.input_id]}}

    async def FunctionGetInputs(self, request: Any) -> Fields:
        container = self.container
        container.polled = True
        call = await self.pool.until(lambda: self.pool.take(container) or container.leaving, POLL_S)
        if not isinstance(call, Call):
            return {"inputs": [{"kill_switch": True}]} if call else {}
        ids = {"input_id": call.input_id, "function_call_id": call.call_id, "retry_count": call.retries}
        return {"inputs": [{**ids, "input": call.item, "function_call_invocation_type": call.invocation}]}

    def FunctionPutOutputs(self, request: Any) -> None:
        [item] = request.outputs
        call = self.container.call
        if call is not None and (call.input_id, call.retries) == (item.input_id, item.retry_count):
            self.pool.finish(call, item.result, item.data_format)

    async def FunctionCallGetDataIn(self, request: Any) -> AsyncIterator[Fields]:
        call = self._object(request.function_call_id)
        yield {"index": 1, "data_format": api.DATA_FORMAT_ASGI, "data": call.data_in}
        await self.pool.until(lambda: call.done, POLL_S)  # otherwise the container would ask again and again

    def FunctionCallPutDataOut(self, request: Any) -> None:
        self._object(request.function_call_id).data_out.extend(request.data_chunks)


def _file_entry(path: Path, root: Path) -> Fields:
    kind, stat = api.FileEntry.DIRECTORY if path.is_dir() else api.FileEntry.FILE, path.stat()
    return {"path": str(path.relative_to(root)), "type": kind, "mtime": int(stat.st_mtime), "size": stat.st_size}


async def start_http(pool: Pool) -> web.AppRunner:
    """Start the HTTP server on a free port, and set the Pool's `http_url`."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_put("/store/{name}", partial(_put, pool))
    app.router.add_static("/store", pool.store)
    app.router.add_route("*", "/web/{function}{path:.*}", partial(_call, pool))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pool.http_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner


async def _put(pool: Pool, request: web.Request) -> web.Response:
    data = await request.read()
    (pool.store / request.match_info["name"]).write_bytes(data)
    return web.Response(headers={"ETag": hashlib.md5(data).hexdigest()})


async def _call(pool: Pool, request: web.Request) -> web.Response:
    """Call a web function for a request: the input is the ASGI scope; body and answer travel as data."""
    function = pool.objects[request.match_info["function"]]
    credentials = (request.headers.get("Modal-Key"), request.headers.get("Modal-Secret"))
    if function.definition.webhook_config.requires_proxy_auth and credentials != PROXY_TOKEN:
        return web.Response(status=401, text="modal-http: missing or wrong proxy credentials\n")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "path": request.match_info["path"] or "/",
        "query_string": request.query_string.encode(),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
    }
    body = {"type": "http.request", "body": await request.read(), "more_body": False}
    item = api.FunctionInput(args=serialize(((scope,), {})), data_format=api.DATA_FORMAT_PICKLE)
    call = pool.submit(function, item, data=serialize_data_format(body, api.DATA_FORMAT_ASGI))
    await pool.until(lambda: call.done, ANSWER_S)
    if call.state != "success":
        return web.Response(status=500, text=f"modal-http: internal error: {call.error}\n")
    first, *others = [deserialize_data_format(part.data, part.data_format, None) for part in call.data_out]
    headers = [(name.decode(), value.decode()) for name, value in first["headers"]]
    return web.Response(status=first["status"], headers=headers, body=b"".join(part["body"] for part in others))
