"""Starts containers as forks of a process that has imported libraries, one per environment, for all stand-ins here.

An import of torch and sentence-transformers takes 6 s of CPU in every container. It is the same in each: only what was
uploaded and what Modal's runtime does differs, and a container imports that itself.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

PROGRAM = Path(__file__).with_name("preload.py")
OWN = ("MODAL_", "EMBEDTUNE_", "PYTHONPATH")
"""How variables begin that may differ between containers that share imports: no library reads them as it is imported.

Modal's own package does; so it is not imported beforehand.
"""


class Forked:
    """A container's launcher, with what is needed of subprocess.Popen. pid: 0 until it runs."""

    def __init__(self, status: socket.socket) -> None:
        status.setblocking(False)
        self.pid = 0
        self._status = status
        self._told = b""

    def poll(self) -> int | None:
        """Return the container's exit code, None while it runs."""
        with contextlib.suppress(BlockingIOError):
            while more := self._status.recv(1024):
                self._told += more
            self._told += b"\n"  # closed: what was not said by now will not be
        lines = self._told.split(b"\n")[:-1]
        if lines and lines[0]:
            self.pid = int(lines[0])
        if len(lines) < 2:
            return None
        return int(lines[1] or -9)


class _Preloaded:
    """The process that forks."""

    def __init__(self, modules: tuple[str, ...], env: dict[str, str], prefix: list[str]) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-P", str(PROGRAM), str(theirs.fileno()), *modules],
                env=env, cwd="/", pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def runs(self) -> bool:
        """Return whether it can be given orders."""
        return self._process.poll() is None

    def start(self, order: dict[str, object], log: BinaryIO) -> Forked:
        """Start a container as soon as the modules are imported."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._orders, [json.dumps(order).encode()], [log.fileno(), theirs.fileno()])
        return Forked(ours)


# A process that is to die with its parent dies with the thread that made it, so that is one that stays.
_starter = ThreadPoolExecutor(1, thread_name_prefix="modal-local-preload")
_preloaded: dict[object, _Preloaded] = {}
_lock = threading.Lock()


def start(
    modules: tuple[str, ...], script: str, root: Path, env: dict[str, str], log: BinaryIO, prefix: list[str]
) -> Forked:
    """Start a container. prefix: the command that makes a process root and lets it die with this one."""
    common = {name: value for name, value in env.items() if not name.startswith(OWN)}
    key = (modules, *sorted(common.items()))
    with _lock:
        if key not in _preloaded or not _preloaded[key].runs():
            _preloaded[key] = _starter.submit(_Preloaded, modules, common, prefix).result()
        return _preloaded[key].start({"script": script, "root": str(root), "env": env}, log)
