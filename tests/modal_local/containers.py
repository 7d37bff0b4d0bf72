"""The life of one container: prepare, start, watch, interrupt, kill.

A container is a process tree with its own root directory: the uploads, its copies of Volumes, and from the host the
system folders and this interpreter. Whatever goes wrong, the container is marked as ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modal_proto import api_pb2 as api

from . import forked

if TYPE_CHECKING:
    from .pool import Container, Pool

TICK_S = 0.05
HEARTBEAT_S = 5  # the interval set in containers; a heartbeat is answered a little earlier
CANCEL_GRACE_S = 10.0  # a container that does not confirm a cancel within this time is killed
CANCEL_AGAIN_S = 2.0  # the runtime drops a cancel that comes before it knows the input, so it is repeated
SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt", "/dev", "/sys"]
PYTHON = [sys.base_prefix, os.path.realpath(sys.base_prefix), sys.prefix]
NAMESPACES = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
# Other users first become root of a user namespace, which resets the parent-death signal, so setpriv comes after it.
AS_ROOT = ["unshare", "--user", "--map-root-user"] if os.getuid() else []
# $0 is the server's pid: it may have died before the signal was set.
DIES_WITH_SERVER = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'test $PPID = $0 && exec "$@"', str(os.getpid())]

Stamp = tuple[int, int]  # (mtime in ns, size), the same for a file and its copy


async def live(pool: Pool, container: Container) -> None:
    """Run the container to its end, then let the Pool settle its inputs."""
    try:
        env = await asyncio.to_thread(_prepare, pool, container)
        launcher = _start(pool, container, env)
        with container.log.open(errors="replace") as log:
            while container.exit_code is None:
                _watch(pool, container, launcher.pid)
                await asyncio.sleep(TICK_S)
                container.exit_code = launcher.poll()
                if text := log.read():
                    container.target.app.logs.append((container.task_id, text))
    except Exception:  # a bug in the stand-in: fail the call; the container's processes end with the server
        pool.errors.append(f"{container.task_id}: {traceback.format_exc()}")
    pool.settle(container)


def _prepare(pool: Pool, container: Container) -> dict[str, str]:
    """Create the root directory; return the environment, which takes nothing from the host's."""
    root, definition = container.root, container.target.definition
    root.mkdir(parents=True)
    for file in (file for mount_id in definition.mount_ids for file in pool.objects[mount_id]):
        target = root / file.filename.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pool.store / file.sha256_hex, target)
    for mount in definition.volume_mounts:
        path = root / mount.mount_path.lstrip("/")
        path.mkdir(parents=True)
        container.volumes[mount.volume_id] = VolumeCopy(pool.objects[mount.volume_id], path, root)
        container.volumes[mount.volume_id].reload()
    layout = api.AppLayout()
    for dependency in definition.object_dependencies:
        entry = layout.objects.add(object_id=dependency.object_id)
        if dependency.object_id in container.volumes:
            entry.volume_metadata.version = api.VOLUME_FS_VERSION_V2
    for tag, function in container.target.app.functions.items():
        layout.function_ids[tag] = function.function_id
        layout.objects.add(object_id=function.function_id, function_handle_metadata=function.metadata())
    ids = {"function_id": container.target.function_id, "app_id": container.target.app.app_id}
    arguments = api.ContainerArguments(task_id=container.task_id, function_def=definition, app_layout=layout, **ids)
    (root / "arguments").write_bytes(arguments.SerializeToString())
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": "/root",
        "PYTHONUNBUFFERED": "1",
        "MODAL_IS_REMOTE": "1",
        "MODAL_SERVER_URL": pool.rpc_url,
        "MODAL_TASK_ID": container.task_id,
        "MODAL_HEARTBEAT_INTERVAL": str(HEARTBEAT_S),
        "MODAL_CONTAINER_ARGUMENTS_PATH": "/arguments",
    } | pool.container_env
    if not container.gpu:
        env["CUDA_VISIBLE_DEVICES"] = ""
    for object_id in (definition.image_id, *definition.secret_ids):
        env |= pool.objects[object_id]
    return env


