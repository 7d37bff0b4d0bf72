"""A real HTTP server on loopback that speaks OpenAI's and Cohere's embedding APIs, with faults on demand.

Vectors are wordllama's, mapped to the model's dims without changing a cosine, so AUCs are real. The server counts every
text it sells.
"""

import base64
import contextlib
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import numpy as np

from tune.embed.closed.names import MODELS
from tune.embed.sources import load_source

KEY = "sk-test-0123456789abcdefSECRET"
KEYS = {"OPENAI_API_KEY": KEY, "COHERE_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
"""The environment of a process that uses the server."""
OPENAI_PATH, COHERE_PATH = "/v1/embeddings", "/v2/embed"
OWN_MODEL = "own/tiny:latest"
"""A model that is in no table, 256 dims."""

Fault = Literal[
    "rate_limit",  # 429 with Retry-After
    "quota",  # 429 insufficient_quota (OpenAI), 402 (Cohere)
    "month",  # 429 for an exhausted trial key (Cohere)
    "error",  # 500
    "too_long",  # 400: a text above the model's limit
    "hang",  # no answer
    "cut",  # half an answer, then the connection is closed
    "wrong_order",  # OpenAI: with the right indices; Cohere: with the texts in the same order
    "same_index",  # all indices 0
    "no_index",  # no indices
    "no_zero_index",  # no index where it is 0, in another order than the texts
    "no_two_indices",  # no index on two vectors
    "from_one",  # indices from 1
    "short",  # one vector missing
    "other_dims",  # vectors of another length
    "ragged",  # one vector of another length
    "nan",
    "zero",
    "page",  # 200 with a web page
    "empty",  # 200 with {}
    "error_body",  # 200 with an error in place of vectors
    "wrong_key_body",  # 200 with an error that has code 401
    "cut_json",  # 200 with half of the JSON, as if it were all
]


@dataclass
class Book:
    """What the server did.

    sold: how often each (path, input type, text) was sold. requests: (path, number of texts, status) of each answered
    request. bodies: each request's JSON. open, most_open: requests in flight, now and at most.
    """

    sold: Counter[tuple[str, str | None, str]] = field(default_factory=Counter)
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    def texts(self) -> Counter[str]:
        """Return how often each text was sold, under any path and input type."""
        counted: Counter[str] = Counter()
        for (_, _, text), times in self.sold.items():
            counted[text] += times
        return counted


class EmbedServer:
    """The server; use `with EmbedServer() as server`. Requests are numbered from 1, again after each `reset`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.connections: set[socket.socket] = set()
        self.reset()
        outer = self

        class Handler(_Handler):
            server_of_tests = outer

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "EmbedServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    @property
    def openai_url(self) -> str:
        """The base_url for OpenAI's SDK."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def cohere_url(self) -> str:
        """The base_url for Cohere's SDK."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def reset(self) -> None:
        """Clear faults, book and settings, restore the key, and release hanging requests."""
        self.released.set()
        self.released = threading.Event()
        self.key: str | None = KEY
        self.keys_seen: set[str] = set()
        self.delay = 0.0
        self.retry_after = "1"
        self.echo = True
        # A request's JSON -> (status, JSON to answer), or None to sell.
        self.refuse: Callable[[dict[str, Any]], tuple[int, Any] | None] = lambda body: None
        self.base64_type = "<f4"
        self.zero: set[str] = set()
        self.book = Book()
        self._faults: dict[int, Fault] = {}
        self._always: tuple[int, Fault] | None = None
        self._number = 0

    def fault(self, kind: Fault, *numbers: int) -> None:
        """Make the requests with these numbers fail this way."""
        self._faults |= dict.fromkeys(numbers, kind)

    def fault_from(self, kind: Fault, number: int = 1) -> None:
        """Make all requests from this number on fail this way."""
        self._always = (number, kind)

    def next_fault(self) -> Fault | None:
        """Number a request; return how it must fail, or None."""
        with self.lock:
            self._number += 1
            if self._number in self._faults:
                return self._faults[self._number]
            return self._always[1] if self._always and self._number >= self._always[0] else None


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *at: Any) -> None:
        # Some tests kill the client.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*at)


class _Handler(BaseHTTPRequestHandler):
    server_of_tests: EmbedServer
    protocol_version = "HTTP/1.1"
    _book: Book | None = None

    def setup(self) -> None:
        super().setup()
        self.server_of_tests.connections.add(self.connection)

    def finish(self) -> None:
        self.server_of_tests.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        at = self.server_of_tests
        book = self._book = at.book
        length = int(self.headers["content-length"])
        data = self.rfile.read(length)
        if len(data) < length:
            return
        body = json.loads(data)
        with at.lock:
            book.open += 1
            book.most_open = max(book.open, book.most_open)
            book.bodies.append(body)
        try:
            with contextlib.suppress(ConnectionError):
                self._answer(at, book, body)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Count the request as answered. Called before the answer is sent, since the next may follow at once."""
        at, book = self.server_of_tests, self._book
        if book is not None:
            with at.lock:
                book.open -= 1
            self._book = None

    def _answer(self, at: EmbedServer, book: Book, body: dict[str, Any]) -> None:
        texts = body.get("input") if self.path == OPENAI_PATH else body.get("texts")
        fault = at.next_fault()
        if at.delay:
            time.sleep(at.delay)
        refusal = self._refusal(at, body, texts, fault)
        if refusal is not None:
            status, content, headers = refusal
            with at.lock:
                book.requests.append((self.path, len(texts or ()), status))
            self._send(status, json.dumps(content).encode(), headers)
            return
        if fault == "hang":
            at.released.wait(60)
            self.close_connection = True
            return
        if fault == "page":
            self._send(200, b"<html>welcome</html>", {"content-type": "text/html"})
            return
        if fault in ("error_body", "wrong_key_body"):
            code, said = (401, "no such key") if fault == "wrong_key_body" else (None, "provider returned an error")
            self._send(200, json.dumps({"error": {"message": said, "code": code}, "message": said}).encode())
            return
        if fault == "empty":
            self._send(200, b"{}")
            return
        data = json.dumps(self._content(at, body, texts, fault)).encode()
        if fault == "cut_json":
            self._send(200, data[: len(data) // 2])
            return
        if fault == "cut":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        with at.lock:
            book.requests.append((self.path, len(texts), 200))
            book.sold.update((self.path, body.get("input_type"), text) for text in texts)
        self._send(200, data)

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self._leave()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refusal(
        self, at: EmbedServer, body: dict[str, Any], texts: Any, fault: Fault | None
    ) -> tuple[int, Any, dict[str, str]] | None:
        given = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        model = str(body.get("model"))
        most = 2048 if self.path == OPENAI_PATH else 96
        if self.path not in (OPENAI_PATH, COHERE_PATH):
            return 404, self._error("not found", "not_found"), {}
        at.keys_seen.add(given)
        if at.key is not None and given != at.key:
            # Quotes the key, as a careless server might.
            return 401, self._error(f"Incorrect API key provided: {given}", "invalid_api_key"), {}
        if f"{'openai' if self.path == OPENAI_PATH else 'cohere'}:{model}" not in MODELS and model != OWN_MODEL:
            return 404, self._error(f"The model `{model}` does not exist", "model_not_found"), {}
        if not isinstance(texts, list) or not 0 < len(texts) <= most or not all(texts):
            return 400, self._error(f"'input' must be 1 to {most} texts, none empty", "invalid_request_error"), {}
        if self.path == COHERE_PATH and body.get("input_type") is None:
            return 400, self._error("input_type is required", "bad_request"), {}
        refused = at.refuse(body)
        if refused is not None:
            return *refused, {}
        if fault == "rate_limit":
            text = "Rate limit reached for requests"
            return 429, self._error(text, "rate_limit_exceeded"), {"retry-after": at.retry_after}
        if fault == "quota" and self.path == OPENAI_PATH:
            return 429, self._error("You exceeded your current quota", "insufficient_quota"), {}
        if fault == "quota":
            return 402, self._error("billing limit reached", "billing"), {}
        if fault == "month":
            return 429, self._error("Trial keys are limited to 1000 API calls / month", "trial"), {}
        if fault == "error":
            return 500, self._error("internal", "server_error"), {}
        if fault == "too_long":
            return 400, self._error("This model's maximum context length is 8192 tokens, got 9000", "bad_request"), {}
        return None

    def _error(self, message: str, code: str) -> Any:
        if self.path == COHERE_PATH:
            return {"id": "1", "message": message}
        return {"error": {"message": message, "type": code, "param": None, "code": code}}

    def _content(self, at: EmbedServer, body: dict[str, Any], texts: list[str], fault: Fault | None) -> Any:
        provider = "openai" if self.path == OPENAI_PATH else "cohere"
        facts = MODELS.get(f"{provider}:{body['model']}")
        asked = body.get("dimensions") or body.get("output_dimension")
        vectors = list(embed(texts, facts.dims if facts else 256, asked, body.get("input_type")))
        if fault == "other_dims":
            vectors = [vector[:-1] for vector in vectors]
        if fault == "ragged":
            vectors[-1] = vectors[-1][:-1]
        if fault == "nan":
            vectors[0] = np.full_like(vectors[0], np.nan)
        if fault == "zero":
            vectors[0] = np.zeros_like(vectors[0])
        vectors = [vector * (text not in at.zero) for text, vector in zip(texts, vectors, strict=True)]
        if provider == "cohere":
            sold = list(zip(texts, vectors, strict=True))
            sold = {"wrong_order": sold[::-1], "short": sold[1:]}.get(str(fault), sold)
            content = {"id": "1", "response_type": "embeddings_by_type", "meta": {"api_version": {"version": "2"}}}
            content["embeddings"] = {"float": [vector.tolist() for _, vector in sold]}
            return {**content, "texts": [text for text, _ in sold]} if at.echo else content
        in_base64 = body.get("encoding_format") == "base64"
        data = []
        for index, vector in enumerate(vectors):
            embedding = vector.tolist()
            if in_base64:
                embedding = base64.b64encode(vector.astype(at.base64_type).tobytes()).decode()
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        data = _misnumbered(data, fault)
        return {
            "object": "list",
            "data": data,
            "model": body["model"],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }


def _misnumbered(data: list[dict[str, Any]], fault: Fault | None) -> list[dict[str, Any]]:
    """Return OpenAI's items in the order and with the indices of a fault."""
    if fault == "wrong_order":
        data = data[::-1]
    if fault == "no_zero_index":
        data = data[::2][::-1] + data[1::2]
    if fault == "short":
        data = data[1:]
    if fault in ("same_index", "from_one"):
        data = [{**item, "index": 0 if fault == "same_index" else item["index"] + 1} for item in data]
    unnumbered = {"no_index": len(data), "no_zero_index": 1, "no_two_indices": 2}.get(str(fault), 0)
    return [
        {name: value for name, value in item.items() if name != "index" or item["index"] >= unnumbered} for item in data
    ]


_model_lock = threading.Lock()


@cache
def _wordllama() -> Any:
    return load_source("wordllama")


@cache
def _lift(dims: int) -> np.ndarray:
    """Return an orthonormal map from 256 dims to `dims`, which keeps cosines."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((dims, 256)))[0].T.astype(np.float32)


def embed(texts: list[str], dims: int, asked: int | None = None, input_type: str | None = None) -> np.ndarray:
    """Return the unit vectors that the server sells, float32 [n, asked or dims]; documents differ from queries."""
    # One at a time: products of several threads wait for each other's threads, and each would make its own map.
    with _model_lock:
        vectors = _wordllama().embed(texts)
        if input_type == "search_document":
            vectors = vectors * (1 + 0.1 * np.sin(np.arange(vectors.shape[1]))).astype(np.float32)
        if dims != vectors.shape[1]:
            vectors = vectors @ _lift(dims)
    vectors = vectors[:, : asked or dims]
    out: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return out


@contextlib.contextmanager
def embed_server() -> Iterator[EmbedServer]:
    """Yield a running server."""
    with EmbedServer() as server:
        yield server
