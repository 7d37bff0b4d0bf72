"""Reading requests for embeddings and writing answers, in the forms of OpenAI's API reference ("Create embeddings").

Added to it: `input_type`, query or document. Whatever is wrong is an ApiError with one sentence.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.adapted import Side
from tune.embed.similarity import unit
from tune.serve.served import SIDES, Served

MOST_BYTES = 16 * 2**20
"""Of a request's body."""
MOST_TEXTS = 2048
"""Of a request, as at OpenAI."""

_KNOWN = ("model", "input", "encoding_format", "dimensions", "input_type", "user")
_ENCODINGS = ("float", "base64")


class ApiError(Exception):
    """An answer other than 200. message: one sentence. param: the part of the request that is wrong."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, wait: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers: dict[str, str] = {} if wait is None else {"Retry-After": str(wait)}

    @property
    def body(self) -> dict[str, Any]:
        """The error in OpenAI's form."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Asked:
    """A valid request. dims: of the answer's vectors; the model's own or fewer."""

    model: str
    texts: list[str] = field(repr=False)
    side: Side
    dims: int
    base64: bool


def read_request(body: bytes, served: Served) -> Asked:
    """Return what a body asks for. Raises ApiError with status 400, or 404 for another model."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:120]
        raise ApiError(400, f"the body is not valid JSON ({why})") from None
    if not isinstance(asked, dict):
        raise ApiError(400, "the body must be a JSON object with model and input")
    for name in asked:
        if name not in _KNOWN:
            shown = name[:60].encode(errors="replace").decode()  # JSON may hold half a surrogate pair, answers may not
            raise ApiError(400, f"no parameter {shown!r}; there are {', '.join(_KNOWN)}", param=shown)
    side = _side(asked, served)
    encoding = asked.get("encoding_format") or "float"
    if encoding not in _ENCODINGS:
        raise _wrong("encoding_format", "must be float or base64", encoding)
    return Asked(asked["model"], _texts(asked.get("input")), side, _dims(asked, served), encoding == "base64")


def _side(asked: Mapping[str, Any], served: Served) -> Side:
    model, word = asked.get("model"), asked.get("input_type")
    if not isinstance(model, str) or not model:
        raise ApiError(400, f"model is missing; this server has {served.name}", param="model")
    if model not in served.names:
        raise ApiError(
            404,
            f"the model {model[:80]!r} does not exist; this server has {', '.join(served.names)}",
            param="model",
            code="model_not_found",
        )
    named = served.names[model]
    if word is None:
        return named or "a"
    if not isinstance(word, str) or word not in SIDES:
        raise _wrong("input_type", "must be query or document", word)
    if named not in (None, SIDES[word]):
        raise ApiError(400, f"model {model} and input_type {word} name two sides; give only one", param="input_type")
    return SIDES[word]


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        given = [given]
    if given is None:
        raise ApiError(400, "input is missing; give a string or a list of strings", param="input")
    if not isinstance(given, list):
        raise _wrong("input", "must be a string or a list of strings", given)
    if not given:
        raise ApiError(400, "input is an empty list; give at least one string", param="input")
    if len(given) > MOST_TEXTS:
        raise ApiError(400, f"input has {len(given):,} strings; a request takes at most {MOST_TEXTS:,}", param="input")
    if all(isinstance(one, int) for one in given) or any(isinstance(one, list) for one in given):
        raise ApiError(400, "input is tokens; this server takes strings only, so send the text itself", param="input")
    for number, one in enumerate(given, 1):
        if not isinstance(one, str):
            raise ApiError(400, f"string {number} of input is {_shown(one)}, not a string", param="input")
        if not one.strip():
            raise ApiError(400, f"string {number} of input is empty; leave it out", param="input")
        if not _is_unicode(one):
            raise ApiError(400, f"string {number} of input has half a surrogate pair; send valid text", param="input")
    texts: list[str] = given
    return texts


def _dims(asked: Mapping[str, Any], served: Served) -> int:
    dims = asked.get("dimensions")
    if dims is None:
        return served.offered[-1]
    if type(dims) is not int or dims not in served.offered:
        raise _wrong("dimensions", f"must be {served.possible} for this model", dims)
    return dims


def _wrong(param: str, must: str, given: Any) -> ApiError:
    return ApiError(400, f"{param} {must}, not {_shown(given)}", param=param)


def _shown(given: Any) -> str:
    """Return a short form of a value for a message; never a whole text."""
    if isinstance(given, str):
        return repr(given[:40])
    return "an object" if isinstance(given, dict) else "a list" if isinstance(given, list) else json.dumps(given)[:40]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def answer(asked: Asked, vectors: NDArray[np.float32], tokens: int) -> bytes:
    """Return the answer's JSON. vectors: unit vectors [n, dims], cut to asked.dims and normalised again.

    Piece by piece, so that other threads get their turn during a long answer.
    """
    if asked.dims < vectors.shape[1]:
        vectors = unit(vectors[:, : asked.dims])
    shape = _base64 if asked.base64 else _floats
    data = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{shape(vector)}}}' for index, vector in enumerate(vectors)
    )
    usage = f'{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}'
    return f'{{"object":"list","data":[{data}],"model":{json.dumps(asked.model)},"usage":{usage}}}'.encode()


def _floats(vector: NDArray[np.float32]) -> str:
    return json.dumps(vector.tolist(), separators=(",", ":"))


def _base64(vector: NDArray[np.float32]) -> str:
    return f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"'
