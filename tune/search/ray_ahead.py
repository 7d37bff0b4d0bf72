"""A Ray cluster that starts in the background, so that it and its workers are ready once the texts are embedded."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from tune.errors import UserError
from tune.search.ray_cluster import START_SECONDS
from tune.search.ray_place import ray_place
from tune.train.setup import keep_threads

_T = TypeVar("_T")
_CLOSE_SECONDS = 60.0
"""How long to wait for a start that nobody needs any more; Ray's processes end with this one in any case."""


class Ahead(Generic[_T]):
    """A context that a thread enters, and leaves. `get` waits until it is entered, `close` until it is left.

    While Ray runs, the environment limits numeric libraries to one thread per worker; torch keeps what it has here.
    """

    def __init__(self, context: AbstractContextManager[_T]) -> None:
        keep_threads()
        self._context = context
        self._started = threading.Event()
        self._closed = threading.Event()
        self._entered: list[_T] = []
        self._error: BaseException | None = None
        self._overdue = False
        self._thread = threading.Thread(target=self._run, name="Ray's start", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # Ray's processes are killed when the thread ends that started them, so it stays.
        try:
            with self._context as entered:
                self._entered.append(entered)
                self._started.set()
                self._closed.wait()
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    def get(self) -> _T:
        """Return what the context gives. Raises what its start raised, UserError if it does not end."""
        if not self._started.wait(START_SECONDS):
            # It may wait in Ray's own code, which cannot be interrupted; Ray's processes end with this one.
            self._overdue = True
            logs = f"{ray_place().parent}/ray-*/session_latest/logs"
            raise UserError(f"Ray did not start (no answer within {START_SECONDS:g} s); see {logs}")
        if self._error is not None:
            raise self._error
        return self._entered[0]

    def close(self) -> None:
        """Leave the context, once its start has ended."""
        self._closed.set()
        if not self._overdue:
            self._thread.join(_CLOSE_SECONDS)


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Within the context, SIGTERM ends this process with exit code 143, and cleanly; only in the main thread.

    Ray sees to that itself if the main thread starts it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


__all__ = ["Ahead", "ending_on_sigterm"]
