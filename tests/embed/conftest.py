"""The embedding server for all tests of closed models, with a clean environment for every test."""

import threading
from collections.abc import Iterator

import pytest

from tests.helpers.embed_server import KEY, EmbedServer, embed_server


@pytest.fixture(scope="module")
def one_server() -> Iterator[EmbedServer]:
    """A server for the tests of a module; no request threads may be left at the end."""
    with embed_server() as server:
        yield server
    assert not [thread for thread in threading.enumerate() if thread.name == "embed request"]


@pytest.fixture
def server(one_server: EmbedServer, monkeypatch: pytest.MonkeyPatch) -> EmbedServer:
    """The server after a reset, with its key in the environment and no other address."""
    one_server.reset()
    for variable in ("OPENAI_BASE_URL", "CO_API_URL", "CO_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return one_server
