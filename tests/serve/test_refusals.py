"""What the server refuses: a 4xx with one sentence in OpenAI's form, never a traceback, and it goes on serving."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from tests.helpers.serving import running, save_export, some_texts
from tune.embed.adapted import Side
from tune.serve.app import broken_app, make_app
from tune.serve.requests import MOST_BYTES
from tune.serve.served import Served, load_served

KEY = "sesame-0123"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return load_served(save_export(tmp_path_factory.mktemp("refusals"), by_dims={"8": {}, "32": {}}))


@pytest.fixture(scope="module")
def url(served: Served) -> Iterator[str]:
    with running(make_app(served)) as url:
        yield url
        asked = {"model": "tickets", "input": "t1w1"}
        assert httpx.post(f"{url}/v1/embeddings", json=asked, timeout=60).status_code == 200, "it still serves"


def refused(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check the form of a refusal; return the error."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text and len(body["error"]["message"]) < 300
    return dict(body["error"])


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"input": None}, "input", "input is missing; give a string or a list of strings"),
        ({"input": ""}, "input", "string 1 of input is empty; leave it out"),
        ({"input": ["t1w1", " \n"]}, "input", "string 2 of input is empty; leave it out"),
        ({"input": []}, "input", "input is an empty list"),
        ({"input": 7}, "input", "input must be a string or a list of strings, not 7"),
        ({"input": {"text": "a"}}, "input", "input must be a string or a list of strings, not an object"),
        ({"input": ["t1w1", None]}, "input", "string 2 of input is null, not a string"),
        ({"input": [1, 2, 3]}, "input", "input is tokens; this server takes strings only"),
        ({"input": [[1, 2], [3]]}, "input", "input is tokens; this server takes strings only"),
        ({"input": ["t1w1"] * 2049}, "input", "input has 2,049 strings; a request takes at most 2,048"),
        ({"input": "half \ud83d"}, "input", "string 1 of input has half a surrogate pair"),
        ({"model": None}, "model", "model is missing; this server has tickets"),
        ({"model": 3}, "model", "model is missing; this server has tickets"),
        ({"encoding_format": "int8"}, "encoding_format", "encoding_format must be float or base64, not 'int8'"),
        ({"encoding_format": ["float"]}, "encoding_format", "encoding_format must be float or base64, not a list"),
        ({"dimensions": 16}, "dimensions", "dimensions must be 8 or 32 for this model, not 16"),
        ({"dimensions": "8"}, "dimensions", "dimensions must be 8 or 32 for this model, not '8'"),
        ({"dimensions": True}, "dimensions", "dimensions must be 8 or 32 for this model, not true"),
        ({"input_type": "passage"}, "input_type", "input_type must be query or document, not 'passage'"),
        ({"model": "tickets:query", "input_type": "document"}, "input_type", "name two sides; give only one"),
        ({"inputs": "t1w1"}, "inputs", "no parameter 'inputs'; there are model, input"),
        ({"\ud83d": "t1w1"}, "?", "no parameter '?'; there are model, input"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(url: str, changes: dict[str, Any], param: str, message: str) -> None:
    sent = {"model": "tickets", "input": "t1w1", **changes}
    headers = {"Content-Type": "application/json"}
    error = refused(httpx.post(f"{url}/v1/embeddings", content=json.dumps(sent), headers=headers), 400)
    assert message in error["message"] and error["param"] == param and error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not valid JSON"),
        (b'{"model": "tickets", "input": ', "the body is not valid JSON"),
        (b"\xff\xfe\x00", "the body is not valid JSON"),
        (b"[" * 100_000, "the body is not valid JSON"),
        (b'["t1w1"]', "the body must be a JSON object with model and input"),
    ],
)
def test_a_body_that_is_no_request_is_refused(url: str, body: bytes, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert message in refused(httpx.post(f"{url}/v1/embeddings", content=body, headers=headers), 400)["message"]


def test_other_paths_methods_and_types_are_refused(url: str) -> None:
    found = refused(httpx.get(f"{url}/v1/embeddings"), 405)
    assert found["message"].startswith("GET /v1/embeddings is not served; there are POST /v1/embeddings")
    assert "POST /embeddings is not served" in refused(httpx.post(f"{url}/embeddings", json={}), 404)["message"]
    assert "application/json, not text/plain" in refused(
        httpx.post(f"{url}/v1/embeddings", content="{}", headers={"Content-Type": "text/plain"}), 415
    )["message"]  # fmt: skip


def test_another_model_does_not_exist(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
    with pytest.raises(
        openai.NotFoundError, match="'other' does not exist; this server has tickets, tickets:query"
    ) as e:
        client.embeddings.create(model="other", input="t1w1")
    assert e.value.code == "model_not_found"


@pytest.mark.parametrize("told", [True, False])
def test_a_body_that_is_too_large_is_refused(url: str, told: bool) -> None:
    piece = b"x" * 2**20

    def chunks() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // len(piece) + 2):
            yield piece

    headers = {"Content-Type": "application/json", **({"Content-Length": str(MOST_BYTES + 2**21)} if told else {})}
    try:
        answer = httpx.post(f"{url}/v1/embeddings", content=chunks(), headers=headers, timeout=60)
    except httpx.WriteError:
        return  # the server had answered and closed before everything was sent
    assert "the body has more than 16 MiB" in refused(answer, 413)["message"]


def test_the_key_is_required_where_there_is_one(served: Served) -> None:
    with running(make_app(served, key=KEY)) as url:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}, {"Authorization": b"Bearer \xe9"}):
            for answer in (
                httpx.post(f"{url}/v1/embeddings", json={"model": "tickets", "input": "t1w1"}, headers=given),
                httpx.get(f"{url}/v1/models", headers=given),
            ):
                error = refused(answer, 401)
                assert error["code"] == "invalid_api_key" and KEY not in answer.text
                assert answer.headers["www-authenticate"] == "Bearer"
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        assert len(client.embeddings.create(model="tickets", input="t1w1").data[0].embedding) == 32
        with pytest.raises(openai.AuthenticationError, match="the API key is wrong; send the header Authorization"):
            client.with_options(api_key="wrong").models.list()
        assert httpx.get(f"{url}/health").status_code == 200, "health needs none"


class Failing:
    """A model that cannot encode one word."""

    dims, name = 2, "failing"

    def encode(self, texts: Sequence[str], side: Side = "a") -> NDArray[np.float32]:
        """Return equal vectors."""
        if "poison" in texts:
            raise RuntimeError("secret detail")
        return np.tile(np.float32([0.6, 0.8]), (len(texts), 1))


def test_a_failure_inside_is_a_sentence_and_its_cause_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    model = Served(Failing(), "failing", (2,), buys=False, seconds=0.0)
    with caplog.at_level(logging.ERROR), running(make_app(model)) as url:
        error = refused(httpx.post(f"{url}/v1/embeddings", json={"model": "failing", "input": "poison"}), 500)
        assert error["message"] == "the server failed; its log says why" and error["type"] == "server_error"
        assert httpx.post(f"{url}/v1/embeddings", json={"model": "failing", "input": "fine"}).status_code == 200
    assert "secret detail" in caplog.text and "POST /v1/embeddings failed" in caplog.text


def test_an_application_without_a_model_says_why() -> None:
    with running(broken_app("results/none has no best/")) as url:
        for answer in (httpx.get(f"{url}/health"), httpx.post(f"{url}/v1/embeddings", json={})):
            assert refused(answer, 500)["message"] == "results/none has no best/"
    with running(broken_app("results/none has no best/", KEY)) as url:
        assert "results" not in refused(httpx.get(f"{url}/v1/models"), 401)["message"], "strangers are not told why"
        told = httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        assert refused(told, 500)["message"] == "results/none has no best/"


def test_a_client_that_leaves_half_way_through_its_body_does_no_harm(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
        )
        time.sleep(0.05)


def test_texts_beyond_the_model_s_limit_are_cut_as_encode_cuts_them(url: str, served: Served) -> None:
    long = " ".join(some_texts(200))
    answer = httpx.post(f"{url}/v1/embeddings", json={"model": "tickets", "input": long}, timeout=60).json()
    expected = served.model.encode([long])[0]
    assert np.abs(np.array(answer["data"][0]["embedding"]) - expected).max() < 1e-6


def test_the_event_loop_stays_free_while_texts_are_encoded(url: str) -> None:
    async def during() -> list[float]:
        async with httpx.AsyncClient(timeout=60) as client:
            sent = {"model": "tickets", "input": some_texts(2048)}
            work = asyncio.create_task(client.post(f"{url}/v1/embeddings", json=sent))
            seconds = []
            while not work.done():
                began = time.monotonic()
                assert (await client.get(f"{url}/health")).status_code == 200
                seconds.append(time.monotonic() - began)
                await asyncio.sleep(0.02)
            assert work.result().status_code == 200
            return seconds

    seconds = asyncio.run(during())
    assert len(seconds) >= 3 and sorted(seconds)[len(seconds) // 2] < 0.5
