"""What a server's refusal of a request is about, read from its status and words: servers share no error codes.

Pure functions of text. They decide only whether a smaller request may be accepted; a wrong guess costs a few requests.
"""

import re
from typing import Any, Literal

Kind = Literal["texts", "request", "long", "format"]
"""texts: too many texts in the request. request: too much in it altogether, or too much for no stated reason. long: a
text is too long. format: base64 is not available."""

_STATUSES = (400, 413, 422)
_TEXTS = r"(?:inputs|texts|items|documents|strings|elements|entries|instances?(?:\(s\))?|sentences)"
_FORMAT = re.compile(r"encoding.?format|base64", re.I)
_NOT_SIZE = re.compile(
    r"api.?key|authenti|unauthori[sz]ed|credential|permission|invalid_model|model_not_found"
    r"|\b(?:invalid|unknown|unsupported|incorrect|no such) (?:model|deployment|engine)"
    r"|\b(?:model|deployment|engine)\b.{0,100}(?:does not exist|not (?:be )?found|not supported|unavailable)"
    r"|model name\b(?!\s*[=:])|\bdimensions?\b"
    # A key, not a token of a text.
    r"|\b(?:invalid|expired|access|missing|unknown|auth\w*|bearer)[ _](?:\w+ ){0,2}token\b"
    r"(?! (?:count|length|limit|size))"
    r"|\btoken (?!count|length|limit|size)(?:\w+ ){0,5}(?:expired|invalid|missing|required)\b",
    re.I,
)
_COUNT = re.compile(
    rf"batch.?size|more batches|max_?items|too many {_TEXTS}|(?:number|count|amount) of {_TEXTS}"
    rf"|at most \d+ (?:requests|{_TEXTS})|{_TEXTS} (?:is|are) allowed|数组|批"
    r"|array\b.{0,30}(?:too (?:long|large)|max)",
    re.I,
)
_PERHAPS_COUNT = re.compile(
    rf"(?:\bmax\w*|at most|up to|only|fewer|limit\w*)(?=[^.]{{0,60}}\d)[^.]{{0,40}}\b{_TEXTS}", re.I
)
_PER_TEXT = re.compile(
    r"tokens?\b|context.?(?:length|size|window)|max.?length|characters|too long|(?:input|sequence|prompt) length"
    r"|长度|过长",
    re.I,
)
_LARGE = re.compile(r"too (?:large|big|many)|exceed|payload|larger than", re.I)
_TOTAL = re.compile(r"\bbatch\b|per (?:\w+ )?request|in (?:one|a|a single) request|\btotal\b", re.I)
# llama.cpp, with status 500: "input (600 tokens) is too large to process. increase the physical batch size (...: 512)".
_LLAMA = re.compile(r"too large to process|physical batch", re.I)
_LIMIT = re.compile(
    r"(?:\bmax\w*|at most|(?:larger|greater|more|less|longer|fewer) than|exceed\w*|limit\w*|up to|only|size"
    r"|\s[<>]=?\s|超过|\[\s*\d+\s*,)[^\d\n]{0,40}?(\d[\d,]*)",
    re.I,
)
_LEADING = re.compile(rf"(\d[\d,]*) {_TEXTS}", re.I)


def kind_of(status: int, reply: str) -> Kind | None:
    """Return what a refusal is about, or None if a smaller request would not help."""
    if _LLAMA.search(reply):
        return "long"
    if status not in _STATUSES:
        return None
    if _FORMAT.search(reply):
        return "format"
    if _NOT_SIZE.search(reply):
        return None
    if _COUNT.search(reply):
        return "texts"
    if _PER_TEXT.search(reply):
        return "request" if _TOTAL.search(reply) else "long"
    if _PERHAPS_COUNT.search(reply):
        return "texts"
    return "request" if status == 413 or _LARGE.search(reply) else None


def is_about_length(reply: str) -> bool:
    """Return whether a refusal speaks of the length of texts, perhaps among other things."""
    return bool(_PER_TEXT.search(reply))


def named_texts(reply: str, asked: int) -> int | None:
    """Return the number of texts per request that a refusal of `asked` texts names, below `asked`; None without one."""
    numbers = [*_LIMIT.findall(reply), *_LEADING.findall(reply)]
    return min((n for n in map(_number, numbers) if 0 < n < asked), default=None)


def named_tokens(reply: str, longest: int) -> int | None:
    """Return the number of tokens per text that a refusal names, if it is below the longest text; None without one."""
    # No model has a smaller limit, so a smaller number is another one, such as the text's position.
    return min((n for n in map(_number, _LIMIT.findall(reply)) if 32 <= n < longest), default=None)


def _number(digits: str) -> int:
    return int(digits.replace(",", "")[:12] or 0)


def words_of(body: Any) -> str:
    """Return an error body's message: of OpenAI, Azure, Cohere, TEI, Mistral, FastAPI, Gemini and their like.

    Of FastAPI's list only place and message are used, since it repeats the request. "" if there are no words.
    """
    if isinstance(body, str):
        return " ".join(body.split())
    if isinstance(body, list):
        return "; ".join(filter(None, map(words_of, body[:3])))
    if not isinstance(body, dict):
        return ""
    if "msg" in body:
        place = body.get("loc")
        at = ".".join(map(str, place)) + ": " if isinstance(place, list) else ""
        return at + words_of(body["msg"])
    for name in ("error", "message", "detail", "errors", "Message"):
        if words := words_of(body.get(name)):
            return words
    return ""


def codes_of(body: Any) -> set[str]:
    """Return an error body's codes and types, which name the reason where the message does not."""
    if isinstance(body, list):
        return set().union(*map(codes_of, body[:3]))
    if not isinstance(body, dict):
        return set()
    own = {
        str(body[name]) for name in ("code", "type", "status", "error_type") if isinstance(body.get(name), str | int)
    }
    return own | codes_of(body.get("error"))
