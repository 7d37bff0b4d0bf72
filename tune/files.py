"""Atomic writes and file locks: a reader, or a run after a crash, finds a file complete or not at all."""

import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POINTER = b"version https://git-lfs.github.com/spec"
_LARGEST_POINTER = 1024


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
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Write `content` to `path` atomically; text as UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    replace_atomic(path, lambda part: part.write_bytes(data), sync=sync)


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


def lock_file(handle: IO[Any], *, wait: bool = True) -> None:
    """Take the kernel's lock on an open file and hold it until the file is closed.

    Waits for the lock, or with wait=False raises BlockingIOError if another process holds it. On a file system
    without locks (some network ones) this does nothing, so two writers are not kept apart.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EOPNOTSUPP):
            raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
