"""The official SDKs behind one call: texts in, the same number of vectors out, in order.

Keys are read from the environment here, when the client is made, and are kept nowhere else. Whatever an SDK raises
becomes a one-line ModelError without the key; the SDK's exception, which holds the request, is not chained to it.
"""

import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tune.config.closed import Provider
from tune.embed.closed._answers import check_count, matrix, numbers, openai_items, raw_bytes
from tune.embed.closed._failures import NO_KEY, BadAnswer, Failures, Refused
from tune.embed.closed.names import OFFICIAL, ClosedName, ClosedOptions, is_private_server
from tune.errors import ModelError

logger = logging.getLogger(__name__)

KEYS: dict[Provider, tuple[str, ...]] = {"openai": ("OPENAI_API_KEY",), "cohere": ("COHERE_API_KEY", "CO_API_KEY")}
"""Environment variables for a provider's key; the first one that is set is used."""

_ADDRESSES: dict[Provider, str] = {"openai": "OPENAI_BASE_URL", "cohere": "CO_API_URL"}

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a request is repeated, doubled each time up to the longest; the SDKs' own."""

Answer = TypeVar("Answer")


class Client(Protocol):
    """A provider's SDK, ready to send requests."""

    def ask(self, texts: Sequence[str], input_type: str | None, dims: int | None) -> NDArray[np.float32]:
        """Return float32 [n, d], in the order of the texts, from one request. dims: what is expected, if known.

        Raises Refused if the server may accept a smaller request, ModelError for any other failure.
        """
        ...


_WARNED: set[str] = set()
"""Warnings that were logged already; each is logged once."""


def check_closed(
    name: ClosedName, options: ClosedOptions, *, key: bool = True, sdk: bool = True, keyless: bool = False
) -> None:
    """Check that the model can be called, without calling it. Raises ModelError if the SDK or the key is missing.

    key, sdk: whether to require them (an estimate of the price needs neither). keyless: as in `make_client`.
    """
    if sdk and importlib.util.find_spec(name.provider) is None:
        raise ModelError(
            f"base model {name}: the {name.provider} SDK is not installed; run pip install 'embedtune[{name.provider}]'"
        )
    address = _ADDRESSES[name.provider]
    url_for_sdk = os.environ.get(address, "").strip()
    if options.base_url is None and url_for_sdk and options.is_elsewhere(name.provider, url_for_sdk):
        # The SDK would follow it silently, but where texts and key go must be explicit.
        raise ModelError(
            f"base model {name}: {address} is set, but embedtune does not use it; give that address as base_url "
            f"(or {OFFICIAL[name.provider]} for the provider itself)"
        )
    if not key:
        return
    url, server = options.base_url, options.server(name.provider)
    if keyless:
        _warn_once(f"base model {name}: its directory names {server or url} as the server; texts go there, keys do not")
    elif _key_to_send(name, options) != NO_KEY and url is not None and not options.is_official(name.provider):
        unencrypted = " unencrypted; use https" if url.startswith("http:") and not is_private_server(url) else ""
        _warn_once(f"base model {name}: the key in {_find_key(name)[0]} goes to {server or url}{unencrypted}")


def _warn_once(line: str) -> None:
    if line not in _WARNED:
        _WARNED.add(line)
        logger.warning(line)


def make_client(name: ClosedName, options: ClosedOptions, keyless: bool = False) -> Client:
    """Return the SDK's client with the key from the environment. Raises ModelError as `check_closed` does.

    keyless: send no key, because the user has not chosen the address.
    """
    check_closed(name, options, keyless=keyless)
    kind = OpenAIClient if name.provider == "openai" else CohereClient
    return kind(name, options, keyless)


def has_key(name: ClosedName) -> bool:
    """Return whether the environment has a key for the model's provider."""
    return bool(_find_key(name)[1])


def _find_key(name: ClosedName) -> tuple[str, str]:
    """Return (the variable with the key, or the one to set; the key, or "")."""
    variables = KEYS[name.provider]
    keys = ((variable, os.environ.get(variable, "").strip()) for variable in variables)
    return next((found for found in keys if found[1]), (variables[0], ""))


def _key_to_send(name: ClosedName, options: ClosedOptions, keyless: bool = False) -> str:
    if keyless:
        return NO_KEY
    variable, key = _find_key(name)
    if key:
        if not (key.isascii() and key.isprintable() and key == "".join(key.split())):
            raise ModelError(f"base model {name}: {variable} contains characters that no key has; set it again")
        return key
    if name.provider == "openai" and options.server(name.provider):
        return NO_KEY
    raise ModelError(
        f"base model {name}: no key; set {' or '.join(KEYS[name.provider])} in the environment "
        "(never in a flag or a file)"
    )


