"""Requests in flight and failing ones: bounded, retried by the SDK, one line per failure, nothing bought is lost."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embed.closed.shared import COHERE, COHERE_256, OPENAI, TEXTS, prompt_of, snapshot_of, source_of, stored
from tests.helpers.command import wait_for
from tests.helpers.embed_server import KEY, EmbedServer, embed
from tune.embed.closed import ClosedOptions, ClosedSource
from tune.embed.closed._asking import ask_all
from tune.embed.snapshot import text_key
from tune.errors import ModelError


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_requests_in_flight_are_bounded(server: EmbedServer, name: str) -> None:
    server.delay = 0.05
    source = source_of(server, name, max_in_flight=3, texts_per_request=5)
    batches = [positions for positions, _ in source.embed_batches(TEXTS, prompt_of(source))]
    assert sorted(position for positions in batches for position in positions) == list(range(100))
    assert server.book.most_open == 3


def test_a_batch_is_yielded_at_once_and_no_more_is_requested_than_is_taken(server: EmbedServer) -> None:
    source = source_of(server, max_in_flight=2)
    batches = source.embed_batches(TEXTS, "")
    next(batches)
    wait_for(lambda: len(server.book.requests) >= 2, 10)
    time.sleep(0.2)
    assert len(server.book.requests) == 2, "one taken but not stored, one waiting"
    batches.close()


def test_the_first_failure_is_raised_after_the_answers_under_way() -> None:
    late = threading.Event()

    def ask(item: int) -> int:
        if item == 1:
            raise ModelError("broken")
        if item == 0:
            late.wait(5)
        return item

    answers = ask_all(ask, range(10), 3)
    assert next(answers) == (2, 2)
    late.set()
    got: list[int] = []
    with pytest.raises(ModelError, match="broken"):
        got.extend(item for item, _ in answers)
    assert 0 in got and len(got) <= 2


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_a_storm_of_429_buys_nothing_twice(server: EmbedServer, tmp_path: Path, name: str) -> None:
    source = source_of(server, name, max_in_flight=2)
    snapshot = snapshot_of(source, tmp_path)
    server.fault_from("rate_limit", 4)
    with pytest.raises(ModelError, match=r"too many requests \(429\).*30 of 100 texts are kept") as caught:
        snapshot.embed(source, prompt_of(source), TEXTS)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert len(stored(snapshot_of(source, tmp_path), source)) == 30
    server.fault_from("rate_limit", 10_000)
    assert snapshot.embed(source, prompt_of(source), TEXTS) == 70
    assert set(server.book.texts().values()) == {1} and len(server.book.texts()) == 100


@pytest.mark.parametrize(("name", "kind"), [(OPENAI, "rate_limit"), (COHERE, "rate_limit"), (OPENAI, "error")])
def test_the_sdk_retries(server: EmbedServer, name: str, kind: Any) -> None:
    server.fault(kind, 1)
    source = source_of(server, name, max_retries=1)
    began = time.monotonic()
    assert source.embed(TEXTS[:3], prompt_of(source)).shape == (3, 1536)
    assert kind == "error" or time.monotonic() - began >= 1, "Retry-After is respected"
    assert set(server.book.texts().values()) == {1}


FAILURES = [
    (OPENAI, "quota", r"quota or credit is used up \(429\)"),
    (COHERE_256, "quota", r"quota or credit is used up \(402\)"),
    (COHERE_256, "month", r"quota or credit is used up \(429\)"),
    (OPENAI, "rate_limit", r"too many requests \(429\)"),
    (OPENAI, "error", r"failed \(500\), even after 0 retries"),
    (COHERE_256, "error", r"failed \(500\), even after 0 retries"),
    (OPENAI, "too_long", r"exceeds the model's limit \(400\): This model's maximum"),
    (COHERE_256, "too_long", r"exceeds the model's limit \(400\): This model's maximum"),
    (OPENAI, "hang", r"no answer from 127.0.0.1:\d+/v1 within 0.5 s"),
    (COHERE_256, "hang", r"no answer from 127.0.0.1:\d+ within 0.5 s"),
    (OPENAI, "cut", "no connection to .* or it was cut"),
    (COHERE_256, "cut", "no connection to .* or it was cut"),
    (COHERE_256, "wrong_order", "not in the order of the texts"),
    (OPENAI, "same_index", "cannot be put in order"),
    (OPENAI, "short", "10 texts were sent and 9 vectors came back; the answer was discarded"),
    (COHERE_256, "short", "10 texts were sent and 9 vectors came back; the answer was discarded"),
    (OPENAI, "other_dims", "got vectors of 1535 dims instead of 1536"),
    (COHERE_256, "other_dims", "got vectors of 255 dims instead of 256"),
    (OPENAI, "ragged", "differ in length"),
    (COHERE_256, "ragged", "differ in length"),
    (OPENAI, "page", "not a list of vectors; check base_url"),
    (OPENAI, "empty", "not a list of vectors; check base_url"),
    (COHERE_256, "empty", "contains no vectors; check base_url"),
]


@pytest.mark.parametrize(("name", "kind", "says"), FAILURES)
def test_a_failure_is_one_line_and_keeps_what_was_bought(
    server: EmbedServer, tmp_path: Path, name: str, kind: Any, says: str
) -> None:
    server.fault_from(kind, 3)
    source = source_of(server, name, max_in_flight=1, timeout=0.5 if kind == "hang" else 20.0)
    snapshot = snapshot_of(source, tmp_path)
    with pytest.raises(ModelError, match=says) as caught:
        snapshot.embed(source, prompt_of(source), TEXTS)
    line = str(caught.value)
    assert line.startswith(f"base model {name}: ") and "\n" not in line and KEY not in line
    assert line.endswith("20 of 100 texts are kept, and the next run continues from there")
    assert stored(snapshot_of(source, tmp_path), source) == set(TEXTS[:20])
    server.reset()
    assert snapshot.embed(source_of(server, name), prompt_of(source), TEXTS) == 80
    keys = [text_key(prompt_of(source), text) for text in TEXTS]
    assert np.allclose(snapshot.vectors(keys), embed(TEXTS, 1536, source.dims), atol=1e-6)
    assert not set(server.book.texts()) & set(TEXTS[:20])


def test_an_unknown_model_or_server(server: EmbedServer) -> None:
    with pytest.raises(ModelError, match=r"no such model \(404\).*`text-embedding-9` does not exist"):
        source_of(server, "openai:text-embedding-9").embed(["a"])
    nobody = ClosedOptions(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(ModelError, match=r"no connection to 127.0.0.1:9/v1"):
        ClosedSource(OPENAI, nobody).embed(["a"])
    with pytest.raises(ModelError, match=r"no connection to 127.0.0.1:9/v1"):
        ClosedSource(COHERE, nobody).embed(["a"], "[search_query] ")
