"""The official SDKs behind one call: texts in, vectors out, in order and as many.

Keys are read from the environment here, when the client is made, and live nowhere else. Whatever an SDK raises leaves
as one ModelError line without the key; the SDK's own exception, which holds the request, is not chained to it.
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
from tune.embed.closed.names import OFFICIAL, ClosedName, ClosedOptions, is_near
from tune.errors import ModelError

logger = logging.getLogger(__name__)

KEYS: dict[Provider, tuple[str, ...]] = {"openai": ("OPENAI_API_KEY",), "cohere": ("COHERE_API_KEY", "CO_API_KEY")}
"""The environment variables of a provider's key; the first that is set counts."""

_ADDRESSES: dict[Provider, str] = {"openai": "OPENAI_BASE_URL", "cohere": "CO_API_URL"}
_NO_KEY = "none"
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


class Client(Protocol):
    """A provider's SDK."""

    def ask(self, texts: Sequence[str], input_type: str | None) -> NDArray[np.float32]:
        """float32 [n, d] in the order of the texts, from one request. ModelError where it fails."""
        ...


_TOLD: set[str] = set()
"""Lines on where keys go, each said once."""


def check_closed(
    name: ClosedName, options: ClosedOptions, *, key: bool = True, sdk: bool = True, keyless: bool = False
) -> None:
    """Whether the model can be asked, without asking it. ModelError where the SDK or the key is missing.

    key, sdk: whether they have to be here (to know a price neither has to). keyless: as in `make_client`.
    """
    if sdk and importlib.util.find_spec(name.provider) is None:
        raise ModelError(
            f"base model {name}: the {name.provider} SDK is not installed; run pip install 'embedtune[{name.provider}]'"
        )
    address = _ADDRESSES[name.provider]
    told = os.environ.get(address, "").strip()
    if options.base_url is None and told and options.is_elsewhere(name.provider, told):
        # The SDK would follow it silently; where the texts and the bill go is to be said.
        raise ModelError(
            f"base model {name}: {address} is set, but only a given base_url counts; give that address as base_url "
            f"(or {OFFICIAL[name.provider]} for the provider itself)"
        )
    if not key:
        return
    url, server = options.base_url, options.server(name.provider)
    if keyless:
        _tell(f"base model {name}: its directory names {server or url} as its server: texts go there, keys do not")
    elif _key(name, options) != _NO_KEY and url is not None and not options.is_official(name.provider):
        open_way = " unencrypted; use https" if url.startswith("http:") and not is_near(url) else ""
        _tell(f"base model {name}: the key in {_found(name)[0]} goes to {server or url}{open_way}")


def _tell(line: str) -> None:
    if line not in _TOLD:
        _TOLD.add(line)
        logger.warning(line)


def make_client(name: ClosedName, options: ClosedOptions, keyless: bool = False) -> Client:
    """The SDK's client, with the key of the environment. ModelError as in `check_closed`.

    keyless: no key is sent, since nobody here has chosen the address.
    """
    check_closed(name, options, keyless=keyless)
    kind = OpenAIClient if name.provider == "openai" else CohereClient
    return kind(name, options, keyless)


def has_key(name: ClosedName) -> bool:
    """Whether the environment has a key of the model's provider."""
    return bool(_found(name)[1])


def _found(name: ClosedName) -> tuple[str, str]:
    """(the variable that the key is from, or would be; the key as it stands there, or "")."""
    variables = KEYS[name.provider]
    keys = ((variable, os.environ.get(variable, "").strip()) for variable in variables)
    return next((found for found in keys if found[1]), (variables[0], ""))


def _key(name: ClosedName, options: ClosedOptions, keyless: bool = False) -> str:
    if keyless:
        return _NO_KEY
    variable, key = _found(name)
    if key:
        if not (key.isascii() and key.isprintable() and key == "".join(key.split())):
            raise ModelError(f"base model {name}: {variable} holds characters that no key has; set it again")
        return key
    if name.provider == "openai" and options.server(name.provider):
        return _NO_KEY
    raise ModelError(
        f"base model {name}: no key; set {' or '.join(KEYS[name.provider])} in the environment "
        "(never in a flag or a file)"
    )


