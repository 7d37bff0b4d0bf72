"""The official SDKs behind one call: texts in, the same number of vectors out, in order.

Keys are read from the environment here, when the client is made, and are kept nowhere else. Whatever an SDK raises
becomes a one-line ModelError without the key; the SDK's exception, which holds the request, is not chained to it.
"""

import base64
import importlib.util
import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import Provider
from tune.embed.closed.names import OFFICIAL, ClosedName, ClosedOptions, is_private_server
from tune.errors import ModelError

logger = logging.getLogger(__name__)

KEYS: dict[Provider, tuple[str, ...]] = {"openai": ("OPENAI_API_KEY",), "cohere": ("COHERE_API_KEY", "CO_API_KEY")}
"""Environment variables for a provider's key; the first one that is set is used."""

_ADDRESSES: dict[Provider, str] = {"openai": "OPENAI_BASE_URL", "cohere": "CO_API_URL"}
_NO_KEY = "none"
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


class Client(Protocol):
    """A provider's SDK, ready to send requests."""

    def ask(self, texts: Sequence[str], input_type: str | None) -> NDArray[np.float32]:
        """Return float32 [n, d], in the order of the texts, from one request. Raises ModelError if it fails."""
        ...


_WARNED: set[str] = set()
"""Warnings about where keys go that were logged already; each is logged once."""


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
    elif _key_to_send(name, options) != _NO_KEY and url is not None and not options.is_official(name.provider):
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
        return _NO_KEY
    variable, key = _find_key(name)
    if key:
        if not (key.isascii() and key.isprintable() and key == "".join(key.split())):
            raise ModelError(f"base model {name}: {variable} contains characters that no key has; set it again")
        return key
    if name.provider == "openai" and options.server(name.provider):
        return _NO_KEY
    raise ModelError(
        f"base model {name}: no key; set {' or '.join(KEYS[name.provider])} in the environment "
        "(never in a flag or a file)"
    )


class OpenAIClient:
    """OpenAI, or a server that speaks its API. Vectors are put in order by the `index` in the answer.

    A server that omits the index is assumed to keep the order.
    """

    def __init__(self, name: ClosedName, options: ClosedOptions, keyless: bool = False) -> None:
        import openai

        key = _key_to_send(name, options, keyless)
        self._failures = _Failures(name, options, key, keyless)
        self._name = name
        self._sdk = openai.OpenAI(
            api_key=key,
            base_url=options.base_url or OFFICIAL["openai"],
            timeout=options.timeout,
            max_retries=options.max_retries,
        )

    def ask(self, texts: Sequence[str], input_type: str | None) -> NDArray[np.float32]:
        """See `Client`; OpenAI has no input types."""
        dims: dict[str, Any] = {} if self._name.asked_dims is None else {"dimensions": self._name.asked_dims}
        answer = self._failures.call(
            self._sdk.embeddings.create,
            model=self._name.model,
            input=list(texts),
            encoding_format="base64",
            **dims,
        )
        items = getattr(answer, "data", None)
        if not isinstance(items, list):
            raise self._failures.of("the server's answer is not a list of vectors; check base_url (…/v1)")
        _check_count(self._failures, len(items), len(texts))
        places = [getattr(item, "index", None) for item in items]
        # Some servers omit the index, which leaves only the order of the answer.
        if any(place is not None for place in places):
            if sorted(places, key=str) != sorted(range(len(texts)), key=str):
                raise self._failures.of("the answer's vectors cannot be put in order: the indices are not 0, 1, 2, …")
            items = [item for _, item in sorted(zip(places, items, strict=True), key=lambda pair: int(pair[0] or 0))]
        return _matrix(self._failures, [_decoded(item.embedding) for item in items])


class CohereClient:
    """Cohere, API v2. Answers have no index, but usually echo the texts; an answer in another order is refused.

    Without the texts, only the number of vectors can be checked.
    """

    def __init__(self, name: ClosedName, options: ClosedOptions, keyless: bool = False) -> None:
        import cohere

        key = _key_to_send(name, options, keyless)
        self._failures = _Failures(name, options, key, keyless)
        self._name = name
        self._truncate = "END" if options.too_long == "truncate" else "NONE"
        self._sdk = cohere.ClientV2(
            api_key=key,
            base_url=options.base_url or OFFICIAL["cohere"],
            timeout=options.timeout,
            max_retries=options.max_retries,
            log_warning_experimental_features=False,
        )

    def ask(self, texts: Sequence[str], input_type: str | None) -> NDArray[np.float32]:
        """See `Client`."""
        dims: dict[str, Any] = {} if self._name.asked_dims is None else {"output_dimension": self._name.asked_dims}
        answer = self._failures.call(
            self._sdk.embed,
            model=self._name.model,
            texts=list(texts),
            input_type=input_type,
            embedding_types=["float"],
            truncate=self._truncate,
            # Repeating a request changes nothing on the server, so it is safe after a cut connection.
            request_options={"retry_remote_protocol_errors": True},
            **dims,
        )
        rows = getattr(getattr(answer, "embeddings", None), "float_", None)
        if not isinstance(rows, list):
            raise self._failures.of("the server's answer contains no vectors; check base_url")
        _check_count(self._failures, len(rows), len(texts))
        sent, echoed = _plain(texts), _plain(getattr(answer, "texts", None) or ())
        if sent != echoed and sorted(sent) == sorted(echoed):
            raise self._failures.of("the answer's vectors are not in the order of the texts")
        return _matrix(self._failures, rows)


