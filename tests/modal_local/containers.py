"""One container's life: started, watched by the clock, struck by faults, interrupted, killed.

Whatever goes wrong on the way ends as an ended container, never as a hang; what it leaves behind is the Pool's.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
import subprocess
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from grpclib.server import Server
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_pb2 as api

from .layout import prepare
from .records import Container, Fault

if TYPE_CHECKING:
    from .pool import Pool

TICK_S = 0.05
CANCEL_GRACE_S = 10.0  # a container that does not confirm a cancel in this time is killed
CANCEL_AGAIN_S = 2.0  # the runtime drops a cancel that comes before it knows the input, so it is said again
IDLE_S, TIMEOUT_S = 60, 300  # Modal's defaults


async def supervise(pool: Pool, container: Container) -> None:
    """Run the container to its end."""
    try:
        await _live(pool, container)
    except Exception:  # our bug; it must not leave a container that nobody watches
        pool.world.errors.append(f"{container.task_id}: {traceback.format_exc()}")
        kill(container)
    while container.process is not None and container.process.poll() is None:
        await asyncio.sleep(TICK_S)
    container.exit_code = container.process.returncode if container.process else None
    container.ended = time.time()
    pool.settle(container)


async def _live(pool: Pool, container: Container) -> None:
    socket = pool.sockets / container.task_id
    command = await asyncio.to_thread(prepare, pool, container, socket)
    server = Server([pool.servicer(container)], status_details_codec=custom_detail_codec)
    await server.start(path=str(socket))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        container.process = _start(command, container.log)
        with container.log.open("rb") as log:
            over = False
            while not over:
                over = container.process.poll() is not None
                if text := decoder.decode(log.read()):
                    container.definition.app.logs.append((container.task_id, text))
                    pool.world.changed()
                if not over:
                    _watch(pool, container)
                    await asyncio.sleep(TICK_S)
    finally:
        server.close()


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Not asyncio's subprocess: its wait() hangs before Python 3.11.10 while grandchildren hold the output open."""
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)


def _watch(pool: Pool, container: Container) -> None:
    """What is due by the clock."""
    now, definition = time.monotonic(), container.definition.definition
    pid = container.folder / "pid"
    if container.pid is None and pid.exists() and (text := pid.read_text()):
        container.pid = int(text)
    for call in list(container.running.values()):
        limit = definition.timeout_secs or TIMEOUT_S
        if now - call.taken_at > limit:
            text = f"Task's current input hit its timeout of {limit}s"
            status = api.GenericResult.GENERIC_STATUS_TIMEOUT
            pool.finish(call, api.GenericResult(status=status, exception=text))
            kill(container)
        elif call.cancelled_at is not None and now - call.cancelled_at > CANCEL_GRACE_S:
            kill(container)
        elif call.cancelled_at is not None and now - call.cancelled_at > CANCEL_AGAIN_S:
            container.cancels.add(call.input_id)
    for fault in _faults(pool, container):
        if fault.after_s is not None and container.first_input and now - container.first_input >= fault.after_s:
            hit(container, fault)
    if container.kill_at is not None and now >= container.kill_at:
        kill(container)
    idle = container.polled and not container.running and not container.leaving
    if idle and now - container.idle_since > (definition.task_idle_timeout_secs or IDLE_S):
        container.leaving = True
        pool.world.changed()
    if not container.polled and time.time() - container.started > (definition.startup_timeout_secs or TIMEOUT_S):
        kill(container)


def _faults(pool: Pool, container: Container) -> list[Fault]:
    mine = (container.function, container.number)
    return [fault for fault in pool.faults if not fault.struck and (fault.function, fault.container) == mine]


async def strike(pool: Pool, container: Container) -> None:
    """After a put or a commit: the faults that count those. A container that it kills gets no answer any more."""
    for fault in _faults(pool, container):
        puts, commits = fault.after_puts, fault.after_commits
        if (puts is not None and container.puts >= puts) or (commits is not None and container.commits >= commits):
            hit(container, fault)
            if fault.kind == "kill":
                await pool.world.until(lambda: container.ended, 10.0)


def hit(container: Container, fault: Fault) -> None:
    fault.struck = True
    if fault.kind == "kill":
        kill(container)
    else:
        container.preempted = True
        interrupt(container, fault.grace_s)


def interrupt(container: Container, grace_s: float) -> None:
    """Ctrl-C for the function's code, and SIGKILL `grace_s` later."""
    container.leaving = True
    container.kill_at = time.monotonic() + grace_s
    _signal(container, signal.SIGINT)


def kill(container: Container) -> None:
    container.leaving = True
    container.kill_at = time.monotonic()  # again at the next tick: it may have no process yet
    _signal(container, signal.SIGKILL)


def _signal(container: Container, number: signal.Signals) -> None:
    """To the container's first process; while that is unknown a kill goes to the launcher, which takes it along."""
    process = container.process
    target = container.pid or (process.pid if process is not None and number == signal.SIGKILL else None)
    if process is not None and process.poll() is None and target is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, number)
