"""Serving an exported model on this machine (`python -m tune serve`): every check, then the port, then the model."""

import importlib.util
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune.config.closed import ClosedConfig
from tune.errors import UserError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from tune.serve.served import Served

LIBRARIES = ("starlette", "uvicorn")
"""What the `serve` extra installs."""
KEY_VARIABLE = "EMBEDTUNE_API_KEY"


@dataclass(frozen=True)
class ServeOptions:
    """What `serve` is told. path: an export, or a results folder.

    key_variable: the environment variable with the key; None for KEY_VARIABLE, if that is set. served_name: what
    requests call the model. wait_ms, max_batch, max_queue: see `BatchLimits`.
    """

    path: Path
    host: str = "127.0.0.1"
    port: int = 8000
    key_variable: str | None = None
    served_name: str | None = None
    purchases: bool = False
    trust_remote_code: bool = False
    max_batch: int = 256
    wait_ms: float = 2.0
    max_queue: int = 8192


@dataclass(frozen=True)
class Ready:
    """A loaded model behind an open port.

    url: ends with /v1, as clients want it. key: the variable with the key that requests must send; "" for none.
    warning: a sentence, or "".
    """

    app: "Starlette"
    served: "Served"
    url: str
    key: str
    warning: str
    listening: socket.socket

    def run(self) -> None:
        """Serve until SIGTERM, or raise KeyboardInterrupt after SIGINT."""
        from tune.serve.server import run

        run(self.app, self.listening)


def get_ready(options: ServeOptions, closed: ClosedConfig | None = None) -> Ready:
    """Check, listen and load. closed: how to reach a closed model. Raises UserError if the model cannot be served."""
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise UserError(f"serving needs {' and '.join(missing)}; run pip install 'embedtune[serve]'")
    _check_numbers(options)
    key = _key(options.key_variable)
    from tune.embed.export_files import exported_in
    from tune.serve.app import default_limits, make_app
    from tune.serve.served import load_served
    from tune.serve.server import address_of, is_loopback, listen

    directory = exported_in(options.path)
    listening = listen(options.host, options.port)
    try:
        reachable = not is_loopback(listening)
        if reachable and options.purchases and key is None:
            raise UserError(
                f"--host {options.host} with --allow-purchases needs a key, or anyone who reaches this machine spends "
                f"your money; set {KEY_VARIABLE}"
            )
        served = load_served(
            directory,
            options.served_name,
            purchases=options.purchases,
            trust_remote_code=options.trust_remote_code,
            closed=closed,
        )
    except BaseException:
        listening.close()
        raise
    limits = default_limits(served, texts=options.max_batch, wait=options.wait_ms / 1000, queue=options.max_queue)
    host, port = address_of(listening)
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    warning = (
        f"anyone who reaches this machine on port {port} can use the model; set {KEY_VARIABLE} to require a key"
        if reachable and key is None
        else ""
    )
    variable = options.key_variable or KEY_VARIABLE
    return Ready(
        app=make_app(served, limits, key),
        served=served,
        url=f"http://{shown}:{port}/v1",
        key=variable if key else "",
        warning=warning,
        listening=listening,
    )


def _check_numbers(options: ServeOptions) -> None:
    if not 0 <= options.port <= 65_535:
        raise UserError(f"--port must be 0 to 65535, not {options.port}")
    for name, value, least in (
        ("--max-batch", options.max_batch, 1),
        ("--max-queue", options.max_queue, 1),
        ("--wait-ms", options.wait_ms, 0),
    ):
        # Written so that NaN is refused too.
        if not value >= least or value == float("inf"):
            raise UserError(f"{name} must be at least {least}, not {value}")


def _key(variable: str | None) -> str | None:
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable is not None and not key:
        raise UserError(f"--api-key-env {variable}: this environment variable is not set; export the key in it")
    return key or None
