"""Keys of closed models: checked without a network, sent only where they belong, never shown."""

import logging
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.embed.closed.shared import COHERE, OPENAI, TEXTS, prompt_of, snapshot_of, source_of
from tests.helpers.embed_server import KEY, EmbedServer
from tune.embed.closed import ClosedName, ClosedOptions, check_closed, clients
from tune.embed.closed.clients import KEYS
from tune.errors import ModelError


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_a_wrong_key_is_one_line_without_the_key(
    server: EmbedServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "another"
    with pytest.raises(ModelError, match=r"the key in \w+_API_KEY was rejected \(401\)") as caught:
        source = source_of(server, name)
        source.embed(["a"], prompt_of(source))
    error: BaseException | None = caught.value
    assert error is not None and error.__context__ is None and error.__cause__ is None
    assert KEY not in repr(error) and b"SECRET" not in pickle.dumps(error)


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_the_key_is_nowhere(server: EmbedServer, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(server, name)
    with caplog.at_level(logging.DEBUG):
        for logger in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "cohere"):
            caplog.set_level(logging.DEBUG, logger)
        snapshot_of(source, tmp_path).embed(source, prompt_of(source), TEXTS[:20])
        server.fault_from("error")
        with pytest.raises(ModelError):
            source.embed(["other"], prompt_of(source))
    assert caplog.records, "the SDKs' own logs are on"
    assert "SECRET" not in caplog.text and not any("SECRET" in repr(record.args) for record in caplog.records)
    pickled = pickle.dumps(source)
    assert b"SECRET" not in pickled and "SECRET" not in repr(source) + repr(vars(source))
    assert not any(b"SECRET" in file.read_bytes() for file in tmp_path.rglob("*.npy"))
    server.reset()
    copy = pickle.loads(pickled)
    assert copy.fingerprint == source.fingerprint and copy.embed(["a"], prompt_of(copy)).shape == (1, 1536)


def test_check_closed_needs_no_network(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for variable in (*KEYS["openai"], *KEYS["cohere"], "OPENAI_BASE_URL", "CO_API_URL"):
        monkeypatch.delenv(variable, raising=False)
    openai, cohere = ClosedName("openai", "text-embedding-3-small"), ClosedName("cohere", "embed-v4.0")
    official, own = ClosedOptions(), ClosedOptions(base_url="http://127.0.0.1:8080/v1")
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    for name, says in ((openai, "set OPENAI_API_KEY"), (cohere, "set COHERE_API_KEY or CO_API_KEY")):
        with pytest.raises(ModelError, match=says) as caught:
            check_closed(name, official)
        assert "\n" not in str(caught.value)
    check_closed(openai, own)
    # The provider's own address, given explicitly, requires a key too.
    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        check_closed(openai, ClosedOptions(base_url="https://api.openai.com/v1/"))
    monkeypatch.setenv("CO_API_KEY", KEY)
    check_closed(cohere, official)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u200bSECRET")
    with pytest.raises(ModelError, match="contains characters that no key has") as caught:
        check_closed(openai, official)
    assert "SECRET" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    with pytest.raises(ModelError, match="OPENAI_BASE_URL is set, but embedtune does not use it; give"):
        check_closed(openai, official)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1/")
    check_closed(openai, official)
    assert not caplog.records
    monkeypatch.setattr(clients, "_WARNED", set())
    for _ in range(2):
        check_closed(openai, own)
    [warning] = caplog.messages
    assert warning.endswith("the key in OPENAI_API_KEY goes to 127.0.0.1:8080/v1")
    check_closed(openai, ClosedOptions(base_url="http://models.example.com/v1"))
    assert (
        "the key in OPENAI_API_KEY goes to models.example.com/v1 unencrypted" in caplog.text
        and "SECRET" not in caplog.text
    )


@pytest.mark.parametrize("provider", ["openai", "cohere"])
def test_a_missing_sdk_is_one_line(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=re.escape(f"run pip install 'embedtune[{provider}]'")):
        check_closed(ClosedName(provider, "any"), ClosedOptions())


def test_reading_a_name_imports_no_sdk_and_no_torch() -> None:
    code = (
        "import sys; from tune.embed.closed import parse_closed, ClosedSource; "
        "ClosedSource('openai:text-embedding-3-small'); from tune.embed.closed.prices import estimate; "
        "import tune.embed.adapted; assert not {'openai', 'cohere', 'torch'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
