"""Requests in flight: a bounded number, each answer handed over at once, a refused batch asked for in parts."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, TypeVar

from tune.errors import ModelError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Again(Generic[Item]):
    """In place of an answer: ask these items instead."""

    items: list[Item]


class Partial(ModelError):
    """A failure that leaves a part of the answer usable. item, answer: that part."""

    def __init__(self, line: str, item: object, answer: object) -> None:
        super().__init__(line)
        self.item, self.answer = item, answer


def ask_all(
    ask: Callable[[Item], Answer | Again[Item]], items: Iterable[Item], most: int
) -> Iterator[tuple[Item, Answer]]:
    """Yield (item, ask(item)) as answers arrive, with at most `most` under way or waiting for the caller.

    Items of an `Again` are asked next. After the first exception nothing more is asked; answers under way and the
    answer of a `Partial` are yielded, then it is raised. The threads are daemons, so Ctrl-C does not wait for a server
    that hangs.
    """
    asked: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[Item, Answer | Again[Item] | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        while (job := asked.get()) is not None:
            try:
                answers.put((job[0], ask(job[0]), None))
            except Exception as error:
                answers.put((job[0], None, error))

    waiting = iter(items)
    first = list(islice(waiting, most))
    threads = [threading.Thread(target=work, daemon=True, name="embed request") for _ in first]
    for thread in threads:
        thread.start()
    for item in first:
        asked.put((item,))
    open_requests, failure = len(first), None
    try:
        while open_requests:
            item, answer, error = answers.get()
            open_requests -= 1
            if isinstance(answer, Again):
                waiting = chain(answer.items, waiting)
            elif error is None:
                yield item, answer  # type: ignore[misc]
            elif isinstance(error, Partial):
                yield error.item, error.answer  # type: ignore[misc]
            failure = failure or error
            if failure is None:
                for following in islice(waiting, 1):
                    asked.put((following,))
                    open_requests += 1
    finally:
        for _ in threads:
            asked.put(None)
    for thread in threads:
        thread.join()
    if failure is not None:
        raise failure
