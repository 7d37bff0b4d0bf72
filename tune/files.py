"""Atomic writes and file locks: a reader, or a run after a crash, finds a file complete or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POINTER = b"version https://git-lfs.github.com/spec"
_LARGEST_POINTER = 1024
_PROBE = 65536
"""Bytes written to see whether a file can grow."""


def replace_atomic(path: Path, write: Callable[[Path], object], *, sync: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    With `sync` the content is on disk before the rename, so not even a power cut leaves an empty file. Without it
    (for files rewritten many times a second) only a killed process is covered.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp, which returns an open file: an exception from outside, such as a cancellation by Modal, could come
    # before that is closed. It would stay open, and a Volume with an open file cannot be reloaded.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        write(part)
        if sync:
            sync_file(part)
        # Some libraries make files for the owner only; results are shared like any other file.
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException as error:
        try:
            _raise_refusal(part, error)
        finally:
            part.unlink(missing_ok=True)
        raise


def _raise_refusal(part: Path, error: BaseException) -> None:
    """Raise the OSError behind an error in writing the file `part`, if the file system takes no more.

    torch, safetensors and numpy report a full disk as an error of their own, which looks like one of the data.
    """
    if isinstance(error, Exception) and not (isinstance(error, OSError) and error.errno):
        if named := re.search(r"\(os error (\d+)\)", str(error)):
            # Written by a library in Rust, which removes what it wrote.
            number = int(named[1])
            raise OSError(number, os.strerror(number), str(part)) from error
        try:
            with open(part, "ab", buffering=0) as handle:
                handle.write(bytes(_PROBE))
                os.fsync(handle.fileno())
        except OSError as refusal:
            raise OSError(refusal.errno, refusal.strerror, str(part)) from error


def write_atomic(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Write `content` to `path` atomically; text as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    replace_atomic(path, lambda part: part.write_bytes(data), sync=sync)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises ValueError if it holds anything else, and FileNotFoundError."""
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")
    return found


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """Write the array to `path` (.npy) atomically."""
    import numpy as np

    def save(part: Path) -> None:
        with open(part, "wb") as handle:  # given a name, numpy would add a suffix
            np.save(handle, array)

    replace_atomic(path, save)


def make_directory(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` fill a temporary directory beside `path`, then rename it. Raises OSError if `path` exists by then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        # mkdtemp makes directories for the owner only.
        part.chmod(0o755)
        fill(part)
        os.rename(part, path)
    except BaseException as error:
        _raise_refusal(part / ".probe", error)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def why_not_new(path: Path) -> str:
    """Return why nothing can be created at a path, to be written after it; "" if nothing is known to forbid it."""
    if path.exists() or path.is_symlink():
        return "exists"
    place = next(folder for folder in path.absolute().parents if folder.exists())
    if not place.is_dir():
        return f"cannot be created, since {place} is a file"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"cannot be created, since {place} cannot be written to"
    return ""


def sha256_of(path: Path, start: int = 0) -> str:
    """Return the SHA-256 of a file's bytes from `start` on, in hexadecimal. It is read in small parts."""
    with open(path, "rb") as handle:
        handle.seek(start)
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Flush the file's content to disk."""
    with open(path, "rb") as written:
        os.fsync(written.fileno())


def is_lfs_pointer(path: Path) -> bool:
    """Return whether a file is what git leaves in place of a large one that was not fetched."""
    if not path.is_file() or path.stat().st_size > _LARGEST_POINTER:
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the kernel's lock on the file `path` within the context; it is created if missing, and stays.

    Waits for the lock, or with wait=False raises BlockingIOError if another process, or another context of this one,
    holds it. It is released when this process dies. On a file system without locks (some network ones) this does
    nothing, so two writers are not kept apart.
    """
    # Ray's workers may leave the context in another thread than the one that entered it.
    lock = FileLock(path, timeout=-1 if wait else 0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path)) from None
    except NotImplementedError:
        yield
        return
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
