"""The ASGI application: OpenAI's `/v1/embeddings` and `/v1/models`, and `/health`.

Every answer that is not 200 is one sentence in OpenAI's form. Texts are never logged.
"""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tune.errors import ModelError
from tune.serve.batching import Batcher, BatchLimits, QueueFullError, Vectors
from tune.serve.requests import MOST_BYTES, ApiError, Asked, answer, read_request
from tune.serve.served import SIDES, Served

MOST_BUFFERED = 16 * MOST_BYTES
"""Bytes of all bodies that are in memory at a time."""
BODY_SECONDS = 60.0
"""How long a body may take to arrive."""
_GONE = 499
"""Status for nobody: the client has left."""
_LONG = 2**16
"""Numbers in an answer from which it is written in a thread."""

log = logging.getLogger("embedtune.serve")
Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(served: Served, limits: BatchLimits | None = None, key: str | None = None) -> Starlette:
    """Return the application. limits: by default those for the kind of model. key: that requests to /v1 must send."""
    return _Api(served, limits or default_limits(served), key).app


def default_limits(served: Served, **given: Any) -> BatchLimits:
    """Return the limits for a kind of model.

    Texts that are bought share no batch, and several requests go at once; nor do texts that would change each other's
    vectors.
    """
    kind: dict[str, Any] = {"threads": 4, "merge": False} if served.buys else {"merge": not served.alone}
    return BatchLimits(**{**kind, **given})


def broken_app(message: str, key: str | None = None) -> Starlette:
    """Return an application that answers every request with status 500 and this sentence: nothing could be loaded.

    key: without it nobody is told why.
    """

    async def refuse(request: Request) -> Response:
        try:
            _check_key(request, key.encode() if key else None)
        except ApiError as error:
            return _error(error)
        return _error(ApiError(500, message, code="model_not_loaded"))

    return Starlette(routes=[Route("/{path:path}", refuse, methods=["GET", "POST"])])


class _Api:
    def __init__(self, served: Served, limits: BatchLimits, key: str | None) -> None:
        self._served, self._limits = served, limits
        self._key = key.encode() if key else None
        self._batcher: Batcher | None = None
        self._buffered = 0
        self._since = int(time.time())
        self.app = Starlette(
            routes=[
                Route("/v1/embeddings", self._endpoint(self._embeddings), methods=["POST"]),
                Route("/v1/models", self._endpoint(self._models), methods=["GET"]),
                Route("/v1/models/{name:path}", self._endpoint(self._model), methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )
        self.app.router.redirect_slashes = False

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._batcher = Batcher(self._served.encode, self._limits)
        self._batcher.start()
        try:
            yield
        finally:
            await self._batcher.stop()

    def _endpoint(self, endpoint: Endpoint) -> Endpoint:
        """Wrap an endpoint of /v1: check the key first, and turn every failure into an answer."""

        async def safe(request: Request) -> Response:
            try:
                _check_key(request, self._key)
                return await endpoint(request)
            except ApiError as error:
                return _error(error)
            except ClientDisconnect:
                return Response(status_code=_GONE)
            except asyncio.CancelledError:
                # The server ends and has waited long enough; raised, it would be logged as a failure.
                return _error(ApiError(503, "the server is stopping"))
            except Exception:
                log.exception("%s %s failed", request.method, request.url.path)
                return _error(ApiError(500, "the server failed; its log says why"))

        return safe

    async def _embeddings(self, request: Request) -> Response:
        sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent != "application/json":
            raise ApiError(415, f"the body must be application/json, not {sent[:60] or 'without a type'}")
        taken = 0
        try:
            chunks = []
            async for chunk in self._body(request):
                chunks.append(chunk)
                taken += len(chunk)
                self._buffered += len(chunk)
            asked = read_request(b"".join(chunks), self._served)
            vectors, tokens = await self._encoded(asked, request)
        finally:
            self._buffered -= taken
        if len(vectors) * asked.dims < _LONG:
            content = answer(asked, vectors, tokens)
        else:
            content = await asyncio.to_thread(answer, asked, vectors, tokens)
        return Response(content, media_type="application/json")

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body's chunks. Raises ApiError if it is too large, too slow, or one too many."""
        too_large = ApiError(413, f"the body has more than {MOST_BYTES // 2**20} MiB; send fewer texts at a time")
        said = request.headers.get("content-length", "")
        if said.isdigit() and int(said) > MOST_BYTES:
            raise too_large
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > MOST_BYTES:
                        raise too_large
                    if self._buffered + len(chunk) > MOST_BUFFERED:
                        raise ApiError(503, "too many large requests at once; try again", code="overloaded", wait=1)
                    yield chunk
        except TimeoutError:
            raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:.0f} seconds") from None

    async def _encoded(self, asked: Asked, request: Request) -> tuple[Vectors, int]:
        """Return vectors and tokens. Raises ClientDisconnect once the client has left, and frees its place."""
        assert self._batcher is not None, "requests come after the start"
        encoding = asyncio.create_task(self._batcher.encode(asked.texts, asked.side))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({encoding, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not encoding.done():
                raise ClientDisconnect
            return encoding.result()
        except QueueFullError as error:
            message = f"the server is busy: {error.waiting:,} texts are waiting; try again in {error.seconds} s"
            raise ApiError(503, message, code="overloaded", wait=error.seconds) from None
        except ModelError as error:
            log.error("%s", error)
            if self._served.buys:
                raise ApiError(502, "the closed model's provider gave no vectors; the server's log says why") from None
            raise ApiError(500, "the model gave no vectors for these texts; the server's log says why") from None
        finally:
            for task in (encoding, leaving):
                task.cancel()

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._described(name) for name in self._served.names]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._served.names:
            known = ", ".join(self._served.names)
            raise ApiError(
                404, f"the model {name[:80]!r} does not exist; this server has {known}", code="model_not_found"
            )
        return JSONResponse(self._described(name))

    def _described(self, name: str) -> dict[str, Any]:
        side = self._served.names[name]
        words = [word for word, one in SIDES.items() if side in (None, one)]
        described = {"id": name, "object": "model", "created": self._since, "owned_by": "embedtune"}
        return {**described, "dimensions": list(self._served.offered), "input_types": words}

    async def _health(self, request: Request) -> Response:
        waiting = self._batcher.waiting if self._batcher else 0
        loaded = round(self._served.seconds, 2)
        return JSONResponse({"status": "ok", "model": self._served.name, "loaded_seconds": loaded, "waiting": waiting})


def _check_key(request: Request, key: bytes | None) -> None:
    """Raise ApiError if a key is asked for and the request has another or none."""
    if key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Headers are latin-1, whatever the client meant.
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), key):
        wrong = "the API key is wrong" if given else "the API key is missing"
        error = ApiError(401, f"{wrong}; send the header Authorization: Bearer KEY", code="invalid_api_key")
        error.headers["WWW-Authenticate"] = "Bearer"
        raise error


async def _left(request: Request) -> None:
    """Return once the client has left. The body has been read, so nothing else arrives."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error(error: ApiError) -> Response:
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer what no route takes."""
    assert isinstance(error, HTTPException)
    paths = "POST /v1/embeddings, GET /v1/models and GET /health"
    what = f"{request.method} {request.url.path[:80]}"
    status = error.status_code
    message = f"{what} is not served; there are {paths}" if status in (404, 405) else f"{what}: {error.detail}"
    return JSONResponse(ApiError(status, message).body, status_code=status, headers=error.headers)
