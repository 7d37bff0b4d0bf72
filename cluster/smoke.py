"""Check a real Modal account: `modal run cluster/smoke.py`. Costs a few cents; prints a line per check.

Each check is one that only Modal itself can answer, and is bounded in time. A failed check does not stop the others;
the exit code is 1 if any failed. Findings are reported, not judged.
"""

import contextlib
import fcntl
import os
import queue as standard_queue
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

from cluster import settings
from cluster.ledger import is_over

app = modal.App("embedtune-smoke")
volume = modal.Volume.from_name("embedtune-smoke", create_if_missing=True, version=2)
FILES = Path("/smoke")
SHORT = 2
"""Seconds that an idle container stays up: short, because a check waits for it to exit."""

cheap: dict[str, Any] = {"image": settings.image, "timeout": 120, "scaledown_window": SHORT}
with_files: dict[str, Any] = {**cheap, "volumes": {str(FILES): volume}}


@app.function(**cheap)
def echo(queue_id: str, partition: str, count: int, pause: float) -> str:
    """Put the current time `count` times; if interrupted, put the exception's name on the partition."""
    queue = modal.Queue.from_id(queue_id)
    try:
        for _ in range(count):
            queue.put(time.time(), partition=partition)
            time.sleep(pause)
    except BaseException as error:
        queue.put(type(error).__name__, partition=partition)
        raise
    return os.environ.get("MODAL_TASK_ID", "")


@app.function(**cheap)
def from_ray(function_id: str, queue_id: str, partition: str) -> list[str]:
    """Spawn a call by id from a Ray worker process, as the head's actors do, and read the queue there."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)

    @ray.remote
    def work() -> list[str]:
        call = modal.Function.from_id(function_id).spawn(queue_id, partition, 1, 0.0)
        modal.Queue.from_id(queue_id).get(partition=partition, timeout=60)
        return [call.object_id, str(call.get(timeout=60))]

    try:
        answer: list[str] = ray.get(work.remote(), timeout=100)
        return answer
    finally:
        ray.shutdown()


@app.function(**with_files)
def write(name: str) -> str:
    """Write and commit a file."""
    (FILES / name).write_text(name)
    volume.commit()
    return os.environ.get("MODAL_TASK_ID", "")


@app.function(**with_files)
def read(name: str) -> str:
    """Return the file as another function's container sees it after a reload."""
    volume.reload()
    return (FILES / name).read_text()


@app.function(**with_files)
def use_files(name: str) -> list[str]:
    """Do what the search does with files on a Volume; return what fails."""
    folder = FILES / name
    folder.mkdir()

    def lock() -> None:
        with open(folder / "lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def replace_open() -> None:
        (folder / "a").write_text("1")
        with open(folder / "a") as handle:
            (folder / "b").write_text("2")
            (folder / "b").replace(folder / "a")
            handle.read()

    def rename_folder() -> None:
        (folder / "part").mkdir()
        (folder / "part" / "x").write_text("x")
        os.rename(folder / "part", folder / "whole")

    def append() -> None:
        for text in ("one", "two"):
            with open(folder / "log", "a") as handle:
                handle.write(text)
        if (folder / "log").read_text() != "onetwo":
            raise OSError("appended text was lost")

    failures = []
    for work in (lock, replace_open, rename_folder, append, volume.commit, volume.reload):
        try:
            work()
        except Exception as error:
            failures.append(f"{getattr(work, '__name__', 'volume')}: {error!r}")
    return failures


@app.function(**{**with_files, "gpu": settings.TRIAL_GPUS})
def gpu() -> str:
    """Return the name of the GPU, "" if there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


@app.function(**with_files, retries=modal.Retries(max_retries=2, initial_delay=0.0, backoff_coefficient=1.0))
def lose_container(name: str) -> int:
    """Lose the container in the first attempt, after a commit; return the number of the attempt that ends."""
    volume.reload()
    marker = FILES / name
    attempt = int(marker.read_text()) + 1 if marker.exists() else 1
    marker.write_text(str(attempt))
    volume.commit()
    if attempt == 1:
        os._exit(137)  # like a lost container: no exit handler, no result
    return attempt


@app.function(**cheap)
def dying_head(function_id: str, queue_id: str, partition: str) -> None:
    """Spawn a call and die."""
    call = modal.Function.from_id(function_id).spawn(queue_id, partition, 15, 1.0)
    modal.Queue.from_id(queue_id).put(call.object_id, partition=f"{partition}-id")
    time.sleep(1)
    os._exit(137)


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
    while not is_over(call.object_id):
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
    "finding: calls of a dead head": finding_calls_of_a_dead_head,
}


@contextlib.contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    began = time.monotonic()
    yield lambda: time.monotonic() - began


@app.local_entrypoint()
def main(*arglist: str) -> None:
    """Run all checks, or those with one of the given words in their name."""
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
