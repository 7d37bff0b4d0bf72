"""What `cluster/smoke.py` runs in containers: small functions, each for one question that only Modal can answer."""

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import modal

from cluster import settings

app = modal.App("embedtune-smoke")
volume = modal.Volume.from_name("embedtune-smoke", create_if_missing=True, version=2)
FILES = Path("/smoke")
OUTLIVE_SECONDS = 150
"""How long calls are watched after their client is gone: longer than the heartbeats that Modal may miss."""
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


@app.function(**with_files)
def commit_last(queue_id: str, partition: str, name: str) -> None:
    """Wait for a cancel; then take a moment to write and commit a file, as a trial does."""
    try:
        modal.Queue.from_id(queue_id).put("begun", partition=partition)
        time.sleep(100)
    finally:
        time.sleep(1)
        (FILES / name).write_text(name)
        volume.commit()


@app.function(**{**cheap, "timeout": 2 * OUTLIVE_SECONDS})
def tick(queue_id: str, partition: str) -> None:
    """Put the time every second."""
    queue = modal.Queue.from_id(queue_id)
    while True:
        queue.put(time.time(), partition=partition)
        time.sleep(1)


@app.function(**{**cheap, "timeout": 2 * OUTLIVE_SECONDS})
def abandoned_head(function_id: str, queue_id: str, partition: str) -> None:
    """Spawn a call, say which and in which app, and go on putting the time."""
    queue = modal.Queue.from_id(queue_id)
    call = modal.Function.from_id(function_id).spawn(queue_id, f"{partition}-call")
    queue.put([call.object_id, app.app_id], partition=f"{partition}-ids")
    tick.local(queue_id, partition)


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


__all__ = [
    "OUTLIVE_SECONDS",
    "SHORT",
    "abandoned_head",
    "app",
    "commit_last",
    "dying_head",
    "echo",
    "from_ray",
    "gpu",
    "lose_container",
    "read",
    "tick",
    "use_files",
    "volume",
    "write",
]
