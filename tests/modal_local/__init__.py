"""A local stand-in for Modal's control plane: tests run the real CLI, client and container runtime offline.

`with ModalLocal(root=tmp_path) as stand_in:` provides an environment for `modal run` and a record of what happened.
Its servers run in a thread. All containers end when it ends, also if this process dies.
"""

import asyncio
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

from grpclib.server import Server
from modal._utils.grpc_utils import custom_detail_codec

from . import containers
from .pool import Call, Container, Fault, Pool
from .rpc_faults import RpcFault
from .rpcs import PROXY_TOKEN, Rpcs, start_http
from .simulated import Put, Simulation

__all__ = ["Call", "Container", "Fault", "ModalLocal", "Put", "RpcFault", "Simulation"]


class ModalLocal:
    """A local Modal on 127.0.0.1, with its state under `root`.

    `max_containers` limits the live containers per function; `container_env` is added to their environment. Calls of
    functions in `simulated` get no container. Containers are forked from a process that has imported the modules of
    `preload`; without any they are fresh interpreters. `calls`, `containers`, `unknown_rpcs`, `errors` (bugs in the
    stand-in itself) and `rpcs` (how many of each) grow as things happen. What is in `rpc_faults` goes wrong.
    """

    proxy_token = PROXY_TOKEN

    def __init__(
        self,
        root: Path,
        faults: Sequence[Fault] = (),
        max_containers: int = 10,
        container_env: Mapping[str, str] = {},
        simulated: Mapping[str, Simulation] = {},
        preload: Sequence[str] = (),
    ) -> None:
        root = Path(root).resolve()
        settings = (dict(container_env), dict(simulated), tuple(preload))
        self._pool = Pool(root, root / "store", max_containers, list(faults), *settings)
        (root / "store").mkdir(parents=True)
        self.calls, self.containers = self._pool.calls, self._pool.containers
        self.unknown_rpcs, self.errors, self.rpcs = self._pool.unknown_rpcs, self._pool.errors, self._pool.rpcs
        self.rpc_faults = self._pool.rpc_faults
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="modal-local", daemon=True)

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, with the Modal client's settings replaced by ones that point here."""
        others = {key: value for key, value in os.environ.items() if not key.startswith("MODAL_")}
        token = {"MODAL_TOKEN_ID": "ak-local", "MODAL_TOKEN_SECRET": "as-local", "MODAL_CONFIG_PATH": os.devnull}
        return others | token | {"MODAL_SERVER_URL": self._pool.rpc_url}

    @property
    def uploads(self) -> dict[str, Path]:
        """All files uploaded for containers: path in the container -> the stored content."""
        mounts = [value for key, value in list(self._pool.objects.items()) if key.startswith("mo-")]
        return {file.filename: self._pool.store / file.sha256_hex for mount in mounts for file in mount}

    def volume(self, name: str) -> Path:
        """Return the directory with the committed state of a named Volume."""
        return self._pool.objects[self._pool.named["vo", name]]

    def volume_folder(self, name: str) -> Path:
        """Return the same, for files that are there before the Volume is first used."""
        return self._pool.root / "volumes" / name

    def web_url(self, function: str) -> str:
        """Return the URL of a web function, as deployed last."""
        return [found.definition.web_url for found in self._pool.functions if found.name == function][-1]

    def running_calls(self) -> list[Call]:
        """Return calls that are not over: pending, running, or cancelled but not yet confirmed by the container."""
        return [call for call in self.calls if not call.done]

    def wait_until_idle(self, timeout_s: float = 20.0) -> None:
        """Wait until no call is running. Raises TimeoutError with the calls that are."""
        deadline = time.monotonic() + timeout_s
        while running := self.running_calls():
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running: {[(call.call_id, call.function, call.state) for call in running]}")
            time.sleep(0.05)

    def logs(self) -> str:
        """Return the output of all containers, one after the other."""
        parts = [f"== {found.task_id} {found.function}\n{found.log.read_text()}" for found in self.containers]
        return "\n".join(parts)

    def end_container(self, container: Container, kind: str = "kill", grace_s: float = 5.0) -> None:
        """End a container now, as a Fault would."""
        self._loop.result().call_soon_threadsafe(containers.end, container, kind, grace_s)

    def repeat(self, call: Call) -> None:
        """Call the same function with the same input once more, as a second client with the same order would."""
        self._loop.result().call_soon_threadsafe(self._pool.submit, call.target, call.item, call.invocation)

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop.result(30)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.result().call_soon_threadsafe(self._stop.set)
        self._thread.join(20.0)

    async def _serve(self) -> None:
        http = await start_http(self._pool)
        server = Server([Rpcs(self._pool)], status_details_codec=custom_detail_codec)
        await server.start("127.0.0.1", 0)
        # grpclib has no public API for the port that it got.
        self._pool.rpc_url = f"http://127.0.0.1:{server._server.sockets[0].getsockname()[1]}"
        self._loop.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        await self._pool.close()
        server.close()
        await http.cleanup()