class OpenAIClient:
    """OpenAI, or a server that speaks its API. Answers bear an `index`, and are put in order by it.

    A server that leaves the index out is believed to keep the order.
    """

    def __init__(self, name: ClosedName, options: ClosedOptions, keyless: bool = False) -> None:
        import openai

        key = _key(name, options, keyless)
        self._failures = _Failures(name, options, key, keyless)
        self._name = name
        self._sdk = openai.OpenAI(
            api_key=key,
            base_url=options.base_url or OFFICIAL["openai"],
            timeout=options.timeout,
            max_retries=options.max_retries,
        )

    def ask(self, texts: Sequence[str], input_type: str | None) -> NDArray[np.float32]:
        """As in `Client`; OpenAI knows no input types."""
        wanted: dict[str, Any] = {} if self._name.asked_dims is None else {"dimensions": self._name.asked_dims}
        answer = self._failures.call(
            self._sdk.embeddings.create,
            model=self._name.model,
            input=list(texts),
            encoding_format="base64",
            **wanted,
        )
        items = getattr(answer, "data", None)
        if not isinstance(items, list):
            raise self._failures.of("the server's answer is no list of vectors; is base_url right (…/v1)?")
        _check_count(self._failures, len(items), len(texts))
        places = [getattr(item, "index", None) for item in items]
        # Some servers leave the index out; then the order of the answer is all there is.
        if any(place is not None for place in places):
            if sorted(places, key=str) != sorted(range(len(texts)), key=str):
                raise self._failures.of("the answer's vectors cannot be put in order: its indices are not 0, 1, 2, …")
            items = [item for _, item in sorted(zip(places, items, strict=True), key=lambda pair: int(pair[0] or 0))]
        return _matrix(self._failures, [_decoded(item.embedding) for item in items])


class CohereClient:
    """Cohere, API v2. Its answers have no index but, as a rule, the texts: those of an answer in another order differ,
    and it is refused. Without the texts only the number of vectors can be checked.
    """

    def __init__(self, name: ClosedName, options: ClosedOptions, keyless: bool = False) -> None:
        import cohere

        key = _key(name, options, keyless)
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
        """As in `Client`."""
        wanted: dict[str, Any] = {} if self._name.asked_dims is None else {"output_dimension": self._name.asked_dims}
        answer = self._failures.call(
            self._sdk.embed,
            model=self._name.model,
            texts=list(texts),
            input_type=input_type,
            embedding_types=["float"],
            truncate=self._truncate,
            # Asking for vectors again changes nothing on the server, so a cut connection may be tried again.
            request_options={"retry_remote_protocol_errors": True},
            **wanted,
        )
        rows = getattr(getattr(answer, "embeddings", None), "float_", None)
        if not isinstance(rows, list):
            raise self._failures.of("the server's answer holds no vectors; is base_url right?")
        _check_count(self._failures, len(rows), len(texts))
        sent, echoed = _plain(texts), _plain(getattr(answer, "texts", None) or ())
        if sent != echoed and sorted(sent) == sorted(echoed):
            raise self._failures.of("the answer's vectors are in another order than the texts")
        return _matrix(self._failures, rows)


def _plain(texts: Sequence[str]) -> list[str]:
    """Without case and blanks, which an echo may have lost."""
    return ["".join(text.casefold().split()) for text in texts]


def _decoded(vector: Any) -> Any:
    """A vector as floats, whether the server answered in base64 (float32, little-endian) or in numbers."""
    if not isinstance(vector, str):
        return vector
    try:
        return np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")
    except ValueError:
        return None


def _check_count(failures: "_Failures", got: int, asked: int) -> None:
    if got != asked:
        raise failures.of(f"{asked} texts were sent and {got} vectors came back; the answer is not used")


