"""Standard streams that cannot end a command: closed ones, a reader that has gone, encodings that lack a character.

A search whose output nobody can read still finishes; its results are files.
"""

import errno
import io
import os
import sys
from typing import Any


class _Output(io.FileIO):
    """A file descriptor to write to. After an error it discards what is written.

    lost: why output was lost, or "". A reader that has gone, as in `| head -1`, asked for no more, so nothing is lost.
    """

    lost = ""

    def write(self, data: Any) -> int:
        """Write, or discard after an error."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.lost = str(error.strerror)
            _discard(self.fileno())
            return len(memoryview(data).cast("B"))


_outputs: list[_Output] = []


def prepare_streams() -> None:
    """Make the process's standard streams safe to use; called once, by a command that starts.

    Files and arguments are UTF-8 from here on, in the processes it starts as well. If the locale says otherwise, the
    command starts over in Python's UTF-8 mode; only the terminal keeps its encoding.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise the next file that is opened would take its place and get what is printed.
            _discard(number)
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        terminal = os.environ.get("PYTHONIOENCODING") or getattr(sys.stdout, "encoding", None) or "ascii"
        environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": terminal}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(_Output(number, "w", closefd=False)), "utf-8"))
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _safe(stream))


def output_lost() -> str:
    """Write out what is buffered; return why output was lost, or ""."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return next((output.lost for output in _outputs if output.lost), "")


def _safe(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    output = _Output(stream.fileno(), "w", closefd=False)
    _outputs.append(output)
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _discard(number: int) -> None:
    """Point a file descriptor to nothing."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
    else:
        os.set_inheritable(number, True)
