"""Dynamic batching: texts of requests that arrive together are encoded together, in threads of their own.

The queue is bounded. A long request is encoded in pieces, with others in between; a request that nobody waits for any
more leaves the queue.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tune.embed.adapted import Side

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str], Side], tuple[Vectors, list[int]]]
"""Texts and side -> vectors [n, dims] and the tokens of each text."""

_LONGEST_WAIT = 30
"""Seconds after which a refused client is told to try again, at most."""


@dataclass(frozen=True)
class BatchLimits:
    """texts: encoded together at most. wait: seconds that the first one waits for more. queue: texts that may wait.

    threads: batches at a time. merge: whether requests may share a batch, and long ones be cut into pieces. Where texts
    are bought, one request must not pay for another's failure.
    """

    texts: int = 256
    wait: float = 0.002
    queue: int = 8192
    threads: int = 1
    merge: bool = True


class QueueFullError(Exception):
    """Too many texts are waiting. seconds: until it is worth trying again, a whole number."""

    def __init__(self, waiting: int, seconds: int) -> None:
        self.waiting, self.seconds = waiting, seconds
        super().__init__(f"{waiting} texts are waiting")


@dataclass(eq=False)
class _Job:
    """A request: how many of its texts were taken, and the finished pieces by their first text's position."""

    texts: Sequence[str]
    side: Side
    answer: "asyncio.Future[tuple[Vectors, int]]"
    arrived: float
    taken: int = 0
    done: dict[int, tuple[Vectors, list[int]]] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return len(self.texts) - self.taken


@dataclass(frozen=True)
class _Piece:
    job: _Job
    start: int
    texts: Sequence[str]


class Batcher:
    """Encodes texts for many callers of one event loop. Use it between `start` and `stop`."""

    def __init__(self, encode: Encode, limits: BatchLimits) -> None:
        self._encode, self._limits = encode, limits
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._rate = 0.0  # texts per second, of late
        self._some, self._full = asyncio.Event(), asyncio.Event()
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="encode")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Texts in the queue."""
        return self._waiting

    def start(self) -> None:
        """Begin to encode; called in the event loop."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._limits.threads)]

    async def stop(self) -> None:
        """End; requests that are still in the queue are cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._jobs:
            job.answer.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def encode(self, texts: Sequence[str], side: Side) -> tuple[Vectors, int]:
        """Return vectors, float32 [n, dims], and the number of tokens. Raises QueueFullError, or what encoding raises.

        When the caller is cancelled, what has not been encoded yet never is.
        """
        if self._waiting and self._waiting + len(texts) > self._limits.queue:
            wait = math.ceil(self._waiting / self._rate) if self._rate else 1
            raise QueueFullError(self._waiting, min(max(wait, 1), _LONGEST_WAIT))
        job = _Job(texts, side, asyncio.get_running_loop().create_future(), time.monotonic())
        self._jobs.append(job)
        self._count(len(texts))
        try:
            return await job.answer
        finally:
            self._drop(job)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            await self._gather()
            if not (pieces := self._take()):
                continue
            began = time.monotonic()
            outcomes = await loop.run_in_executor(self._threads, self._encoded, pieces)
            texts = sum(len(piece.texts) for piece in pieces)
            rate = texts / max(time.monotonic() - began, 1e-6)
            self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate
            for piece, outcome in zip(pieces, outcomes, strict=True):
                self._deliver(piece, outcome)

    async def _gather(self) -> None:
        """Wait for more texts, but none for longer than the limit; what arrived while others were encoded has waited.

        A worker of several may find the queue empty afterwards.
        """
        if not self._limits.merge or not self._jobs:
            return
        left = self._jobs[0].arrived + self._limits.wait - time.monotonic()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), left)

    def _take(self) -> list[_Piece]:
        """Take the next texts of one side from the queue. A request with texts left goes to its end."""
        pieces: list[_Piece] = []
        if not self._jobs:
            return pieces
        side, room, again = self._jobs[0].side, self._limits.texts, []
        for job in list(self._jobs):
            if job.side != side:
                continue
            count = min(job.left, room) if self._limits.merge else job.left
            pieces.append(_Piece(job, job.taken, job.texts[job.taken : job.taken + count]))
            job.taken += count
            room -= count
            self._count(-count)
            self._jobs.remove(job)
            if job.left:
                again.append(job)
            if room <= 0 or not self._limits.merge:
                break
        self._jobs.extend(again)
        self._count(0)
        return pieces

    def _encoded(self, pieces: list[_Piece]) -> list[tuple[Vectors, list[int]] | Exception]:
        """Encode pieces as one batch, in a thread; one by one if that fails, so that each gets its own outcome."""
        texts = [text for piece in pieces for text in piece.texts]
        try:
            vectors, tokens = self._encode(texts, pieces[0].job.side)
        except Exception as error:
            return [error] if len(pieces) == 1 else [self._encoded([piece])[0] for piece in pieces]
        outcomes: list[tuple[Vectors, list[int]] | Exception] = []
        start = 0
        for piece in pieces:
            end = start + len(piece.texts)
            outcomes.append((vectors[start:end], tokens[start:end]))
            start = end
        return outcomes

    def _deliver(self, piece: _Piece, outcome: tuple[Vectors, list[int]] | Exception) -> None:
        job = piece.job
        if job.answer.done():
            return
        if isinstance(outcome, Exception):
            job.answer.set_exception(outcome)
            return
        job.done[piece.start] = outcome
        if sum(len(tokens) for _, tokens in job.done.values()) == len(job.texts):
            parts = [job.done[start] for start in sorted(job.done)]
            job.answer.set_result((np.concatenate([part[0] for part in parts]), sum(sum(part[1]) for part in parts)))

    def _drop(self, job: _Job) -> None:
        with contextlib.suppress(ValueError):
            self._jobs.remove(job)
            self._count(-job.left)

    def _count(self, change: int) -> None:
        self._waiting += change
        (self._some.set if self._jobs else self._some.clear)()
        (self._full.set if self._waiting >= self._limits.texts else self._full.clear)()
