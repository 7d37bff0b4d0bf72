"""The embeddings API as OpenAI's own client uses it: vectors are those of the export, whoever asks at the same time."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from tests.helpers.serving import DIMS, PROMPT_A, running, save_export, some_texts
from tune.embed.export_files import exported_in
from tune.embed.exported import Exported, load_exported
from tune.serve.app import make_app
from tune.serve.served import load_served


@dataclass(frozen=True)
class Server:
    """A server with a Matryoshka export named tickets, and the same export loaded once more."""

    url: str
    exported: Exported

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    best = save_export(tmp_path_factory.mktemp("api"), by_dims={"8": {}, "16": {}, "32": {}})
    with running(make_app(load_served(exported_in(best.parent)))) as url:
        yield Server(url, load_exported(best))


def vectors_of(answer: openai.types.CreateEmbeddingResponse) -> np.ndarray:
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return np.array([one.embedding for one in answer.data])


def near(got: np.ndarray, expected: np.ndarray) -> bool:
    return got.shape == expected.shape and bool(np.abs(got - expected).max() < 1e-6)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_are_those_of_the_export(server: Server, encoding: str) -> None:
    texts = some_texts(70)
    sent = {"model": "tickets", "input": texts, "encoding_format": encoding}
    answer = httpx.post(f"{server.url}/v1/embeddings", json=sent, timeout=60).json()
    given = [one["embedding"] for one in answer["data"]]
    if encoding == "base64":
        given = [np.frombuffer(base64.b64decode(one), "<f4") for one in given]
    expected = server.exported.encode(texts)
    assert expected.shape == (70, DIMS) and near(np.array(given), expected)
    # The client asks for base64 unless told otherwise.
    assert near(vectors_of(server.client.embeddings.create(model="tickets", input=texts)), expected)
    one = server.client.embeddings.create(model="tickets", input=texts[0], encoding_format="float")
    assert near(vectors_of(one), expected[:1]) and one.model == "tickets"


def test_a_request_names_its_side(server: Server) -> None:
    texts = some_texts(5)
    sides = {side: server.exported.encode(texts, side) for side in ("a", "b")}
    assert np.abs(sides["a"] - sides["b"]).max() > 0.01
    for word, side in (("query", "a"), ("document", "b")):
        by_field = server.client.embeddings.create(model="tickets", input=texts, extra_body={"input_type": word})
        by_name = server.client.embeddings.create(model=f"tickets:{word}", input=texts)
        assert near(vectors_of(by_field), sides[side]) and near(vectors_of(by_name), sides[side])
        assert by_name.model == f"tickets:{word}"
    assert near(vectors_of(server.client.embeddings.create(model="tickets", input=texts)), sides["a"])


def test_usage_counts_the_tokens_that_the_model_reads(server: Server) -> None:
    text, prompt = "t1w1 t1w2 t1w3", len(PROMPT_A.split())
    query = server.client.embeddings.create(model="tickets", input=[text, "t2w2"]).usage
    assert query.prompt_tokens == query.total_tokens == (3 + prompt + 2) + (1 + prompt + 2), "with [CLS] and [SEP]"
    assert server.client.embeddings.create(model="tickets:document", input=text).usage.prompt_tokens == 3 + 2
    long = " ".join(["t1w1"] * 500)
    assert server.client.embeddings.create(model="tickets", input=long).usage.prompt_tokens == 48, "it is cut there"


@pytest.mark.parametrize("dims", [8, 16, 32])
def test_fewer_dims_are_the_first_ones_as_unit_vectors(server: Server, dims: int) -> None:
    texts = some_texts(4)
    got = vectors_of(server.client.embeddings.create(model="tickets", input=texts, dimensions=dims))
    expected = server.exported.encode(texts)[:, :dims]
    assert near(got, expected / np.linalg.norm(expected, axis=1, keepdims=True))


def test_the_models_are_listed(server: Server) -> None:
    assert [model.id for model in server.client.models.list()] == ["tickets", "tickets:query", "tickets:document"]
    model = server.client.models.retrieve("tickets:query").to_dict()
    assert model["dimensions"] == [8, 16, 32] and model["input_types"] == ["query"]
    health = httpx.get(f"{server.url}/health").json()
    assert health["status"] == "ok" and health["model"] == "tickets" and health["loaded_seconds"] > 0
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        server.client.models.retrieve("other")


def test_many_clients_at_once_get_their_own_vectors(server: Server) -> None:
    client = server.client
    sides = {side: server.exported.encode(some_texts(300), side) for side in ("a", "b")}
    texts = some_texts(300)

    def ask(number: int) -> bool:
        start, count = number * 5 % 250, 1 + number % 40
        side = "ab"[number % 2]
        model = f"tickets:{'document' if side == 'b' else 'query'}"
        got = vectors_of(client.embeddings.create(model=model, input=texts[start : start + count]))
        return near(got, sides[side][start : start + count])

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(96)))


def test_a_request_may_have_2048_texts(server: Server) -> None:
    texts = some_texts(2048)
    answer = server.client.embeddings.create(model="tickets", input=texts)
    assert near(vectors_of(answer), server.exported.encode(texts))
    floats = server.client.embeddings.create(model="tickets", input=texts, encoding_format="float")
    assert near(vectors_of(floats), server.exported.encode(texts))


def test_what_has_no_export_is_refused(tmp_path: Path) -> None:
    from tune.errors import ModelError

    for path, why in ((tmp_path / "none", "does not exist"), (tmp_path, "has no embedtune.json")):
        with pytest.raises(ModelError, match=f"{path.name} is not an exported model .{why}.*results/NAME/best"):
            exported_in(path)
