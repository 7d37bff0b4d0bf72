"""Writing files so that a reader, or a run that comes after a crash, finds them complete or not at all."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def replace_atomic(path: Path, write: Callable[[Path], object], *, sync: bool = True) -> None:
    """Lets `write` fill a file beside `path`, then moves it onto `path`.

    With sync the content is on disk before the name is: after a power cut the name never stands for an empty file.
    Without (for files rewritten many times a second) that holds only for a killed process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        if sync:
            sync_file(part)
        # mkstemp makes files for the owner only; results are shared like any other file.
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Puts `content` into `path` as a whole."""
    data = content.encode() if isinstance(content, str) else content
    replace_atomic(path, lambda part: part.write_bytes(data), sync=sync)


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """Puts the array into `path` (.npy) as a whole."""
    import numpy as np

    def save(part: Path) -> None:
        with open(part, "wb") as handle:  # by name numpy would add a suffix
            np.save(handle, array)

    replace_atomic(path, save)


def make_directory(path: Path, fill: Callable[[Path], object]) -> None:
    """Lets `fill` fill a directory beside `path`, then gives it that name. OSError where `path` is there by then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        # mkdtemp makes directories for the owner only.
        part.chmod(0o755)
        fill(part)
        os.rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Waits until the file's content is on disk."""
    with open(path, "rb") as written:
        os.fsync(written.fileno())


def lock_file(handle: IO[Any], *, wait: bool = True) -> None:
    """Takes the kernel's lock on an open file, for as long as it is open. BlockingIOError where another has it.

    A file system that knows no locks (some network ones) gives none: then two writers are not kept apart.
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
