"""Calls that the stand-in answers itself, without a container: hundreds at a time, for what happens around them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from modal._serialization import deserialize, serialize
from modal_proto import api_pb2 as api

if TYPE_CHECKING:
    from .pool import Call, Pool

Put = Callable[[str, str, Any], bool]
"""Puts a value on a partition (queue id, partition, value); returns whether the call still runs."""
Simulation = Callable[[tuple[Any, ...], Put], Awaitable[Any]]
"""Receives a call's arguments; returns its result, or raises, which fails the call."""


async def work(pool: Pool, call: Call, simulation: Simulation) -> None:
    """Run the simulation of a call to its end. A cancelled call is over at once; its simulation may end later."""

    def put(queue: str, partition: str, value: Any) -> bool:
        if not call.done:
            pool.objects[queue][partition.encode()].append(serialize(value))
            pool.changed()
        return not call.done

    call.state, call.started, call.attempts = "running", call.started or time.time(), call.attempts + 1
    try:
        arguments, _ = deserialize(call.item.args, None)
        data = serialize(await simulation(arguments, put))
        result = api.GenericResult(status=api.GenericResult.GENERIC_STATUS_SUCCESS, data=data)
    except Exception as error:
        text = "".join(traceback.format_exception_only(error))
        result = api.GenericResult(status=api.GenericResult.GENERIC_STATUS_FAILURE, exception=text)
    if not call.done:
        pool.finish(call, result, api.DATA_FORMAT_PICKLE)
