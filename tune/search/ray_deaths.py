"""When a process of Ray dies under a search, the search ends within seconds, with a word on what happened.

Ray's own code would wait for a minute, print where in its code the process is, and end it with exit code 1. Neither the
trials' directories nor any other file needs an orderly end, so this process is simply ended, after `last_words`.
"""

import contextlib
import itertools
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil
import ray
from ray._private.ray_constants import PROCESS_TYPE_RAYLET

from tune.errors import TERMINATED

LastWords = Callable[[str], int]
"""Says why this process ends now, and returns its exit code."""

_LOOK_SECONDS = 0.02
_GRACE_SECONDS = 3.0
"""How long this process may take to end by itself, if SIGTERM went to Ray's processes and perhaps to this one too."""


@contextlib.contextmanager
def watched(folder: Path, last_words: LastWords | None) -> Iterator[None]:
    """Within the context, watch the processes of the Ray that this process has started. folder: Ray's own.

    last_words: None to watch nothing.
    """
    if last_words is None:
        yield
        return
    over, end = os.pipe()
    thread = threading.Thread(target=_watch, args=(over, folder, last_words), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(end, b".")
        thread.join()
        os.close(over)
        os.close(end)


def _watch(over: int, folder: Path, last_words: LastWords) -> None:
    """Wait until a process dies, or the file `over` can be read."""
    node: Any = ray._private.worker._global_node
    below = _processes_of(node)
    agents = [process for process in below if _is_agent(process)]
    _wait_for_death([*agents, *(info.process for info in _infos(node))], over)
    if _readable(over, 0.0):
        return
    with _stopped(info.process.pid for info in node.all_processes.get(PROCESS_TYPE_RAYLET, ())):
        # Some processes hear of a signal to all of them a little later than others.
        if _readable(over, _LOOK_SECONDS):
            return
        dead = [(name, process.returncode) for name, process in node.dead_processes()]
        name, code = (*dead, ("agent", None))[0]
        asked = code == -signal.SIGTERM or _received_sigterm(folder)
        if not asked:
            _end(last_words(f"Ray's {name} ended unexpectedly{_how(code)}"), below, folder)
    if not _readable(over, _GRACE_SECONDS):
        last_words("")
        _end(TERMINATED, below, folder)


@contextlib.contextmanager
def _stopped(raylets: Iterable[int]) -> Iterator[None]:
    """Stop raylets within the context.

    If an agent dies, they end, and then Ray's code ends this process, all in 20 ms. A thread that gets its turn too
    late loses that race: about one time in seven, on two busy cores.
    """
    pids = list(raylets)
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _end(code: int, below: Sequence[psutil.Process], folder: Path) -> NoReturn:
    """End this process and all of Ray's."""
    sys.stdout.flush()
    sys.stderr.flush()
    _signal((process.pid for process in below if process.is_running()), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(code)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_for_death(processes: Sequence[Any], over: int) -> None:
    """Wait until one of the processes has died, or `over` can be read. processes: with `pid`."""
    with contextlib.ExitStack() as files:
        try:
            fds = [os.pidfd_open(process.pid) for process in processes]
        except (AttributeError, OSError):
            # Not on this system, or dead already.
            while all(psutil.pid_exists(process.pid) for process in processes):
                if _readable(over, _LOOK_SECONDS):
                    return
            return
        for fd in fds:
            files.callback(os.close, fd)
        select.select([over, *fds], [], [])


def _readable(file: int, seconds: float) -> bool:
    """Return whether a file can be read; wait for that up to so many seconds."""
    return bool(select.select([file], [], [], seconds)[0])


def _infos(node: Any) -> list[Any]:
    return list(itertools.chain.from_iterable(node.all_processes.values()))


def _processes_of(node: Any) -> list[psutil.Process]:
    """Return Ray's own processes and their children: agents, which would outlive them by a minute."""
    found = []
    for info in _infos(node):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(info.process.pid)
            found += [process, *process.children(recursive=True)]
    return found


def _is_agent(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any("Agent" in word for word in process.cmdline())
    return False


def _received_sigterm(folder: Path) -> bool:
    """Return whether Ray's processes end because they were told to. Their exit codes, 0 and 1, do not tell."""
    return any(b"received SIGTERM" in log.read_bytes() for log in folder.glob("session_latest/logs/*.out"))


def _how(code: int | None) -> str:
    if code is None:
        return ""
    return f" ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
