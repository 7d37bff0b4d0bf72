"""The room that one container runs in: its own file system view, its own process tree.

Run as a script (standard library only): unshares namespaces, binds the interpreter, the uploads and the Volumes
into a fresh root, and executes Modal's entrypoint as process 1, so that ending it ends everything it started.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = kind.encode() if kind else None
    _check(_libc.mount(source.encode(), target.encode(), encoded, flags, None), f"mount {source} at {target}")


def _die_with_parent(parent: int | None = None) -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if parent is not None and os.getppid() != parent:  # it died before the line above took effect
        os._exit(1)


def _unshare() -> None:
    """New mount and process namespaces; a user namespace as well where we are not root."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWPID | (0 if uid == 0 else CLONE_NEWUSER)
    _check(_libc.unshare(flags), "unshare")
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)


def _bind(root: Path, source: str, target: str, read_only: bool) -> None:
    inside = root / target.lstrip("/")
    if Path(source).is_dir():
        inside.mkdir(parents=True, exist_ok=True)
    else:
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.touch()
    _mount(source, str(inside), None, MS_BIND | MS_REC)
    if read_only:
        _mount("none", str(inside), None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def main(spec_path: str) -> int:
    """Run the container described by the JSON file; returns its exit code (128 + n for signal n)."""
    spec: dict[str, Any] = json.loads(Path(spec_path).read_text())
    root = Path(spec["root"])
    _die_with_parent(spec["parent"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # may be inherited as ignored; Modal interrupts with it
    _unshare()
    _die_with_parent()  # a change of credentials clears it
    _mount(str(root), str(root), None, MS_BIND)
    for link, to in spec["links"].items():
        (root / link.lstrip("/")).symlink_to(to)
    for source, target, read_only in spec["binds"]:
        _bind(root, source, target, read_only)
    child = os.fork()
    if child == 0:
        _die_with_parent()
        (root / "proc").mkdir(exist_ok=True)
        _mount("proc", str(root / "proc"), "proc", 0)
        os.chroot(root)
        os.chdir(spec["cwd"])
        os.execve(spec["argv"][0], spec["argv"], spec["env"])
    Path(spec["pid_file"]).write_text(str(child))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def probe() -> int:
    """0 where this machine lets us have such rooms."""
    _unshare()
    child = os.fork()
    if child == 0:
        _mount("proc", "/proc", "proc", 0)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    code = main(sys.argv[1]) if len(sys.argv) > 1 else probe()
    sys.exit(code if code >= 0 else 128 - code)