def _plain(texts: Sequence[str]) -> list[str]:
    """Strip case and white space, which an echo may have lost."""
    return ["".join(text.casefold().split()) for text in texts]


def _decoded(vector: Any) -> Any:
    """Return a vector as floats, from base64 (float32, little-endian) or numbers; None if it is damaged."""
    if not isinstance(vector, str):
        return vector
    try:
        return np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")
    except ValueError:
        return None


def _check_count(failures: "_Failures", got: int, asked: int) -> None:
    if got != asked:
        raise failures.of(f"{asked} texts were sent and {got} vectors came back; the answer was discarded")


def _matrix(failures: "_Failures", rows: Sequence[Any]) -> NDArray[np.float32]:
    try:
        array = np.array(rows, dtype=np.float32)
    except (TypeError, ValueError):
        array = np.empty(0, np.float32)
    if array.ndim != 2 or not array.shape[1]:
        raise failures.of("the answer's vectors are not numbers or differ in length")
    return array


class _Failures:
    """Turns whatever goes wrong with a model into one line, never with the key in it."""

    def __init__(self, name: ClosedName, options: ClosedOptions, key: str, keyless: bool) -> None:
        self._name, self._options, self._key, self._keyless = name, options, key, keyless
        self._variable, _ = _find_key(name)
        self._where = options.server(name.provider) or OFFICIAL[name.provider].split("//")[1]

    def __reduce__(self) -> Any:
        raise TypeError("a client holds a key and cannot be pickled")

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Return what the SDK's function returns. Raises ModelError for whatever it raises."""
        try:
            return function(**arguments)
        except Exception as error:
            failure = self.explain(error)
        # Raised outside the except, so that the SDK's exception, with the request and its key, is not its context.
        raise failure

    def of(self, what: str) -> ModelError:
        """Return the error with this text."""
        return ModelError(f"base model {self._name}: {what}")

    def explain(self, error: Exception) -> ModelError:
        """Return the error for what an SDK raised. Classes are compared by name, as the SDK may not be installed."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        status = getattr(error, "status_code", None)
        if kinds & {"APITimeoutError", "TimeoutException"}:
            return self.of(
                f"no answer from {self._where} within {self._options.timeout:g} s; run again later, with a longer "
                "timeout or with fewer requests at a time"
            )
        if kinds & {"APIConnectionError", "TransportError"} or not isinstance(status, int):
            if kinds & {"APIConnectionError", "TransportError", "OSError"}:
                return self.of(f"no connection to {self._where}, or it was cut; check the address and run again")
            return self.of(f"{self._where} cannot be used ({type(error).__name__}): {self._message(error)}")
        return self.of(self._status(status, error))

    def _status(self, status: int, error: Exception) -> str:
        reply = self._message(error)
        code = {str(getattr(error, name, None)) for name in ("code", "type")}
        if status in (401, 403):
            if self._keyless:
                return (
                    f"{self._where} requires a key ({status}), but keys are not sent to an address from a model's "
                    "directory; if you trust it, give the address yourself, with --base-url or ClosedOptions"
                )
            refused = "was rejected" if status == 401 else "lacks access"
            if self._key == _NO_KEY:
                return f"{self._where} requires a key ({status}); set {self._variable} in the environment"
            return (
                f"the key in {self._variable} {refused} ({status}); set the key of an account that may use this model"
            )
        if status == 402 or code & set(_QUOTA) or (status == 429 and ("quota" in reply or "month" in reply)):
            return f"the account's quota or credit is used up ({status}); add credit, or wait for the next month"
        if status == 429:
            return (
                f"too many requests ({status}), even after {self._options.max_retries} retries; run again later "
                "or with fewer requests at a time"
            )
        if status == 404:
            return f"{self._where} has no such model (404); check the name: {reply}"
        if status in (400, 413, 422) and re.search(r"token|too (long|large|many)|context.length|maximum", reply, re.I):
            return f"a text or request exceeds the model's limit ({status}): {reply}; set a smaller max_length"
        if status >= 500:
            return f"{self._where} failed ({status}), even after {self._options.max_retries} retries; run again later"
        return f"{self._where} rejected the request ({status}): {reply}"

    def _message(self, error: Exception) -> str:
        """Return the server's message as one short line."""
        body: Any = getattr(error, "body", None)
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            body = body["error"]
        message = body.get("message") if isinstance(body, dict) else body
        text = " ".join(str(message if isinstance(message, str) else (body or error)).split())
        if self._key != _NO_KEY:
            text = text.replace(self._key, "[key]")
        # Servers may quote part of a key, as in "sk-ab***yz".
        return re.sub(r"(sk-|Bearer )\S+", r"\1[key]", text)[:200] or "no reason given"
