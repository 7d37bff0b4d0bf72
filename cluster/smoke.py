"""Check a real Modal account: `modal run cluster/smoke.py`. Costs a few cents; prints a line per check.

Each check is one that only Modal itself can answer, and is bounded in time. A failed check does not stop the others;
the exit code is 1 if any failed. Findings are reported, not judged. `modal run cluster/smoke.py WORD` runs the checks
with that word in their name.
"""

import contextlib
import queue as standard_queue
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import modal

if modal.is_local() and str(Path(__file__).resolve().parents[1]) not in sys.path:
    # Modal imports a file given by path alone; our packages are next to its folder.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.calls import call_state
from cluster.smoke_functions import (
    OUTLIVE_SECONDS,
    SHORT,
    abandoned_head,
    app,
    commit_last,
    dying_head,
    echo,
    from_ray,
    gpu,
    lose_container,
    read,
    tick,
    use_files,
    volume,
    write,
)

AWAY = "embedtune-smoke"
"""A named Queue: one of this run's own would end with it."""


def check_spawn_from_ray(queue: modal.Queue) -> str:
    call, task = from_ray.remote(echo.object_id, queue.object_id, uuid.uuid4().hex)
    assert task, "the call spawned by a Ray worker did not answer"
    return f"call {call}"


def check_queue_latency(queue: modal.Queue) -> str:
    partition, gaps = uuid.uuid4().hex, []
    call = echo.spawn(queue.object_id, partition, 20, 0.2)
    for _ in range(20):
        sent: Any = queue.get(partition=partition, timeout=90)
        gaps.append(time.time() - sent)
    call.get(timeout=30)
    assert median(gaps) < 1.0, f"median {median(gaps):.2f} s, if both clocks are right"
    return f"median {median(gaps) * 1000:.0f} ms, worst {max(gaps) * 1000:.0f} ms"


def check_cancel(queue: modal.Queue) -> str:
    partition = uuid.uuid4().hex
    call = echo.spawn(queue.object_id, partition, 1000, 0.1)
    queue.get(partition=partition, timeout=90)
    began = time.monotonic()
    call.cancel()
    while not isinstance(outcome := queue.get(partition=partition, timeout=30), str):
        pass
    reached = time.monotonic() - began
    while call_state(call.object_id) != "over":
        assert time.monotonic() - began < 60, "the call has not ended after 60 s"
        time.sleep(0.2)
    return f"{outcome} in the trial after {reached:.1f} s, call over after {time.monotonic() - began:.1f} s"


def check_container_exits(queue: modal.Queue) -> str:
    began = time.monotonic()
    while (left := echo.get_current_stats().num_total_runners) > 0:
        assert time.monotonic() - began < 90, f"{left} containers still up after 90 s; check the dashboard"
        time.sleep(1)
    return f"none left after {time.monotonic() - began:.0f} s (idle time {SHORT} s): nothing more is billed"


def check_commit_is_visible(queue: modal.Queue) -> str:
    name = uuid.uuid4().hex
    write.remote(name)
    assert read.remote(name) == name
    return "to another function's container, after reload"


def check_files(queue: modal.Queue) -> str:
    failures = use_files.remote(uuid.uuid4().hex)
    assert not failures, "; ".join(failures)
    return "lock, replace, rename folder, append, commit, reload"


def check_gpu(queue: modal.Queue) -> str:
    name = gpu.remote()
    assert name, "no GPU in the container"
    return name


def check_lost_container(queue: modal.Queue) -> str:
    attempts = lose_container.remote(uuid.uuid4().hex)
    assert attempts > 1, "the container was not lost"
    return f"attempt {attempts} found what attempt 1 committed"


def check_last_commit(queue: modal.Queue) -> str:
    partition, name = uuid.uuid4().hex, uuid.uuid4().hex
    call = commit_last.spawn(queue.object_id, partition, name)
    queue.get(partition=partition, timeout=90)
    began = time.monotonic()
    call.cancel()
    while call_state(call.object_id) != "over":
        assert time.monotonic() - began < 60, "the call has not ended after 60 s"
        time.sleep(0.1)
    over = time.monotonic() - began
    try:
        there = b"".join(volume.read_file(name)).decode() == name
    except (modal.exception.NotFoundError, FileNotFoundError):
        there = False
    assert there, (
        f"Modal said over after {over:.1f} s, before the call's last commit: reports of stopped trials get lost"
    )
    return f"over after {over:.1f} s, with what it committed last"


