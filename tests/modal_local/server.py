"""The stand-in as a test sees it: a context manager whose servers run in a thread of their own.

When it ends every container is ended, and so they are if this process dies (the kernel sees to that).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from grpclib.server import Server
from modal._utils.grpc_utils import custom_detail_codec

from .calls import Rpcs
from .containers import hit
from .layout import SANDBOX
from .pool import Pool
from .records import Call, Container, Fault, World
from .web import WebSide

TOKEN = ("ak-local", "as-local")
PROXY_TOKEN = ("wk-local", "ws-local")


class ModalLocal:
    """A Modal of one's own on 127.0.0.1, with its state under `root`.

    `max_containers` caps the containers alive at a time; `container_env` is added to every container's environment.
    """

    def __init__(
        self,
        root: Path,
        faults: Sequence[Fault] = (),
        max_containers: int | None = None,
        container_env: dict[str, str] | None = None,
    ) -> None:
        self.root = Path(root).resolve()
        self.faults = list(faults)
        self.proxy_token = PROXY_TOKEN
        self._world = World(self.root)
        self._pool = Pool(self._world, max_containers, self.faults, dict(container_env or {}))
        self._url = ""
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="modal-local", daemon=True)

    # what a test looks at

    @property
    def exports(self) -> dict[str, str]:
        """The variables that point Modal's client here."""
        return {
            "MODAL_SERVER_URL": self._url,
            "MODAL_TOKEN_ID": TOKEN[0],
            "MODAL_TOKEN_SECRET": TOKEN[1],
            "MODAL_CONFIG_PATH": str(self.root / "modal.toml"),
        }

    @property
    def env(self) -> dict[str, str]:
        """This process's environment without its own Modal settings, and with `exports`."""
        return {key: value for key, value in os.environ.items() if not key.startswith("MODAL_")} | self.exports

    @property
    def calls(self) -> list[Call]:
        return list(self._world.calls.values())

    @property
    def containers(self) -> list[Container]:
        return list(self._world.containers.values())

    @property
    def uploads(self) -> dict[str, Path]:
        """Everything that was uploaded to be seen by containers: path in the container -> the stored content."""
        files = self.root / "files"
        mounts = list(self._world.mounts.values())
        return {file.filename: files / file.sha256_hex for mount in mounts for file in mount}

    @property
    def image_commands(self) -> list[str]:
        """The Dockerfile commands of all images asked for (none of them was run)."""
        return [command for image in list(self._world.images.values()) for command in image.dockerfile_commands]

    @property
    def unknown_rpcs(self) -> list[str]:
        return list(self._world.unknown_rpcs)

    @property
    def errors(self) -> list[str]:
        """Bugs of the stand-in itself that showed up so far; a test may assert that there are none."""
        return list(self._world.errors)

    def volume(self, name: str) -> Path:
        """The committed state of a named Volume."""
        return self._world.volumes[self._world.named["Volume", name]].path

    def web_url(self, function: str) -> str:
        """Where a web function answers."""
        return next(one.url for one in reversed(list(self._world.functions.values())) if one.name == function)

    def running_calls(self) -> list[Call]:
        """Calls that are not over: waiting, running, or cancelled but not yet confirmed by their container."""
        return [call for call in self.calls if not call.done]

    def wait_until_idle(self, timeout_s: float = 20.0) -> None:
        """Wait until no call is running; TimeoutError names those that are."""
        deadline = time.monotonic() + timeout_s
        while running := self.running_calls():
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running after {timeout_s} s: {running}")
            time.sleep(0.05)

    def logs(self) -> str:
        """The output of all containers, one after the other."""
        return "\n".join(f"== {one.task_id} {one.function}\n{one.log.read_text()}" for one in self.containers)

    def end_container(
        self, container: Container, kind: Literal["kill", "preempt"] = "kill", grace_s: float = 5.0
    ) -> None:
        """What a Fault does, now."""
        assert self._loop is not None
        fault = Fault(container.function, container.number, kind, grace_s=grace_s)
        self._loop.call_soon_threadsafe(hit, container, fault)

    # start and stop

    def __enter__(self) -> Self:
        probe = subprocess.run(SANDBOX, capture_output=True, text=True, timeout=30, check=False)
        if probe.returncode:
            raise RuntimeError(f"no Linux namespaces to be had here, see README.md: {probe.stderr.strip()[-200:]}")
        (self.root / "modal.toml").touch()
        self._thread.start()
        if not self._ready.wait(30.0):
            raise TimeoutError("the stand-in did not start within 30 s")
        if self._failure is not None:
            raise RuntimeError("the stand-in did not start") from self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # told to the thread that waits in __enter__
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        world, pool = self._world, self._pool
        pool.sockets = Path(tempfile.mkdtemp(prefix="ml"))  # short: a socket's path has at most 107 characters
        web = WebSide(world, pool, PROXY_TOKEN)

        def servicer(container: Container | None) -> Rpcs:
            rpcs = Rpcs(world, pool, container)
            rpcs.web = web
            return rpcs

        pool.servicer = servicer
        server = Server([servicer(None)], status_details_codec=custom_detail_codec)
        watch = asyncio.create_task(pool.watch_apps())
        try:
            await web.start()
            await server.start("127.0.0.1", 0)
            self._url = _address(server)
            self._ready.set()
            await self._stop.wait()
        finally:
            watch.cancel()
            await pool.close()
            server.close()
            await web.stop()
            shutil.rmtree(pool.sockets, ignore_errors=True)


def _address(server: Server) -> str:
    listener = server._server  # grpclib has no public way to ask which port it got
    assert isinstance(listener, asyncio.Server)
    host, port = listener.sockets[0].getsockname()[:2]
    return f"http://{host}:{port}"
