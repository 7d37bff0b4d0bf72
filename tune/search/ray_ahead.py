"""A Ray cluster that starts in the background, so that it and its workers are ready once the texts are embedded."""

import threading
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

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
        """Return what the context gives. Raises what its start raised."""
        self._started.wait()
        if self._error is not None:
            raise self._error
        return self._entered[0]

    def close(self) -> None:
        """Leave the context, once its start has ended."""
        self._closed.set()
        self._thread.join(_CLOSE_SECONDS)


__all__ = ["Ahead"]
