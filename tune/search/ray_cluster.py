"""The Ray cluster of a search: start one on this machine, or join an existing one."""

import contextlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray._private import utils

from tune.config.search import SearchConfig
from tune.errors import Terminated, UserError, terminate
from tune.logs import only_from, replaced
from tune.machine import address_space, usable_cores
from tune.search.ray_deaths import LastWords, watched
from tune.search.ray_place import keep, last_log_line, new_ray_folder, own_environment, ray_place
from tune.search.ray_processes import only_for_trials, unprinted

SLOT = "trial_slot"
"""The Ray resource of a trial that only waits here for a container elsewhere."""

START_SECONDS = 90.0
"""Ray starts in a few seconds; on a busy machine or a slow disk in tens of them."""
_INTERRUPT_SECONDS = 5.0
"""How long an interrupted start may take to end."""

WORKER = "tune.search.worker"
"""The module that workers of trials import ahead."""

_OBJECT_STORE = 200 * 1024 * 1024
"""Trials read their data from disk. Ray's default, 30% of memory, would be too much for a container's /dev/shm."""


@contextlib.contextmanager
def connected(
    config: SearchConfig, jobs: int, last_words: LastWords | None = None
) -> Iterator[tuple[dict[str, float], int]]:
    """Connect to a Ray cluster: the one at `ray_address`, or one started here with `jobs` CPUs.

    last_words: if given, this process ends after it when a process of the cluster started here dies; see `watched`.

    Yields a trial's resources and how many trials fit into the cluster. Raises UserError if there is no cluster at the
    address, or if a trial would never fit into it.
    """
    address = config.search.ray_address
    with _ending_on_sigterm(), started(WORKER, last_words, num_cpus=jobs) if address is None else _joined(address):
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = config.search.gpus_per_trial
        if gpus is None:
            # A Dense layer trains as fast without a GPU; a whole model does not.
            gpus = 1.0 if config.whole and have.get("GPU", 0.0) >= 1 else 0.0
        for name, needed in (("GPU", gpus), ("CPU", 1.0)):
            if have.get(name, 0.0) < needed:
                raise UserError(
                    f"the Ray cluster has {have.get(name, 0.0):g} {name}s; a trial needs {needed:g}, so none can start"
                )
        fitting = min(int(have[name] / needed + 1e-9) for name, needed in (("GPU", gpus), ("CPU", 1.0)) if needed)
        yield {"cpu": 1.0, **({"gpu": gpus} if gpus else {})}, fitting


@contextlib.contextmanager
def slots(jobs: int) -> Iterator[dict[str, float]]:
    """Start Ray on this machine with `jobs` trial slots; yield a trial's resources.

    Such a trial only waits here for a container elsewhere, so it takes a slot and no CPU.
    """
    with started(num_cpus=usable_cores(), resources={SLOT: float(jobs)}):
        yield {"cpu": 0, SLOT: 1}


@contextlib.contextmanager
def started(preload: str = "", last_words: LastWords | None = None, **options: Any) -> Iterator[None]:
    """Start Ray on this machine, and stop it at the end. options: of `ray.init`.

    preload: a module that Ray's workers import as they start, before they have anything to do; "" for none.
    last_words: see `watched`.

    Raises UserError if Ray does not start; its logs are then kept. Otherwise nothing is left of it.
    """
    with new_ray_folder(ray_place()) as folder, own_environment(folder, preload):
        _start(folder, options)
        # Ray opens its folder to every user.
        folder.chmod(0o700)
        try:
            with unprinted(), watched(folder, last_words):
                yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, options: dict[str, Any]) -> None:
    try:
        # Ray remarks on tokens while it starts; errors are raised anyway.
        with _time_limit(folder), only_from(logging.CRITICAL, "ray"), only_for_trials(), _own_sigterm():
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                object_store_memory=_OBJECT_STORE,
                _temp_dir=str(folder),
                **options,
            )
    except Exception as error:
        raise UserError(_not_started(folder, " ".join(str(error).split()))) from error
    except BaseException:
        # Ctrl-C: Ray's processes end with this one, and nobody needs their logs.
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _not_started(folder: Path, reason: str) -> str:
    keep(folder)
    limit = address_space()
    limited = "" if limit is None else f"; ulimit -v limits this process to {limit / 2**30:.3g} GiB, raise that first"
    logged = last_log_line(folder)
    ending = f"; the last line of its log: {logged}" if logged else ""
    return f"Ray did not start ({reason[:300]}){limited}{ending}; see {folder}/session_latest/logs"


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Within the context, SIGTERM raises Terminated, as Ctrl-C does KeyboardInterrupt; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        told.append(number)
        terminate(number, frame)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt as error:
        if told and not isinstance(error, Terminated):
            # Where Ray waits, it raises a plain one in place of what a handler raised.
            raise Terminated from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM while Ray starts, which installs its own.

    Those exit with other codes, or print where in Ray's code the process is, and may abort it. If Ray no longer sets
    them by `ray._private.utils.set_sigterm_handler`, they are replaced when Ray has started.
    """
    before = signal.getsignal(signal.SIGTERM)
    known = hasattr(utils, "set_sigterm_handler")
    with replaced(utils, "set_sigterm_handler", lambda handler: None) if known else contextlib.nullcontext():
        yield
    if threading.current_thread() is threading.main_thread():
        # Also in place of the one in C++.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


class _TimedOut(Exception):
    """Ray's start took too long."""


@contextlib.contextmanager
def _time_limit(folder: Path) -> Iterator[None]:
    """Raise _TimedOut in the main thread after START_SECONDS, or if it waits in Ray's own code, end the process.

    A wait in there cannot be interrupted. The process then ends as it does for any UserError, with one line and exit
    code 2, and Ray's processes end with it.
    """
    reason = f"no answer within {START_SECONDS:g} s"

    def end() -> None:
        os.write(2, f"error: {_not_started(folder, reason)}\n".encode(errors="replace"))
        os._exit(2)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TimedOut(reason)

    timer = threading.Timer(START_SECONDS + _INTERRUPT_SECONDS, end)
    timer.daemon = True
    timer.start()
    alarmed = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, interrupt) if alarmed else None
    # Another timer, such as a test's, resumes afterwards.
    running = signal.setitimer(signal.ITIMER_REAL, START_SECONDS) if alarmed else (0.0, 0.0)
    try:
        yield
    finally:
        timer.cancel()
        if alarmed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, *running)


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    try:
        with _own_sigterm():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"[search] ray_address: cannot join a Ray cluster at {address} ({reason})") from None
    try:
        yield
    finally:
        ray.shutdown()