class OpenAIClient:
    """OpenAI, or a server that speaks its API. Vectors are put in order by the `index` in the answer.

    Vectors are asked for in base64, a third of the size of numbers, unless the server refuses that. OpenAI sends
    float32, a few servers float64: another server's are measured once, unless they have the size that the table of
    models leads to. Dims that were asked for prove nothing: float64 of half the dims, from a server that ignores
    `dimensions`, has the same size.
    """

    def __init__(self, name: ClosedName, options: ClosedOptions, keyless: bool = False) -> None:
        import openai

        key = _key_to_send(name, options, keyless)
        self._failures = Failures(name, options, key, keyless, _find_key(name)[0])
        self._name, self._options = name, options
        self._sdk = openai.OpenAI(
            api_key=key,
            base_url=options.base_url or OFFICIAL["openai"],
            timeout=options.timeout,
            max_retries=options.max_retries,
        )
        self._lock = threading.Lock()
        self._encoding: str | None = "base64"
        self._own_dims: int | None = None

    def ask(self, texts: Sequence[str], input_type: str | None, dims: int | None) -> NDArray[np.float32]:
        """See `Client`; OpenAI has no input types."""
        items = self._items(texts, self._encoding)
        size = next((len(data) for data in map(raw_bytes, items) if data), None)
        expected = size == 4 * (dims or 0) and self._name.asked_dims is None
        if size is None or expected or self._options.is_official("openai"):
            return matrix(self._failures, [numbers(item, 4) for item in items])
        with self._lock:
            if self._own_dims is None:
                self._own_dims = self._measure(min(texts, key=len), dims)
        width, rest = divmod(size, self._own_dims)
        if rest or width not in (4, 8):
            self._no_more_base64("sends base64 that is neither float32 nor float64")
            return matrix(self._failures, self._items(texts, None))
        return matrix(self._failures, [numbers(item, width) for item in items])

    def _measure(self, text: str, dims: int | None) -> int:
        """Return the dims of the server's vectors, by buying one text as numbers; `dims` if it sends base64 anyway."""
        [vector] = self._items([text], "float")
        own = len(vector) if isinstance(vector, list) else dims
        if not own:
            raise self._failures.of("the server answers in base64 only, of unknown dims; add @DIMS to the name")
        return own

    def _items(self, texts: Sequence[str], encoding: str | None) -> list[Any]:
        """Return the embeddings of an answer. encoding: None leaves the parameter out, which asks for numbers."""
        try:
            return with_retries(lambda: self._request(texts, encoding), self._options.max_retries)
        except Refused as refusal:
            if refusal.kind != "format" or encoding is None:
                raise
        self._no_more_base64("refuses encoding_format")
        return with_retries(lambda: self._request(texts, None), self._options.max_retries)

    def _no_more_base64(self, why: str) -> None:
        self._encoding = None
        _warn_once(f"base model {self._name}: the server {why}; asking for numbers instead")

    def _request(self, texts: Sequence[str], encoding: str | None) -> list[Any]:
        body: dict[str, Any] = {"model": self._name.model, "input": list(texts)}
        if self._name.asked_dims is not None:
            body["dimensions"] = self._name.asked_dims
        if encoding is not None:
            body["encoding_format"] = encoding
        # Not embeddings.create, which always sends an encoding_format.
        answer = self._failures.call(self._sdk.post, path="/embeddings", cast_to=object, body=body)
        items = openai_items(self._failures, answer, len(texts))
        self._failures.answered = True
        return items


class CohereClient:
    """Cohere, API v2. Answers have no index, but usually echo the texts; an answer in another order is refused.

    Without the texts, only the number of vectors can be checked.
    """

    def __init__(self, name: ClosedName, options: ClosedOptions, keyless: bool = False) -> None:
        import cohere

        key = _key_to_send(name, options, keyless)
        self._failures = Failures(name, options, key, keyless, _find_key(name)[0])
        self._name, self._options = name, options
        self._sdk = cohere.ClientV2(
            api_key=key,
            base_url=options.base_url or OFFICIAL["cohere"],
            timeout=options.timeout,
            max_retries=options.max_retries,
            log_warning_experimental_features=False,
        )

    def ask(self, texts: Sequence[str], input_type: str | None, dims: int | None) -> NDArray[np.float32]:
        """See `Client`; vectors are numbers, so `dims` is not needed."""
        return with_retries(lambda: self._request(texts, input_type), self._options.max_retries)

    def _request(self, texts: Sequence[str], input_type: str | None) -> NDArray[np.float32]:
        dims: dict[str, Any] = {} if self._name.asked_dims is None else {"output_dimension": self._name.asked_dims}
        answer = self._failures.call(
            self._sdk.embed,
            model=self._name.model,
            texts=list(texts),
            input_type=input_type,
            embedding_types=["float"],
            truncate="END" if self._options.too_long == "truncate" else "NONE",
            # Repeating a request changes nothing on the server, so it is safe after a cut connection.
            request_options={"retry_remote_protocol_errors": True},
            **dims,
        )
        rows = getattr(getattr(answer, "embeddings", None), "float_", None)
        if not isinstance(rows, list):
            # The SDK's object keeps what it does not know, such as an error.
            body = dict(answer) if isinstance(answer, BaseModel) else answer
            raise self._failures.no_vectors("the server's answer contains no vectors; check base_url", body)
        self._failures.answered = True
        check_count(self._failures, len(rows), len(texts))
        sent, echoed = _plain(texts), _plain(getattr(answer, "texts", None) or ())
        if sent != echoed and sorted(sent) == sorted(echoed):
            raise self._failures.of("the answer's vectors are not in the order of the texts")
        return matrix(self._failures, rows)


def _plain(texts: Sequence[str]) -> list[str]:
    """Strip case and white space, which an echo may have lost."""
    return ["".join(text.casefold().split()) for text in texts]


def with_retries(request: Callable[[], Answer], retries: int) -> Answer:
    """Return the request's answer, asked for again after a bad one, at most `retries` times, after growing pauses.

    The SDKs repeat what fails; they take a cut or error-bodied answer with status 200 for a success.
    """
    pause = FIRST_PAUSE
    for _ in range(retries):
        try:
            return request()
        except BadAnswer as bad:
            if not bad.again:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return request()