def leave(partition: str) -> None:
    """Spawn a head and wait to be killed."""
    queue = modal.Queue.from_name(AWAY, create_if_missing=True)
    queue.hydrate()
    abandoned_head.spawn(tick.object_id, queue.object_id, partition)
    time.sleep(600)


def check_closed_laptop(queue: modal.Queue) -> str:
    queue, partition = modal.Queue.from_name(AWAY, create_if_missing=True), uuid.uuid4().hex
    line = [sys.executable, "-m", "modal", "run", "--detach", str(Path(__file__).resolve()), "leave", partition]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        try:
            ids: Any = queue.get(partition=f"{partition}-ids", timeout=180)
            queue.get(partition=f"{partition}-call", timeout=90)
        finally:
            client.kill()  # no disconnect, as when a laptop is closed
    call, stop = modal.FunctionCall.from_id(ids[0]), [sys.executable, "-m", "modal", "app", "stop", "--yes", ids[1]]
    left, last = time.time(), dict.fromkeys(("the head", "its call"), 0.0)
    try:
        while time.time() - left < OUTLIVE_SECONDS:
            for who, place in zip(last, (partition, f"{partition}-call"), strict=True):
                with contextlib.suppress(standard_queue.Empty):
                    last[who] = max([last[who], *queue.get_many(100, timeout=2, partition=place)])
    finally:
        call.cancel()
        subprocess.run(stop, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
    ended = [f"{who} after {max(0.0, at - left):.0f} s" for who, at in last.items() if at < left + OUTLIVE_SECONDS - 15]
    assert not ended, f"ended although detached: {', '.join(ended)}"
    return f"the head and its call still run {OUTLIVE_SECONDS} s after the client was killed"


def finding_calls_of_a_dead_head(queue: modal.Queue) -> str:
    partition = uuid.uuid4().hex
    head = dying_head.spawn(echo.object_id, queue.object_id, partition)
    child = modal.FunctionCall.from_id(str(queue.get(partition=f"{partition}-id", timeout=90)))
    with contextlib.suppress(Exception):
        head.get(timeout=60)
    head.cancel()
    try:
        child.get(timeout=60)
    except Exception as error:
        return f"they end ({type(error).__name__})"
    count = 0
    with contextlib.suppress(standard_queue.Empty):
        count = len(queue.get_many(100, timeout=1, partition=partition))
    return f"they keep running ({count} messages arrived); the ledger finds and ends them"


CHECKS: dict[str, Callable[[modal.Queue], str]] = {
    "spawn by id from a Ray worker": check_spawn_from_ray,
    "queue latency": check_queue_latency,
    "cancel reaches the trial": check_cancel,
    "its container exits": check_container_exits,
    "a committed file is visible elsewhere": check_commit_is_visible,
    "file operations on a Volume": check_files,
    "GPU": check_gpu,
    "recovery from a lost container": check_lost_container,
    "last commit of a cancelled call": check_last_commit,
    "detached calls outlive the client": check_closed_laptop,
    "finding: calls of a dead head": finding_calls_of_a_dead_head,
}


@contextlib.contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    began = time.monotonic()
    yield lambda: time.monotonic() - began


@app.local_entrypoint()
def main(*arglist: str) -> None:
    """Run all checks, or those with one of the given words in their name."""
    if arglist[:1] == ("leave",):
        leave(arglist[1])
        return
    failed = 0
    with modal.Queue.ephemeral() as queue:
        for name, check in CHECKS.items():
            if arglist and not any(word in name for word in arglist):
                continue
            with _timed() as seconds:
                try:
                    verdict, detail = "passed", check(queue)
                except Exception as error:
                    reason = " ".join(str(error).split())[:160]
                    verdict, detail = "FAILED", f"{type(error).__name__}: {reason}"
                    failed += 1
                print(f"{verdict:<6}  {name:<37} {seconds():6.1f} s  {detail}", flush=True)
    if failed:
        sys.exit(1)


__all__ = ["CHECKS", "app", "main"]