def _matrix(failures: "_Failures", rows: Sequence[Any]) -> NDArray[np.float32]:
    try:
        array = np.array(rows, dtype=np.float32)
    except (TypeError, ValueError):
        array = np.empty(0, np.float32)
    if array.ndim != 2 or not array.shape[1]:
        raise failures.of("the answer's vectors are no numbers, or of several lengths")
    return array


class _Failures:
    """One line for whatever goes wrong with a model, never with the key in it."""

    def __init__(self, name: ClosedName, options: ClosedOptions, key: str, keyless: bool) -> None:
        self._name, self._options, self._key, self._keyless = name, options, key, keyless
        self._variable, _ = _found(name)
        self._where = options.server(name.provider) or OFFICIAL[name.provider].split("//")[1]

    def __reduce__(self) -> Any:
        raise TypeError("a client holds a key and is not pickled")

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """What the SDK's function returns, or the error for what it raises."""
        try:
            return function(**arguments)
        except Exception as error:
            failure = self.explain(error)
        # Outside of the except: else the SDK's exception, with the request and its key, would be this one's context.
        raise failure

    def of(self, what: str) -> ModelError:
        """The error that says `what`."""
        return ModelError(f"base model {self._name}: {what}")

    def explain(self, error: Exception) -> ModelError:
        """The error for what an SDK raised. Its classes are known by name: only one of the SDKs may be installed."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        status = getattr(error, "status_code", None)
        if kinds & {"APITimeoutError", "TimeoutException"}:
            return self.of(
                f"no answer from {self._where} within {self._options.timeout:g} s; run again later, or give a longer "
                "timeout or fewer requests at a time"
            )
        if kinds & {"APIConnectionError", "TransportError"} or not isinstance(status, int):
            if kinds & {"APIConnectionError", "TransportError", "OSError"}:
                return self.of(f"no connection to {self._where}, or it was cut; check the address and run again")
            return self.of(f"{self._where} cannot be used ({type(error).__name__}): {self._message(error)}")
        return self.of(self._status(status, error))

    def _status(self, status: int, error: Exception) -> str:
        said = self._message(error)
        code = {str(getattr(error, name, None)) for name in ("code", "type")}
        if status in (401, 403):
            if self._keyless:
                return (
                    f"{self._where} wants a key ({status}), and keys go to no address that a model's directory names; "
                    "where you trust it, give the address yourself, by --base-url or ClosedOptions"
                )
            refused = "is refused" if status == 401 else "may not use it"
            if self._key == _NO_KEY:
                return f"{self._where} wants a key ({status}); set {self._variable} in the environment"
            return (
                f"the key in {self._variable} {refused} ({status}); set the key of an account that may use this model"
            )
        if status == 402 or code & set(_QUOTA) or (status == 429 and ("quota" in said or "month" in said)):
            return f"the account's quota or credit is used up ({status}); add credit, or wait for the next month"
        if status == 429:
            return (
                f"too many requests ({status}), also after {self._options.max_retries} retries; run again later, "
                "or with fewer requests at a time"
            )
        if status == 404:
            return f"{self._where} knows no such model (404); check the name: {said}"
        if status in (400, 413, 422) and re.search(r"token|too (long|large|many)|context.length|maximum", said, re.I):
            return f"a text or request is above the model's limit ({status}): {said}; give a smaller max_length"
        if status >= 500:
            return f"{self._where} fails ({status}), also after {self._options.max_retries} retries; run again later"
        return f"{self._where} refuses the request ({status}): {said}"

    def _message(self, error: Exception) -> str:
        """What the server said, as one short line."""
        body: Any = getattr(error, "body", None)
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            body = body["error"]
        said = body.get("message") if isinstance(body, dict) else body
        text = " ".join(str(said if isinstance(said, str) else (body or error)).split())
        if self._key != _NO_KEY:
            text = text.replace(self._key, "[key]")
        # Servers quote keys partly, as in "sk-ab***yz".
        return re.sub(r"(sk-|Bearer )\S+", r"\1[key]", text)[:200] or "no reason given"
