"""Errors that a user can cause, and what stops a search from outside.

Each is one clear line: what is wrong, where, and how to fix it. The command line prints it and exits with code 2, or
with `PAUSED` if a search is paused.
"""

import contextlib
import errno
import os
from collections.abc import Collection, Iterator, Sequence

PAUSED = 75
"""Exit code of a paused search: EX_TEMPFAIL of sysexits.h, "try again later"."""
TERMINATED = 143
"""Exit code after SIGTERM."""


class UserError(Exception):
    """An error that the user can fix; `str(error)` is the one line to show."""


class ConfigError(UserError):
    """One or more configuration problems, raised together; `problems` holds a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[str, ...]]]:
        return (ConfigError, (self.problems,))


class DataError(UserError):
    """The labelled pairs cannot be read, or a search cannot use them."""


class ModelError(UserError):
    """A base model or an exported model cannot be found or used."""


class ResultsError(UserError):
    """A results folder is not writable, is already taken, or does not hold what was asked for."""


class SearchPaused(Exception):
    """A cause outside the trials stops a search: a full disk, missing permission, the network, a dead cluster.

    No trial is given up and no winner is fixed for it. The message is one line: the cause, and what to change.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM asked this process to end. It ends as after Ctrl-C, with another exit code."""


def terminate(number: int, frame: object) -> None:
    """Raise Terminated. A signal handler: systemd, Docker, Kubernetes and SLURM send SIGTERM before they kill."""
    raise Terminated


@contextlib.contextmanager
def pausing() -> Iterator[None]:
    """Raise SearchPaused in place of what the file system or the network refuses within the context.

    A UserError stays one, unless it says that the disk is full: that is no fault of what the user has given.
    """
    try:
        yield
    except UserError as error:
        if not outside_cause(error, _FULL):
            raise
        raise SearchPaused(str(error)) from error
    except Exception as error:
        cause = outside_cause(error)
        if not cause:
            raise
        raise SearchPaused(cause) from error


def outside_cause(error: BaseException, numbers: Collection[int] = ()) -> str:
    """Return one line on what the file system or the network refused, and what to change; "" if that is not the cause.

    numbers: the errors of the system that count; by default those of any disk, network or machine, and broken
    connections. Looks through the errors that led to this one, since libraries wrap them.
    """
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, OSError):
            broken = not numbers and isinstance(link, ConnectionError | TimeoutError)
            if broken or link.errno in (numbers or _OUTSIDE):
                return described(link)
        seen.append(link)
        link = link.__cause__ or link.__context__
    return ""


def described(error: OSError) -> str:
    """Return one line: what was refused, where, and what to change if that is known."""
    what = os.strerror(error.errno) if error.errno else " ".join(str(error).split()) or type(error).__name__
    where = f": {error.filename}" if error.filename else ""
    fix = FIXES.get(error.errno or 0, "")
    return f"{what}{where}{'; ' if fix else ''}{fix}"


FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another --results, --cache or TMPDIR"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "choose folders that you can write to (--results, --cache, TMPDIR, HF_HOME)",
    ),
}
"""Errors of the file system that a user can fix."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OUTSIDE = FIXES.keys() | {
    errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EMFILE, errno.ENFILE, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO,
}  # fmt: skip
"""Errors of a disk, a network or a machine, whatever is running on it."""
