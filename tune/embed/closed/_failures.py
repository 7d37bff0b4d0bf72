"""Whatever goes wrong with a closed model, as a one-line ModelError that never has the key in it.

Two kinds can be acted on: `Refused`, where a smaller or plainer request may be accepted, and `BadAnswer`, where the
same request may be answered.
"""

import re
from collections.abc import Callable
from typing import Any

from tune.embed.closed._refusals import Kind, codes_of, kind_of, words_of
from tune.embed.closed.names import OFFICIAL, ClosedName, ClosedOptions
from tune.errors import ModelError

NO_KEY = "none"
"""Sent in place of a key."""

_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_PASSING = (408, 409, 429)
"""Status codes below 500 that the SDKs retry."""


class Refused(ModelError):
    """The server rejected a request, and may accept a smaller or plainer one. reply: its words, without the key."""

    def __init__(self, line: str, kind: Kind = "request", reply: str = "") -> None:
        super().__init__(line)
        self.kind, self.reply = kind, reply


class BadAnswer(ModelError):
    """The server answered 200 without vectors. again: whether the same request may be answered later."""

    def __init__(self, line: str, again: bool = False) -> None:
        super().__init__(line)
        self.again = again


class Failures:
    """Turns what goes wrong with one model into ModelErrors. variable: where its key comes from.

    answered: set it once the server has returned vectors; from then on an answer without any is taken for a fault that
    may pass, before that for a wrong address.
    """

    def __init__(self, name: ClosedName, options: ClosedOptions, key: str, keyless: bool, variable: str) -> None:
        self._name, self._options, self._key, self._keyless = name, options, key, keyless
        self._variable = variable
        self._where = options.server(name.provider) or OFFICIAL[name.provider].split("//")[1]
        self.answered = False

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

    def no_vectors(self, what: str, body: Any) -> ModelError:
        """Return the error for an answer with status 200 that has no vectors.

        what: the text for a body that does not report an error.
        """
        if isinstance(body, str):
            if body.lstrip()[:1] in ("{", "["):
                return self._cut_answer()
        elif reply := words_of(body):
            status = next((int(code) for code in codes_of(body) if re.fullmatch("[45][0-9][0-9]", code)), 200)
            failure = self._refusal(status, self._clean(reply), codes_of(body))
            passing = status == 200 or status in _PASSING or status >= 500
            return BadAnswer(str(failure), again=True) if passing and type(failure) is ModelError else failure
        return BadAnswer(f"base model {self._name}: {what}", again=self.answered)

    def explain(self, error: Exception) -> ModelError:
        """Return the error for what an SDK raised. Classes are compared by name, as the SDK may not be installed."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        status = getattr(error, "status_code", None)
        body: Any = getattr(error, "body", None)
        if kinds & {"APITimeoutError", "TimeoutException"}:
            return self.of(
                f"no answer from {self._where} within {self._options.timeout:g} s; run again later, with a longer "
                "timeout or with fewer requests at a time"
            )
        if kinds & {"JSONDecodeError", "UnicodeDecodeError"}:
            return self._cut_answer()
        reply = self._clean(words_of(body) or str(body or error))
        if kinds & {"APIConnectionError", "TransportError"} or not isinstance(status, int):
            if kinds & {"APIConnectionError", "TransportError", "OSError"}:
                return self.of(f"no connection to {self._where}, or it was cut; check the address and run again")
            return self.of(f"{self._where} cannot be used ({type(error).__name__}): {reply[:200]}")
        if 200 <= status < 300:
            return self.no_vectors("the server's answer contains no vectors; check base_url", body)
        return self._refusal(status, reply, codes_of(body) | {str(getattr(error, "code", None))})

    def _cut_answer(self) -> ModelError:
        return BadAnswer(
            f"base model {self._name}: the answer from {self._where} is truncated or not valid JSON; run again later",
            again=True,
        )

    def _refusal(self, status: int, reply: str, codes: set[str]) -> ModelError:
        """Return the error for a status and the server's words."""
        # An error in an answer with status 200 has no other status.
        kind = kind_of(400 if status == 200 else status, " ".join([reply, *sorted(codes)]))
        line = f"base model {self._name}: {self._status(status, reply[:200] or 'no reason given', codes, kind)}"
        return ModelError(line) if kind is None else Refused(line, kind, reply)

    def _status(self, status: int, reply: str, codes: set[str], kind: Kind | None) -> str:
        if status in (401, 403):
            return self._unauthorized(status)
        if status == 402 or codes & set(_QUOTA) or (status == 429 and ("quota" in reply or "month" in reply)):
            return f"the account's quota or credit is used up ({status}); add credit, or wait for the next month"
        if status == 429:
            return (
                f"too many requests ({status}), even after {self._options.max_retries} retries; run again later "
                "or with fewer requests at a time"
            )
        if status == 404:
            return f"{self._where} has no such model (404); check the name: {reply}"
        if kind == "texts":
            return f"{self._where} accepts fewer texts per request ({status}): {reply}; set --texts-per-request"
        if kind in ("request", "long"):
            return f"a text or request exceeds the model's limit ({status}): {reply}"
        if status >= 500:
            return f"{self._where} failed ({status}), even after {self._options.max_retries} retries; run again later"
        if status == 200:
            return f"{self._where} returned an error instead of vectors: {reply}"
        return f"{self._where} rejected the request ({status}): {reply}"

    def _unauthorized(self, status: int) -> str:
        if self._keyless:
            return (
                f"{self._where} requires a key ({status}), but keys are not sent to an address from a model's "
                "directory; if you trust it, give the address yourself, with --base-url or ClosedOptions"
            )
        if self._key == NO_KEY:
            return f"{self._where} requires a key ({status}); set {self._variable} in the environment"
        refused = "was rejected" if status == 401 else "lacks access"
        return f"the key in {self._variable} {refused} ({status}); set the key of an account that may use this model"

    def _clean(self, words: str) -> str:
        """Return the server's words in one line without the key, which servers may quote in part ("sk-ab***yz")."""
        text = " ".join(words.split())
        if self._key != NO_KEY:
            text = text.replace(self._key, "[key]")
        return re.sub(r"(sk-|Bearer )\S+", r"\1[key]", text)
