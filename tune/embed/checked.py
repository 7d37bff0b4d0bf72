"""Whether files of the cache still hold what was written, by their SHA-256: each is read once per process.

Disks, copies and memory flip bits, and vectors with flipped bits look like any others.
"""

from pathlib import Path
from typing import NamedTuple

from tune.files import sha256_of


class _Stamp(NamedTuple):
    """Identifies the content of a file as long as nothing writes to it."""

    size: int
    mtime_ns: int
    inode: int


_read: dict[Path, tuple[_Stamp, int, str]] = {}


def content_of(path: Path, start: int = 0) -> str:
    """Return the SHA-256 of a file's bytes from `start` on, in hexadecimal.

    It is not read again in this process unless it has changed. Raises OSError.
    """
    found = path.stat()
    stamp = _Stamp(found.st_size, found.st_mtime_ns, found.st_ino)
    known = _read.get(path)
    if known is not None and known[:2] == (stamp, start):
        return known[2]
    content = sha256_of(path, start)
    _read[path] = stamp, start, content
    return content


def was_read(path: Path) -> bool:
    """Return whether this process has read the file, or another one that was there before, by `content_of`."""
    return path in _read
