"""Many texts at once, as Arrow arrays: ids of equal texts, and `clean.normalise` of ASCII texts without Python strings.

The results are those of the plain rules, text by text; only the time and the memory differ.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tune.events import Progress

_CHUNK = 1 << 16
_SPACE = ord(" ")

Ids = NDArray[np.int64]


def as_texts(texts: Sequence[str]) -> pa.LargeStringArray | None:
    """Return the texts as an Arrow array; None if one cannot be encoded (a lone surrogate)."""
    try:
        return pa.array(texts, pa.large_string())
    except (UnicodeEncodeError, pa.ArrowInvalid):
        return None


def ids_of(texts: pa.LargeStringArray) -> tuple[Ids, Ids]:
    """Return an id per text, [n], dense and in order of first appearance, and where each id appears first, [ids]."""
    ids = texts.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return ids, _first_places(ids)


def _ids_of_numbers(numbers: NDArray[np.uint64]) -> tuple[Ids, Ids]:
    ids = pd.factorize(numbers)[0].astype(np.int64)
    return ids, _first_places(ids)


def _first_places(ids: Ids) -> Ids:
    first = np.empty(int(ids.max(initial=-1)) + 1, dtype=np.int64)
    # Where an id is assigned several times, the last one stays: backwards, that is its first appearance.
    first[ids[::-1]] = np.arange(len(ids))[::-1]
    return first


def normalised(
    texts: pa.LargeStringArray, one: Callable[[str], str], table: bytes, progress: Progress | None = None
) -> pa.LargeStringArray:
    """Return the normalised texts. one: normalises a text. table [256]: what becomes of each byte of an ASCII text,
    before runs of white space become one space.
    """
    parts = []
    for start in range(0, len(texts), _CHUNK):
        parts.append(_normalised(texts[start : start + _CHUNK], one, table))
        if progress is not None:
            progress(min(start + _CHUNK, len(texts)), len(texts))
    return pa.concat_arrays(parts) if parts else texts


def _normalised(texts: pa.LargeStringArray, one: Callable[[str], str], table: bytes) -> pa.LargeStringArray:
    plain = pc.string_is_ascii(texts)
    found = _collapsed(texts.filter(plain), np.frombuffer(_spaced(table), dtype=np.uint8))
    others = texts.filter(pc.invert(plain))
    if not len(others):
        return found
    rest = pa.array([one(text) for text in others.to_pylist()], pa.large_string())
    is_plain = plain.to_numpy(zero_copy_only=False)
    place = np.where(is_plain, np.cumsum(is_plain) - 1, len(found) + np.cumsum(~is_plain) - 1)
    return pa.concat_arrays([found, rest]).take(pa.array(place))


def _collapsed(texts: pa.LargeStringArray, table: NDArray[np.uint8]) -> pa.LargeStringArray:
    """Return ASCII texts with their bytes translated, stripped, and runs of spaces as one; as they are, if nothing of
    them remains.
    """
    offsets, data = _buffers(texts)
    if not len(data):
        return texts
    out = table[data]
    space = out == _SPACE
    # Of a run of spaces the last is kept, unless it ends its text. One may be left at the beginning.
    inside = np.ones(len(out), dtype=np.bool_)
    ends = offsets[1:][np.diff(offsets) > 0] - 1
    inside[ends] = False
    keep = ~space
    keep[:-1] |= space[:-1] & ~space[1:] & inside[:-1]
    offsets = np.concatenate([[0], np.cumsum(keep)])[offsets]
    out = out[keep]
    starts = offsets[:-1][np.diff(offsets) > 0]
    leading = starts[out[starts] == _SPACE]
    if len(leading):
        keep = np.ones(len(out), dtype=np.bool_)
        keep[leading] = False
        offsets = np.concatenate([[0], np.cumsum(keep)])[offsets]
        out = out[keep]
    words = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(out))
    empty = offsets[1:] == offsets[:-1]
    return pc.if_else(pa.array(empty), texts, words) if empty.any() else words


def _buffers(texts: pa.LargeStringArray) -> tuple[Ids, NDArray[np.uint8]]:
    """Return where each text begins and the last ends, [n + 1], and their bytes."""
    _, places, content = texts.buffers()
    offsets = np.frombuffer(places, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(content, dtype=np.uint8) if content is not None else np.empty(0, dtype=np.uint8)
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


def encoded(texts: pa.LargeStringArray) -> Iterator[bytes]:
    """Yield each text as UTF-8."""
    for start in range(0, len(texts), _CHUNK):
        offsets, data = _buffers(texts[start : start + _CHUNK])
        whole = data.tobytes()
        yield from (whole[begin:end] for begin, end in pairwise(offsets.tolist()))


def digests(messages: Iterable[bytes]) -> NDArray[np.uint8]:
    """Return the sha256 of each message, [n, 32]."""
    sha256 = hashlib.sha256
    found = b"".join([sha256(message).digest() for message in messages])
    return np.frombuffer(found, dtype=np.uint8).reshape(-1, 32)


def numbers_of(digests: NDArray[np.uint8], place: int = 0) -> NDArray[np.uint64]:
    """Return 8 bytes of each digest as a number that sorts as they do, [n]. place: 0 to 3, which 8 bytes."""
    return np.ascontiguousarray(digests[:, 8 * place : 8 * place + 8]).view(">u8")[:, 0].astype(np.uint64)


def hex_digits(digests: NDArray[np.uint8]) -> list[str]:
    """Return the bytes of each digest as hex digits, [n]."""
    width = 2 * digests.shape[1]
    whole = digests.tobytes().hex()
    return [whole[start : start + width] for start in range(0, len(whole), width)]


def sorted_order(*columns: NDArray[np.uint64]) -> Ids:
    """Return the order of rows by the first column, then the next: as `np.lexsort`, and faster where few are equal."""
    order = np.argsort(columns[0], kind="stable")
    ranked = columns[0][order]
    if len(columns) > 1 and (ranked[1:] == ranked[:-1]).any():
        order = np.lexsort(columns[::-1])
    return order.astype(np.int64)


def ids_of_digests(digests: NDArray[np.uint8]) -> tuple[Ids, Ids]:
    """Return the same as `ids_of`, by the digests of the texts."""
    ids, first = _ids_of_numbers(numbers_of(digests))
    if not np.array_equal(digests[first][ids], digests):
        # Digests of different texts begin with the same 8 bytes.
        return ids_of(pa.array(hex_digits(digests), pa.large_string()))
    return ids, first


@cache
def _spaced(table: bytes) -> bytes:
    """Return the table with all white space of ASCII as spaces, as `str.split` sees it."""
    return bytes(_SPACE if chr(byte).isspace() and byte < 128 else byte for byte in table)
