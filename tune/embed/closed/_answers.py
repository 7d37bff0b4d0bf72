"""What an API answered, as vectors in the order of the texts; whatever cannot be trusted is refused in one line."""

import base64
import contextlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune.embed.closed._failures import Failures


def openai_items(failures: Failures, body: Any, asked: int) -> list[Any]:
    """Return the `asked` embeddings of an answer, in the order of the texts: base64 or lists of numbers.

    Raises BadAnswer if there are none, ModelError if they cannot be put in order.
    """
    if isinstance(body, str):
        with contextlib.suppress(ValueError):
            body = json.loads(body)
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise failures.no_vectors("the server's answer is not a list of vectors; check base_url (…/v1)", body)
    check_count(failures, len(data), asked)
    places = _places([item.get("index") for item in data])
    if places is None:
        raise failures.of("the answer's vectors cannot be put in order: the indices are not 0, 1, 2, …")
    items = [None] * asked
    for place, item in zip(places, data, strict=True):
        items[place] = item.get("embedding")
    return items


def _places(indices: list[Any]) -> list[int] | None:
    """Return each item's place; None if the indices do not say.

    Some servers omit the index, which leaves only the order of the answer; others omit it only where it is 0. A single
    vector belongs to the single text.
    """
    if len(indices) == 1 or all(index is None for index in indices):
        return list(range(len(indices)))
    places = [0 if index is None else index for index in indices]
    if not all(type(place) is int for place in places) or sorted(places) != list(range(len(places))):
        return None
    return places


def check_count(failures: Failures, got: int, asked: int) -> None:
    """Raise ModelError unless there is a vector for each text."""
    if got != asked:
        raise failures.of(f"{asked} texts were sent and {got} vectors came back; the answer was discarded")


def raw_bytes(vector: Any) -> bytes | None:
    """Return the bytes of a base64 vector; None if it is damaged or not base64."""
    try:
        return base64.b64decode(vector, validate=True) if isinstance(vector, str) else None
    except ValueError:
        return None


def numbers(vector: Any, width: int) -> Any:
    """Return a vector as numbers; base64 holds little-endian floats of `width` bytes. None if it is damaged."""
    if not isinstance(vector, str):
        return vector
    data = raw_bytes(vector)
    return None if data is None or len(data) % width else np.frombuffer(data, dtype=f"<f{width}")


def matrix(failures: Failures, rows: Sequence[Any]) -> NDArray[np.float32]:
    """Return the rows as float32 [n, dims]. Raises ModelError if they are not numbers or differ in length."""
    try:
        array = np.array(rows, dtype=np.float32)
    except (TypeError, ValueError):
        array = np.empty(0, np.float32)
    if array.ndim != 2 or not array.shape[1]:
        raise failures.of("the answer's vectors are not numbers or differ in length")
    return array
