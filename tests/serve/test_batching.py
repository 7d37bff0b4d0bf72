"""Batching: what arrives together is encoded together, within limits; who has left or fails costs nobody else."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.command import wait_for
from tests.helpers.serving import running
from tune.embed.adapted import Side
from tune.serve.app import make_app
from tune.serve.batching import Batcher, BatchLimits, QueueFullError, Vectors
from tune.serve.served import Served


@dataclass
class Counting:
    """A model whose vectors are made of the text's number and the side. While `gate` is closed, encoding waits."""

    dims: int = 2
    name: str = "counting"
    batches: list[list[str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """Return a vector for each text."""
        self.batches.append(list(texts))
        assert self.gate.wait(20)
        if "bad" in texts:
            raise ValueError("bad")
        return np.array([[float(text), float(side == "b")] for text in texts], dtype=np.float32)

    def count(self, texts: Sequence[str], side: Side) -> tuple[Vectors, list[int]]:
        """Encode, with one token for each text."""
        return self.encode(texts, side), [1] * len(texts)


def batched(limits: BatchLimits, body: Callable[[Counting, Batcher], Coroutine[Any, Any, None]]) -> Counting:
    """Run `body` with a batcher whose first batch, ["0"], is held at the gate until `body` opens it."""
    model = Counting()

    async def run() -> None:
        batcher = Batcher(model.count, limits)
        batcher.start()
        first = asyncio.create_task(batcher.encode(["0"], "a"))
        while not model.batches:
            await asyncio.sleep(0.001)
        try:
            await asyncio.wait_for(body(model, batcher), 20)
            await first
        finally:
            model.gate.set()
            await batcher.stop()

    asyncio.run(run())
    return model


def numbers(first: int, count: int) -> list[str]:
    return [str(number) for number in range(first, first + count)]


def test_waiting_requests_of_one_side_share_a_batch() -> None:
    async def body(model: Counting, batcher: Batcher) -> None:
        asked = [(numbers(10 * n, 3), "b" if n == 2 else "a") for n in range(1, 5)]
        tasks = [asyncio.create_task(batcher.encode(texts, side)) for texts, side in asked]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert batcher.waiting == 12
        model.gate.set()
        for (texts, side), (vectors, tokens) in zip(asked, await asyncio.gather(*tasks), strict=True):
            assert vectors.tolist() == [[float(text), float(side == "b")] for text in texts] and tokens == 3
        assert batcher.waiting == 0

    model = batched(BatchLimits(texts=64), body)
    assert model.batches[1:] == [numbers(10, 3) + numbers(30, 3) + numbers(40, 3), numbers(20, 3)]


def test_what_arrives_within_the_wait_is_encoded_together() -> None:
    model = Counting()
    model.gate.set()

    async def run() -> None:
        batcher = Batcher(model.count, BatchLimits(texts=4, wait=5.0))
        batcher.start()
        began = time.monotonic()
        await asyncio.gather(*(batcher.encode([str(number)], "a") for number in range(4)))
        assert time.monotonic() - began < 4, "a full batch does not wait"
        await batcher.stop()

    asyncio.run(run())
    assert model.batches == [numbers(0, 4)]


def test_a_long_request_lets_a_short_one_in_between() -> None:
    done: list[str] = []

    async def body(model: Counting, batcher: Batcher) -> None:
        async def ask(name: str, texts: list[str]) -> None:
            vectors, _ = await batcher.encode(texts, "a")
            assert vectors[:, 0].tolist() == [float(text) for text in texts]
            done.append(name)

        tasks = [asyncio.create_task(ask("long", numbers(100, 100))), asyncio.create_task(ask("short", ["7"]))]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(*tasks)

    model = batched(BatchLimits(texts=8), body)
    assert done == ["short", "long"] and max(map(len, model.batches)) == 8


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def body(model: Counting, batcher: Batcher) -> None:
        waiting = asyncio.create_task(batcher.encode(numbers(1, 12), "a"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError) as refused:
            await batcher.encode(["99"], "a")
        assert refused.value.waiting == 12 and 1 <= refused.value.seconds <= 30
        model.gate.set()
        await waiting
        assert (await batcher.encode(numbers(1, 20), "a"))[1] == 20, "an empty queue takes any request"

    batched(BatchLimits(queue=12), body)


def test_who_has_left_is_never_encoded() -> None:
    async def body(model: Counting, batcher: Batcher) -> None:
        left = asyncio.create_task(batcher.encode(numbers(50, 5), "a"))
        stays = asyncio.create_task(batcher.encode(["1"], "a"))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        model.gate.set()
        await stays

    assert batched(BatchLimits(), body).batches == [["0"], ["1"]]


def test_a_text_that_fails_fails_its_own_request_alone() -> None:
    async def body(model: Counting, batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.encode(texts, "a")) for texts in (["1"], ["bad"], ["2", "3"])]
        await asyncio.sleep(0)
        model.gate.set()
        one, bad, two = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(bad, ValueError)
        assert not isinstance(one, BaseException) and not isinstance(two, BaseException)
        assert one[0][:, 0].tolist() == [1] and two[0][:, 0].tolist() == [2, 3]

    batched(BatchLimits(), body)


def test_requests_that_buy_share_no_batch() -> None:
    async def body(model: Counting, batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.encode(numbers(10 * n, 300), "a")) for n in (1, 2)]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(*tasks)

    batches = batched(BatchLimits(merge=False, threads=2), body).batches
    assert sorted(map(len, batches)) == [1, 300, 300]


def test_over_http_a_client_that_left_frees_its_place_and_a_full_queue_is_503() -> None:
    model = Counting()
    served = Served(model, "counting", (2,), buys=False, seconds=0.0)
    answers: list[httpx.Response] = []

    def ask(url: str, texts: list[str], timeout: float = 30.0) -> httpx.Response:
        sent = {"model": "counting", "input": texts}
        return httpx.post(f"{url}/v1/embeddings", json=sent, timeout=timeout)

    def waiting(url: str) -> int:
        return int(httpx.get(f"{url}/health", timeout=30).json()["waiting"])

    with running(make_app(served, BatchLimits(queue=4))) as url:
        held = threading.Thread(target=lambda: answers.append(ask(url, ["1"])))
        held.start()
        wait_for(lambda: model.batches, 20)
        with pytest.raises(httpx.ReadTimeout):
            ask(url, ["50", "51", "52"], timeout=0.3)
        wait_for(lambda: waiting(url) == 0, 20)
        stays = threading.Thread(target=lambda: answers.append(ask(url, ["2", "3", "4"])))
        stays.start()
        wait_for(lambda: waiting(url) == 3, 20)
        busy = ask(url, ["5", "6"])
        assert busy.status_code == 503 and 1 <= int(busy.headers["retry-after"]) <= 30
        assert busy.json()["error"]["message"].startswith("the server is busy: 3 texts are waiting; try again in")
        model.gate.set()
        for thread in (held, stays):
            thread.join(30)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert model.batches == [["1"], ["2", "3", "4"]], "the client that left was not encoded"
