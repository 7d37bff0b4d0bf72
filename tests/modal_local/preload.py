"""Forks containers from a process that has imported libraries already. Run as a script, without any package of ours.

`python -P preload.py SOCKET MODULE...` imports the modules, then starts a container for each order that comes over the
socket: JSON with `script` (makes the root directory), `root` and `env`, and two file descriptors, the container's log
and a socket that is told the pid of the container's launcher and, at the end, the container's exit code.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from typing import Any

ORDER_BYTES = 1 << 20
NEW_MOUNTS, NEW_HOST_NAME, NEW_PIDS = 0x00020000, 0x04000000, 0x20000000
RECURSIVE_PRIVATE = 0x4000 | 0x40000
DEATH_SIGNAL = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def ensure(result: int) -> None:
    """Raise OSError if a function of the C library has failed."""
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def container(orders: socket.socket) -> dict[str, str]:
    """Serve orders until no more can come; return in each process that is to be a container, with its environment."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for launchers
    server = os.getpid()
    while True:
        data, descriptors, _, _ = socket.recv_fds(orders, ORDER_BYTES, 2)
        if not data:
            sys.exit()
        log, status_fd = descriptors
        with socket.socket(fileno=status_fd) as status:
            if os.fork() == 0:
                orders.close()
                for number in (1, 2):
                    os.dup2(log, number)
                os.close(log)
                order = json.loads(data)
                if launched(order, status, server):
                    return dict(order["env"])
        os.close(log)


def launched(order: dict[str, Any], status: socket.socket, server: int) -> bool:
    """Return True in the container, which is a child of this process, its launcher. The launcher does not return."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ensure(LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL))
        os.setsid()
        if os.getppid() == server:
            ensure(LIBC.unshare(NEW_MOUNTS | NEW_HOST_NAME))
            ensure(LIBC.mount(b"none", b"/", None, RECURSIVE_PRIVATE, None))
            subprocess.run(["sh", "-e", "-c", order["script"]], check=True)
            ensure(LIBC.unshare(NEW_PIDS))
            status.send(f"{os.getpid()}\n".encode())
            child = os.fork()
            if child == 0:
                status.close()
                enter(order["root"], order["env"])
                return True
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            status.send(f"{code}\n".encode())
    except BaseException:
        traceback.print_exc()
    os._exit(code if code >= 0 else 1)


def enter(root: str, env: dict[str, str]) -> None:
    """Make this process, the first in its own namespace of pids, one that sees `root` as / and has only `env`."""
    ensure(LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL))
    ensure(LIBC.mount(b"proc", f"{root}/proc".encode(), b"proc", 0, None))
    os.chroot(root)
    os.chdir("/root")
    os.environ.clear()
    os.environ.update(env)
    # As python -m begins: the working directory, then PYTHONPATH.
    sys.path[:0] = [os.getcwd(), *env.get("PYTHONPATH", "").split(":")]
    sys.path_importer_cache.clear()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What libraries asked and kept as they were imported: the host's name and the state of the random numbers.
    importlib.reload(platform)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as socket_of_orders:
        container(socket_of_orders)
    runpy.run_module("modal._container_entrypoint", run_name="__main__", alter_sys=True)
