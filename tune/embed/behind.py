"""Work that one thread does while another prepares what comes next, such as writing files."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec

P = ParamSpec("P")


@contextmanager
def behind(work: Callable[P, object]) -> Iterator[Callable[P, None]]:
    """Yield a function that calls `work` in another thread and returns at once: one call after the other.

    It waits while the call before runs, so that no more than one is on its way, and raises that call's error. Leaving
    the context waits as well, and raises the error of the last call unless there is another one already.
    """
    waiting: Future[object] | None = None

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal waiting
        if waiting is not None:
            waiting.result()
        waiting = pool.submit(work, *args, **kwargs)

    with ThreadPoolExecutor(1, "behind") as pool:
        yield call
        if waiting is not None:
            waiting.result()