def _start(pool: Pool, container: Container, env: dict[str, str]) -> subprocess.Popen[bytes] | forked.Forked:
    """Start process 1 of the container; return what waits for it."""
    root, python = shlex.quote(str(container.root)), shlex.quote(sys.executable)
    shared = [shlex.quote(name) for name in dict.fromkeys(SYSTEM + PYTHON) if Path(name).is_dir()]
    script = f"""
        mkdir -p {" ".join(f"{root}{name}" for name in ["/root", "/tmp", "/var/tmp", "/run", "/proc", *shared])}
        {"; ".join(f"mount --rbind {name} {root}{name}" for name in shared)}
        hostname {container.task_id}"""
    enter = f"""
        mount -t proc proc {root}/proc
        # SIGINT may be ignored in the tests' process; Modal interrupts with it.
        exec chroot {root} env --chdir=/root --default-signal=INT {python} -m modal._container_entrypoint"""
    # Not asyncio's subprocess: before Python 3.11.10 its wait() hangs while grandchildren hold the output open.
    with container.log.open("wb") as out:
        if pool.preload:
            return forked.start(pool.preload, script, container.root, env, out, [*AS_ROOT, *DIES_WITH_SERVER])
        command = [*AS_ROOT, *DIES_WITH_SERVER, *NAMESPACES, "sh", "-e", "-c", script + enter]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
        return subprocess.Popen(command, env=env, start_new_session=True, **pipes)


def _watch(pool: Pool, container: Container, launcher: int) -> None:
    """Do what is due: find the pid, repeat or enforce a cancel, apply faults, kill. launcher: its pid, 0 if unknown."""
    now = time.monotonic()
    if container.pid is None:
        with contextlib.suppress(OSError, IndexError):  # not started yet
            container.pid = int(Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()[0])
    if (call := container.call) is not None:
        cancelled_s = 0.0 if call.cancelled_at is None else now - call.cancelled_at
        if cancelled_s > CANCEL_GRACE_S:
            if container.kill_at is None:
                end(container)
        elif cancelled_s > CANCEL_AGAIN_S:
            container.cancel = True
        mine = (call.function, container.number)
        for fault in [fault for fault in pool.faults if (fault.function, fault.container) == mine]:
            if now >= call.taken_at + fault.after_s:
                pool.faults.remove(fault)
                end(container, fault.kind, fault.grace_s)
    pid = container.pid or launcher
    if pid and container.kill_at is not None and now >= container.kill_at:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end(container: Container, kind: str = "kill", grace_s: float = 0.0) -> None:
    """Kill the container; for "preempt" and "stop", interrupt its call first and kill it `grace_s` later."""
    container.leaving, container.preempted = True, kind == "preempt"
    container.kill_at = time.monotonic() + (0.0 if kind == "kill" else grace_s)
    if kind != "kill" and container.call is not None and container.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(container.pid, signal.SIGINT)


@dataclass
class VolumeCopy:
    """A container's copy, at `path` under its `root`, of the committed `volume`. `synced`: its files when last equal.

    A file written here is visible elsewhere only after commit here and reload there; per file the last commit wins.
    """

    volume: Path
    path: Path
    root: Path
    synced: dict[str, Stamp] = field(default_factory=dict)

    def commit(self) -> None:
        """Publish files written or deleted here."""
        now = _scan(self.path)
        for name, _ in now.items() ^ self.synced.items():
            _mirror(self.path / name, self.volume / name)
        self.synced = now

    def reload(self) -> str:
        """Take over what others committed, keeping uncommitted changes. Returns what prevented it, or ""."""
        if not (user := self._user()):
            committed, now = _scan(self.volume), _scan(self.path)
            kept = {name for name, _ in now.items() ^ self.synced.items()}
            for name in {name for name, _ in committed.items() ^ self.synced.items()} - kept:
                _mirror(self.volume / name, self.path / name)
            mine = {name: self.synced[name] for name in kept & self.synced.keys()}
            self.synced = {name: committed[name] for name in committed.keys() - kept} | mine
        return user

    def _user(self) -> str:
        """Return a process that has a file of the Volume open or mapped, or its working directory there, or ""."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if os.readlink(process / "root") != str(self.root):
                    continue
                for link in [process / "cwd", *(process / "fd").iterdir()]:
                    with contextlib.suppress(OSError):  # closed meanwhile
                        if Path(os.readlink(link)).is_relative_to(self.path):
                            return f"{link} is {os.readlink(link)}"
                if f" {self.path}/" in (process / "maps").read_text():
                    return f"{process} maps a file"
        return ""


def _scan(root: Path) -> dict[str, Stamp]:
    """Return the stamp of every file under `root`, by relative path."""
    found: dict[str, Stamp] = {}
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                stat = os.lstat(path)
                found[os.path.relpath(path, root)] = (stat.st_mtime_ns, stat.st_size)
    return found


def _mirror(source: Path, target: Path) -> None:
    """Make `target` equal to `source` in one step: the same file, or no file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.copy2(source, partial, follow_symlinks=False)
        os.replace(partial, target)
    except (FileNotFoundError, IsADirectoryError):
        target.unlink(missing_ok=True)
