"""RPCs on apps, images, uploads, secrets, Volumes, Queues, Dicts and blobs: everything that is not a call."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import Status
from modal_proto import api_pb2 as api

from .containers import strike
from .records import App
from .rpc import Servicer, fail
from .volumes import BLOCK_BYTES, Volume, VolumeBusy

BUILDER_VERSION = "2025.06"
QUEUE_ITEMS = 5_000  # per partition, as documented


class AppRpcs(Servicer):
    """Hello, environment, app life cycle and logs, images, uploads, secrets, blobs."""

    async def ClientHello(self, request: Empty) -> api.ClientHelloResponse:
        return api.ClientHelloResponse(image_builder_version=BUILDER_VERSION)

    async def EnvironmentGetOrCreate(self, request: Any) -> api.EnvironmentGetOrCreateResponse:
        settings = api.EnvironmentSettings(image_builder_version=BUILDER_VERSION)
        metadata = api.EnvironmentMetadata(name="main", settings=settings)
        return api.EnvironmentGetOrCreateResponse(environment_id="en-000001", metadata=metadata)

    async def AppCreate(self, request: api.AppCreateRequest) -> api.AppCreateResponse:
        app = App(self.world.new_id("ap"), request.description, request.app_state)
        self.world.apps[app.app_id] = app
        page = f"{self.world.url}/apps/{app.app_id}"
        return api.AppCreateResponse(app_id=app.app_id, app_page_url=page, app_logs_url=page)

    async def AppHeartbeat(self, request: api.AppHeartbeatRequest) -> Empty:
        self.world.apps[request.app_id].heard = time.monotonic()
        return Empty()

    async def AppPublish(self, request: api.AppPublishRequest) -> api.AppPublishResponse:
        app = self.world.apps[request.app_id]
        app.functions = dict(request.function_ids)
        if request.app_state:
            app.state = request.app_state
        if app.state == api.APP_STATE_DEPLOYED:
            app.name = request.name
            self.world.deployed[request.name] = app
        return api.AppPublishResponse(url=f"{self.world.url}/apps/{app.app_id}", deployed_at=time.time())

    async def AppGetByDeploymentName(self, request: Any) -> api.AppGetByDeploymentNameResponse:
        app = self.world.deployed.get(request.name)
        return api.AppGetByDeploymentNameResponse(app_id=app.app_id if app else "", environment_name="main")

    async def AppGetLayout(self, request: api.AppGetLayoutRequest) -> api.AppGetLayoutResponse:
        return api.AppGetLayoutResponse(app_layout=self.pool.layout(self.world.apps[request.app_id]))

    async def AppClientDisconnect(self, request: api.AppClientDisconnectRequest) -> Empty:
        app = self.world.apps[request.app_id]
        app.connected = False
        if app.state in (api.APP_STATE_EPHEMERAL, api.APP_STATE_INITIALIZING):
            self.pool.stop_app(app)
        self.world.changed()
        return Empty()

    async def AppGetLogs(self, request: api.AppGetLogsRequest) -> AsyncIterator[api.TaskLogsBatch]:
        app = self.world.apps[request.app_id]
        sent = int(request.last_entry_id or 0)
        deadline = time.monotonic() + request.timeout
        while True:
            left = deadline - time.monotonic()
            await self.world.until(partial(self._logs_move, app, sent), left)
            for task_id, text in app.logs[sent:]:
                sent += 1
                stream = api.FILE_DESCRIPTOR_STDOUT  # both streams share one log
                line = api.TaskLogs(data=text, timestamp=time.time(), file_descriptor=stream)
                yield api.TaskLogsBatch(task_id=task_id, items=[line], entry_id=str(sent))
            if self._logs_end(app) and sent == len(app.logs):
                yield api.TaskLogsBatch(app_done=True)
                return
            if time.monotonic() >= deadline:
                return

    def _logs_move(self, app: App, sent: int) -> bool:
        return len(app.logs) > sent or self._logs_end(app)

    def _logs_end(self, app: App) -> bool:
        """The client of a detached app is sent home when it disconnects; any other waits for the last container."""
        detached = app.state == api.APP_STATE_DETACHED
        return not app.connected and (detached or not self.pool.alive(app))

    async def ImageGetOrCreate(self, request: api.ImageGetOrCreateRequest) -> api.ImageGetOrCreateResponse:
        image_id = self.world.new_id("im")
        self.world.images[image_id] = request.image
        return api.ImageGetOrCreateResponse(
            image_id=image_id,
            result=api.GenericResult(status=api.GenericResult.GENERIC_STATUS_SUCCESS),
            metadata=api.ImageMetadata(image_builder_version=BUILDER_VERSION),
        )

    async def MountBatchedCheckExistence(self, request: Any) -> api.MountBatchedCheckExistenceResponse:
        missing = [sha for sha in request.sha256_hex_hashes if not (self.world.root / "files" / sha).exists()]
        return api.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: api.MountPutFileRequest) -> api.MountPutFileResponse:
        blob = self.world.root / "blobs" / request.data_blob_id
        data = blob.read_bytes() if request.data_blob_id else request.data
        if hashlib.sha256(data).hexdigest() != request.sha256_hex:
            fail(Status.INVALID_ARGUMENT, "the uploaded file does not match its hash")
        (self.world.root / "files" / request.sha256_hex).write_bytes(data)
        return api.MountPutFileResponse(exists=True)

    async def MountGetOrCreate(self, request: api.MountGetOrCreateRequest) -> api.MountGetOrCreateResponse:
        mount_id = self.world.new_id("mo")
        self.world.mounts[mount_id] = list(request.files)
        # a look-up by name is the client's own package, which our containers have from the interpreter
        checksum = hashlib.sha256("".join(sorted(file.sha256_hex for file in request.files)).encode()).hexdigest()
        metadata = api.MountHandleMetadata(content_checksum_sha256_hex=checksum)
        return api.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=metadata)

    async def SecretGetOrCreate(self, request: Any) -> api.SecretGetOrCreateResponse:
        if request.deployment_name:
            fail(Status.NOT_FOUND, f"Secret '{request.deployment_name}' not found")
        secret_id = self.world.new_id("st")
        self.world.secrets[secret_id] = dict(request.env_dict)
        return api.SecretGetOrCreateResponse(secret_id=secret_id)

    async def BlobCreate(self, request: api.BlobCreateRequest) -> api.BlobCreateResponse:
        blob_id = self.world.new_id("bl")
        urls = api.UploadUrlList(items=[f"{self.world.url}/blobs/{blob_id}"])
        return api.BlobCreateResponse(blob_id=blob_id, blob_ids=[blob_id], upload_urls=urls)

    async def BlobGet(self, request: api.BlobGetRequest) -> api.BlobGetResponse:
        return api.BlobGetResponse(download_url=f"{self.world.url}/blobs/{request.blob_id}")

    def _get_or_create(self, kind: str, prefix: str, request: Any) -> tuple[str, bool]:
        """The id of a named or nameless object, and whether it is new; NOT_FOUND if none may be created."""
        name, how = request.deployment_name, request.object_creation_type
        known = self.world.named.get((kind, name)) if name else None
        if known and how == api.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            fail(Status.ALREADY_EXISTS, f"{kind} '{name}' already exists")
        if not known and how == api.OBJECT_CREATION_TYPE_UNSPECIFIED:
            fail(Status.NOT_FOUND, f"{kind} '{name}' not found")
        object_id = known or self.world.new_id(prefix)
        if name:
            self.world.named[kind, name] = object_id
        return object_id, not known


class VolumeRpcs(AppRpcs):
    """Volumes, from inside a container (commit, reload) and from a client (list, get, put, remove)."""

    def _volume(self, volume_id: str) -> Volume:
        return self.world.volumes.get(volume_id) or fail(Status.NOT_FOUND, f"Volume {volume_id} not found")

    async def VolumeGetOrCreate(self, request: Any) -> api.VolumeGetOrCreateResponse:
        volume_id, new = self._get_or_create("Volume", "vo", request)
        if new:
            path = self.world.root / "volumes" / volume_id
            path.mkdir()
            version = request.version or api.VOLUME_FS_VERSION_V1
            self.world.volumes[volume_id] = Volume(volume_id, request.deployment_name, version, path)
        metadata = self.pool.volume_metadata(volume_id)
        return api.VolumeGetOrCreateResponse(volume_id=volume_id, version=metadata.version, metadata=metadata)

    async def VolumeGetById(self, request: api.VolumeGetByIdRequest) -> api.VolumeGetByIdResponse:
        self._volume(request.volume_id)
        metadata = self.pool.volume_metadata(request.volume_id)
        return api.VolumeGetByIdResponse(volume_id=request.volume_id, metadata=metadata)

    async def VolumeCommit(self, request: api.VolumeCommitRequest) -> api.VolumeCommitResponse:
        view = self.caller.views.get(request.volume_id) or fail(Status.NOT_FOUND, "the Volume is not mounted here")
        async with self.pool.volume_lock:
            await asyncio.to_thread(view.commit)
        self.caller.commits += 1
        await strike(self.pool, self.caller)
        return api.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: api.VolumeReloadRequest) -> Empty:
        view = self.caller.views.get(request.volume_id) or fail(Status.NOT_FOUND, "the Volume is not mounted here")
        async with self.pool.volume_lock:
            try:
                await asyncio.to_thread(view.reload, self.caller.pid)
            except VolumeBusy as busy:
                fail(Status.FAILED_PRECONDITION, f"there are open files preventing the operation ({busy})")
        return Empty()

    def _inside(self, volume_id: str, path: str) -> Path:
        root = self._volume(volume_id).path
        found = (root / path.lstrip("/")).resolve()
        if not found.is_relative_to(root.resolve()):
            fail(Status.INVALID_ARGUMENT, f"{path} leaves the Volume")
        return found

    async def VolumeListFiles2(self, request: Any) -> AsyncIterator[api.VolumeListFiles2Response]:
        root, start = (
            self._volume(request.volume_id).path.resolve(),
            self._inside(request.volume_id, request.path),
        )
        if not start.exists():
            fail(Status.NOT_FOUND, f"{request.path}: no such file or directory")
        paths = [start] if start.is_file() else sorted(start.rglob("*") if request.recursive else start.iterdir())
        entries = []
        for path in paths:
            stat, kind = path.stat(), api.FileEntry.DIRECTORY if path.is_dir() else api.FileEntry.FILE
            name = path.relative_to(root).as_posix()
            entries.append(api.FileEntry(path=name, type=kind, mtime=int(stat.st_mtime), size=stat.st_size))
        yield api.VolumeListFiles2Response(entries=entries)

    async def VolumeGetFile2(self, request: api.VolumeGetFile2Request) -> api.VolumeGetFile2Response:
        path = self._inside(request.volume_id, request.path)
        if not path.is_file():
            fail(Status.NOT_FOUND, f"{request.path}: no such file")
        size = path.stat().st_size
        blocks = range((size + BLOCK_BYTES - 1) // BLOCK_BYTES)
        base = f"{self.world.url}/volumes/{request.volume_id}/{request.path.lstrip('/')}"
        return api.VolumeGetFile2Response(get_urls=[f"{base}?block={n}" for n in blocks], size=size, len=size)

    async def VolumePutFiles2(self, request: api.VolumePutFiles2Request) -> api.VolumePutFiles2Response:
        blocks, missing = self.world.root / "blocks", []
        for index, file in enumerate(request.files):
            if request.disallow_overwrite_existing_files and self._inside(request.volume_id, file.path).exists():
                fail(Status.ALREADY_EXISTS, f"{file.path} already exists")
            for number, block in enumerate(file.blocks):
                name = block.contents_sha256.hex()
                if not (blocks / name).exists():
                    missing.append(
                        api.VolumePutFiles2Response.MissingBlock(
                            file_index=index, block_index=number, put_url=f"{self.world.url}/blocks/{name}"
                        )
                    )
        async with self.pool.volume_lock:
            for file in request.files if not missing else ():
                path = self._inside(request.volume_id, file.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                whole = b"".join((blocks / block.contents_sha256.hex()).read_bytes() for block in file.blocks)
                path.unlink(missing_ok=True)  # a new inode, so that views see that the file is another one
                path.write_bytes(whole[: file.size].ljust(file.size, b"\0"))
        return api.VolumePutFiles2Response(missing_blocks=missing)


class ObjectRpcs(VolumeRpcs):
    """Queues and Dicts."""

    def _queue(self, queue_id: str) -> dict[bytes, deque[bytes]]:
        found = self.world.queues.get(queue_id)
        return found if found is not None else fail(Status.NOT_FOUND, f"Queue {queue_id} not found")

    async def QueueGetOrCreate(self, request: Any) -> api.QueueGetOrCreateResponse:
        queue_id, new = self._get_or_create("Queue", "qu", request)
        if new:
            self.world.queues[queue_id] = defaultdict(deque)
        metadata = api.QueueMetadata(name=request.deployment_name)
        return api.QueueGetOrCreateResponse(queue_id=queue_id, metadata=metadata)

    async def QueueGetById(self, request: api.QueueGetByIdRequest) -> api.QueueGetByIdResponse:
        self._queue(request.queue_id)
        return api.QueueGetByIdResponse(queue_id=request.queue_id, metadata=api.QueueMetadata())

    async def QueuePut(self, request: api.QueuePutRequest) -> Empty:
        queue = self._queue(request.queue_id)[request.partition_key]
        if len(queue) + len(request.values) > QUEUE_ITEMS:
            fail(Status.RESOURCE_EXHAUSTED, "the partition is full")
        queue.extend(request.values)
        self.world.changed()
        if self.container is not None:
            self.container.puts += len(request.values)
            await strike(self.pool, self.container)
        return Empty()

    async def QueueGet(self, request: api.QueueGetRequest) -> api.QueueGetResponse:
        queue = self._queue(request.queue_id)[request.partition_key]
        await self.world.until(lambda: bool(queue), request.timeout)
        count = min(len(queue), request.n_values or 1)
        return api.QueueGetResponse(values=[queue.popleft() for _ in range(count)])

    async def QueueLen(self, request: api.QueueLenRequest) -> api.QueueLenResponse:
        queue = self._queue(request.queue_id)
        keys = list(queue) if request.total else [request.partition_key]
        return api.QueueLenResponse(len=sum(len(queue[key]) for key in keys))

    async def QueueClear(self, request: api.QueueClearRequest) -> Empty:
        queue = self._queue(request.queue_id)
        for key in list(queue) if request.all_partitions else [request.partition_key]:
            queue[key].clear()  # the same deque: somebody may be waiting on it
        return Empty()

    def _dict(self, dict_id: str) -> dict[bytes, bytes]:
        found = self.world.dicts.get(dict_id)
        return found if found is not None else fail(Status.NOT_FOUND, f"Dict {dict_id} not found")

    async def DictGetOrCreate(self, request: api.DictGetOrCreateRequest) -> api.DictGetOrCreateResponse:
        dict_id, new = self._get_or_create("Dict", "di", request)
        if new:
            self.world.dicts[dict_id] = {entry.key: entry.value for entry in request.data}
        metadata = api.DictMetadata(name=request.deployment_name)
        return api.DictGetOrCreateResponse(dict_id=dict_id, metadata=metadata)

    async def DictGetById(self, request: api.DictGetByIdRequest) -> api.DictGetByIdResponse:
        self._dict(request.dict_id)
        return api.DictGetByIdResponse(dict_id=request.dict_id, metadata=api.DictMetadata())

    async def DictUpdate(self, request: api.DictUpdateRequest) -> api.DictUpdateResponse:
        table, created = self._dict(request.dict_id), False
        for entry in request.updates:
            if entry.key not in table or not request.if_not_exists:
                created = created or entry.key not in table
                table[entry.key] = entry.value
        return api.DictUpdateResponse(created=created)

    async def DictGet(self, request: api.DictGetRequest) -> api.DictGetResponse:
        table = self._dict(request.dict_id)
        return api.DictGetResponse(found=request.key in table, value=table.get(request.key))

    async def DictContains(self, request: api.DictContainsRequest) -> api.DictContainsResponse:
        return api.DictContainsResponse(found=request.key in self._dict(request.dict_id))
