"""The gRPC surface: every RPC of Modal's control plane has a path here, and those that we do not emulate say so.

A handler is a method named after its RPC that takes the request and returns the answer (or yields, for a stream).
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Stream
from h2.exceptions import ProtocolError
from modal_proto import api_pb2 as api

from .pool import Pool
from .records import Container, World

QUIET = ("ContainerHello", "QueueHeartbeat", "DictHeartbeat", "VolumeHeartbeat")  # heard, and nothing more
SERVICE = api.DESCRIPTOR.services_by_name["ModalClient"]


def fail(status: Status, message: str) -> NoReturn:
    """Answer the RPC with an error; the client raises the exception that belongs to `status`."""
    raise GRPCError(status, message)


class Servicer:
    """Base of the handlers. `container` is who calls; None is a client outside of all containers."""

    def __init__(self, world: World, pool: Pool, container: Container | None = None) -> None:
        self.world = world
        self.pool = pool
        self.container = container

    @property
    def caller(self) -> Container:
        if self.container is None:
            fail(Status.FAILED_PRECONDITION, "only a container may call this")
        return self.container

    async def _quiet(self, request: Message) -> Empty:
        return Empty()

    def _serve(self, name: str) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
        handler = getattr(self, name, self._quiet if name in QUIET else None)

        async def serve(stream: Stream[Any, Any]) -> None:
            if handler is None:
                self.world.unknown_rpcs.append(name)
                fail(Status.UNIMPLEMENTED, f"tests/modal_local does not emulate the RPC {name}")
            request = await stream.recv_message()
            try:
                if inspect.isasyncgenfunction(handler):
                    async for message in handler(request):
                        await stream.send_message(message)
                else:
                    await stream.send_message(await handler(request))
            except (GRPCError, StreamTerminatedError, ProtocolError):
                raise  # an answer, or a caller that did not wait for it
            except Exception as error:
                # not INTERNAL or UNKNOWN: the client would retry those and hide our bug behind a hang
                self.world.errors.append(f"{name}: {traceback.format_exc()}")
                fail(Status.FAILED_PRECONDITION, f"bug in tests/modal_local, {name}: {error!r}")

        return serve

    def __mapping__(self) -> dict[str, Handler]:
        kinds = {False: Cardinality.UNARY_UNARY, True: Cardinality.UNARY_STREAM}
        return {
            f"/{SERVICE.full_name}/{rpc.name}": Handler(
                self._serve(rpc.name),
                kinds[rpc.server_streaming],
                GetMessageClass(rpc.input_type),
                GetMessageClass(rpc.output_type),
            )
            for rpc in SERVICE.methods
        }
