"""When a process of Ray dies under a search, the search ends within seconds, with a word on what happened.

Ray's own code would wait for a minute, print where in its code the process is, and end it with exit code 1. Neither the
trials' directories nor any other file needs an orderly end, so this process is simply ended, after `last_words`.
"""

import contextlib
import itertools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import ray

from tune.errors import TERMINATED

LastWords = Callable[[str], int]
"""Says why this process ends now, and returns its exit code."""

_LOOK_SECONDS = 0.25
_GRACE_SECONDS = 3.0
"""How long this process may take to end by itself, if SIGTERM went to Ray's processes and perhaps to this one too."""


@contextlib.contextmanager
def watched(folder: Path, last_words: LastWords | None) -> Iterator[None]:
    """Within the context, watch the processes of the Ray that this process has started. folder: Ray's own.

    last_words: None to watch nothing.
    """
    if last_words is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(over, folder, last_words), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(over: threading.Event, folder: Path, last_words: LastWords) -> None:
    node: Any = ray._private.worker._global_node
    below = _processes_of(node)
    while not over.wait(_LOOK_SECONDS):
        dead = [(name, process.returncode) for name, process in node.dead_processes()]
        if not dead:
            continue
        [(name, code), *_] = dead
        asked = code in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        if asked and over.wait(_GRACE_SECONDS):
            return
        said = last_words("" if asked else f"Ray's {name} ended unexpectedly ({_how(code)})")
        sys.stdout.flush()
        sys.stderr.flush()
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(TERMINATED if asked else said)


def _processes_of(node: Any) -> list[psutil.Process]:
    """Return Ray's own processes and their children: agents, which would outlive them by a minute."""
    found = []
    for info in itertools.chain.from_iterable(node.all_processes.values()):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(info.process.pid)
            found += [process, *process.children(recursive=True)]
    return found


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
