"""Listening on this machine: one process, one port, until SIGINT or SIGTERM; requests under way are answered first."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from tune.errors import UserError

GRACE_SECONDS = 30
"""How long requests under way may take after the signal to end. A second SIGINT ends at once."""
_IDLE_SECONDS = 75
"""How long a client's connection stays open without a request; clients that pool connections expect a minute."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. port: 0 for a free one. Raises UserError if the address cannot be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[:2], family=family, backlog=2048)
        # Connections inherit it. asyncio sets it on sockets that it makes itself, and without it the second packet of
        # an answer waits 40 ms for the client's delayed acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, OverflowError) as error:
        # Python adds the address to the system's words; the errors of name servers have negative numbers.
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on {host}, port {port} ({why}); choose another --host or --port") from None


def address_of(listening: socket.socket) -> tuple[str, int]:
    """Return host and port of a socket."""
    host, port = listening.getsockname()[:2]
    return host, port


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only this machine can reach a socket."""
    host, _ = address_of(listening)
    return host == "::1" or host.startswith("127.")


def make_server(app: Starlette) -> uvicorn.Server:
    """Return uvicorn's server of an application, with one stack whatever else is installed: what runs was tested."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def run(app: Starlette, listening: socket.socket) -> None:
    """Serve until a signal. Returns after SIGTERM; raises KeyboardInterrupt after SIGINT."""
    server = make_server(app)
    with _ended_by_sigterm(), _ended_in_silence(server):
        server.run(sockets=[listening])


@contextmanager
def _ended_in_silence(server: uvicorn.Server) -> Iterator[None]:
    """Let a second SIGINT end the server without a traceback of everything that it interrupts."""

    def before_that(record: logging.LogRecord) -> bool:
        return not server.force_exit

    log = logging.getLogger("uvicorn.error")
    log.addFilter(before_that)
    try:
        yield
    finally:
        log.removeFilter(before_that)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the server with exit code 0: uvicorn ends well, then sends the signal to the handler before."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
