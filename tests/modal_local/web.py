"""The HTTP side: blobs and Volume blocks as signed URLs would serve them, and a site per web function."""

from __future__ import annotations

import hashlib
import secrets
import urllib.parse
from typing import Any

from aiohttp import web
from modal._serialization import deserialize_data_format, serialize, serialize_data_format
from modal_proto import api_pb2 as api

from .pool import Pool
from .records import Call, World
from .volumes import BLOCK_BYTES

ANSWER_S = 120.0  # a web function that is silent for longer is given up


class WebSide:
    """`credentials` are the proxy token that functions with `requires_proxy_auth` demand."""

    def __init__(self, world: World, pool: Pool, credentials: tuple[str, str]) -> None:
        self.world = world
        self.pool = pool
        self.credentials = credentials
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_put("/blobs/{name}", self._put)
        app.router.add_put("/blocks/{name}", self._put)
        app.router.add_get("/blobs/{name}", self._get_blob)
        app.router.add_get("/volumes/{volume}/{path:.+}", self._get_block)
        self.world.url = await self._listen(app)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _listen(self, app: web.Application) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _put(self, request: web.Request) -> web.Response:
        data = await request.read()
        kind, name = request.path.strip("/").split("/")
        if kind == "blocks" and hashlib.sha256(data).hexdigest() != name:
            return web.Response(status=400, text="the block does not match its hash")
        (self.world.root / kind / name).write_bytes(data)
        return web.Response(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'}, text=name)

    async def _get_blob(self, request: web.Request) -> web.Response:
        return web.Response(body=(self.world.root / "blobs" / request.match_info["name"]).read_bytes())

    async def _get_block(self, request: web.Request) -> web.Response:
        volume = self.world.volumes[request.match_info["volume"]]
        with (volume.path / request.match_info["path"]).open("rb") as file:
            file.seek(int(request.query["block"]) * BLOCK_BYTES)
            return web.Response(body=file.read(BLOCK_BYTES))

    async def open(self, function_id: str) -> str:
        """A site on a port of its own whose requests become calls of the function; returns its address."""

        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(function_id, request)

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", serve)
        return await self._listen(app)

    async def _serve(self, function_id: str, request: web.Request) -> web.StreamResponse:
        function = self.world.functions[function_id]
        given = (request.headers.get("Modal-Key", ""), request.headers.get("Modal-Secret", ""))
        if function.definition.webhook_config.requires_proxy_auth and not all(
            secrets.compare_digest(*pair) for pair in zip(given, self.credentials, strict=True)
        ):
            return web.Response(status=401, text="modal-http: missing or wrong proxy credentials\n")
        if function.app.stopping:
            return web.Response(status=404, text="modal-http: app for invoked web endpoint is stopped\n")
        item = api.FunctionInput(args=serialize(((_scope(request),), {})), data_format=api.DATA_FORMAT_PICKLE)
        body = {"type": "http.request", "body": await request.read(), "more_body": False}
        call = self.pool.submit(function, item)
        call.data_in.append(_chunk(1, body))
        start = await self._message(call, 0)
        if start is None:
            return web.Response(status=500, text=f"modal-http: internal error: {call.error}\n")
        response = web.StreamResponse(status=start["status"])
        for name, value in start.get("headers", []):
            if name.lower() not in (b"transfer-encoding", b"connection"):  # aiohttp frames the body itself
                response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
        await response.prepare(request)
        position, more = 1, True
        while more and (message := await self._message(call, position)) is not None:
            await response.write(message.get("body") or b"")
            position, more = position + 1, bool(message.get("more_body"))
        await response.write_eof()
        return response

    async def _message(self, call: Call, position: int) -> dict[str, Any] | None:
        """The answer's message number `position`; None where the call ends without it."""
        await self.world.until(lambda: len(call.data_out) > position or call.done, ANSWER_S)
        if len(call.data_out) <= position:
            return None
        chunk = call.data_out[position]
        message: dict[str, Any] = deserialize_data_format(chunk.data, chunk.data_format, None)
        return message


def _chunk(index: int, message: dict[str, Any]) -> api.DataChunk:
    kind = api.DATA_FORMAT_ASGI
    return api.DataChunk(index=index, data_format=kind, data=serialize_data_format(message, kind))


def _scope(request: web.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": urllib.parse.unquote(request.rel_url.raw_path),
        "query_string": request.rel_url.raw_query_string.encode(),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": (request.remote or "127.0.0.1", 0),
        "server": ("127.0.0.1", request.url.port),
    }
