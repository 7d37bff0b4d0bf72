"""AdaptedEmbedder: bought vectors, Dense and normalization match torch; its directory is complete or absent."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Dense

from tests.helpers.embed_server import KEY, OWN_MODEL, EmbedServer, embed
from tune.embed.adapted import AdaptedEmbedder
from tune.embed.closed import ClosedName, ClosedOptions, clients
from tune.errors import ModelError, ResultsError
from tune.export.write import Adapter, write_adapted

NAME = ClosedName("cohere", "embed-v4.0", 256)
PROMPTS = ("[search_query] ", "[search_document] note: ")
TEXTS = ["how do I reset it", "blue cheese", "how do I reset it"]


def dense_of(bias: bool = True, activation: Any = None) -> Dense:
    torch.manual_seed(3)
    return Dense(256, 16, bias=bias, activation_function=activation or torch.nn.Identity())


def options_of(server: EmbedServer) -> ClosedOptions:
    return ClosedOptions(base_url=server.cohere_url, max_retries=0)


def write(server: EmbedServer, directory: Path, dense: Dense, activation: str = "identity") -> Path:
    adapter = Adapter(dense.state_dict(), NAME, options_of(server), activation, PROMPTS)
    return write_adapted(directory, adapter, {"threshold": 0.5}, {"README.md": "a card"})


@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
def test_it_returns_what_torch_returns(server: EmbedServer, tmp_path: Path, activation: str, bias: bool) -> None:
    dense = dense_of(bias, torch.nn.Tanh() if activation == "tanh" else None)
    written = write(server, tmp_path / "new" / "model", dense, activation)
    embedder = AdaptedEmbedder.load(written, options_of(server))
    a, b = embedder.encode(TEXTS), embedder.encode(TEXTS[:2], side="b")
    assert a.dtype == np.float32 and a.shape == (3, embedder.dims) == (3, 16)
    assert np.array_equal(a[0], a[2]), "bought once"
    sold = server.book.sold
    assert sold.total() == 4 and ("/v2/embed", "search_document", "note: blue cheese") in sold
    for got, texts, kind in ((a, TEXTS, "search_query"), (b, [f"note: {t}" for t in TEXTS[:2]], "search_document")):
        bought = torch.from_numpy(embed(texts, 1536, 256, kind))
        with torch.inference_mode():
            expected = dense({"sentence_embedding": bought})["sentence_embedding"]
        assert np.allclose(got, torch.nn.functional.normalize(expected, dim=1).numpy(), atol=1e-5)
    assert embedder.encode([]).shape == (0, 16)
    with pytest.raises(ValueError, match="side must be a or b"):
        embedder.encode(TEXTS, side="c")  # type: ignore[arg-type]


def test_the_directory_describes_itself_and_holds_no_key(server: EmbedServer, tmp_path: Path) -> None:
    written = write(server, tmp_path / "model", dense_of())
    assert sorted(path.name for path in written.iterdir()) == ["README.md", "adapter.safetensors", "embedtune.json"]
    about = json.loads((written / "embedtune.json").read_text())
    assert about["threshold"] == 0.5 and about["closed"]["name"] == "cohere:embed-v4.0@256"
    assert (about["closed"]["dims_in"], about["closed"]["dims"]) == (256, 16)
    embedder = AdaptedEmbedder.load(written, options_of(server))
    embedder.encode(TEXTS)
    assert not any(b"SECRET" in path.read_bytes() for path in written.iterdir())
    assert b"SECRET" not in pickle.dumps(embedder)
    moved = AdaptedEmbedder.load(written, ClosedOptions(base_url="http://127.0.0.1:9", max_retries=0))
    with pytest.raises(ModelError, match=r"no connection to 127\.0\.0\.1:9"):
        moved.encode(TEXTS)


@pytest.mark.parametrize("name", [NAME, ClosedName("openai", "text-embedding-3-small", 256)])
def test_an_address_from_the_directory_gets_no_key(
    server: EmbedServer,
    tmp_path: Path,
    name: ClosedName,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(clients, "_WARNED", set())
    url = server.cohere_url if name.provider == "cohere" else server.openai_url
    options = ClosedOptions(base_url=url, max_retries=0)
    prompts = PROMPTS if name.provider == "cohere" else ("", "")
    state = dense_of().state_dict()
    written = write_adapted(tmp_path / "m", Adapter(state, name, options, "identity", prompts))
    with pytest.raises(ModelError, match="keys are not sent to an address from a model's directory"):
        AdaptedEmbedder.load(written).encode(TEXTS)
    host = url.removeprefix("http://")
    assert f"its directory names {host} as the server; texts go there, keys do not" in caplog.text
    # A server that needs no key answers, and never sees one.
    server.key = None
    assert AdaptedEmbedder.load(written).encode(TEXTS).shape == (3, 16)
    assert not server.keys_seen & {KEY}
    server.key = KEY
    assert AdaptedEmbedder.load(written, options).encode(TEXTS).shape == (3, 16)
    assert KEY in server.keys_seen
    assert f"the key in {name.provider.upper()}_API_KEY goes to {host}" in caplog.text and KEY not in caplog.text


def test_it_copes_with_an_odd_server(server: EmbedServer, tmp_path: Path) -> None:
    options = ClosedOptions(base_url=server.openai_url, max_retries=0)
    name, dense = ClosedName("openai", OWN_MODEL), dense_of()
    written = write_adapted(
        tmp_path / "m", Adapter(dense.state_dict(), name, options, "identity", ("", "")), {}, {"README.md": "a card"}
    )
    server.base64_type = "<f8"
    server.fault_from("no_zero_index")
    said = {"error": {"message": "batch size is invalid, it should not be larger than 10"}}
    server.refuse = lambda body: (400, said) if len(body["input"]) > 10 else None
    texts = [f"text number {at}" for at in range(40)]
    embedder = AdaptedEmbedder.load(written, options)
    with torch.inference_mode():
        expected = dense({"sentence_embedding": torch.from_numpy(embed(texts, 256))})["sentence_embedding"]
    for texts_sold in (41, 81):
        got = embedder.encode(texts)
        assert np.allclose(got, torch.nn.functional.normalize(expected, dim=1).numpy(), atol=1e-5)
        assert server.book.sold.total() == texts_sold, "one text more, once"
    server.zero = {texts[5]}
    with pytest.raises(ModelError, match="returned a zero vector for the text 'text number 5'; leave this text out"):
        embedder.encode(texts)


def test_an_unencrypted_address_is_not_the_providers_own() -> None:
    own = ("https://api.openai.com/v1", "https://API.openai.com/v1/", None)
    assert all(ClosedOptions(base_url=url).is_official("openai") for url in own)
    others = ("http://api.openai.com/v1", "https://api.openai.com.example.com/v1", "https://api.cohere.com")
    assert not any(ClosedOptions(base_url=url).is_official("openai") for url in others)


def test_it_is_complete_or_absent(server: EmbedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tune.files.os.rename", full)
        with pytest.raises(ResultsError, match=r"cannot write .*\(No space left"):
            write(server, target, dense_of())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ModelError, match="identity or tanh, not relu"):
        write(server, target, dense_of(), "relu")
    with pytest.raises(ModelError, match=r"has linear.weight and linear.bias, not weight"):
        write_adapted(target, Adapter({"weight": np.eye(2)}, NAME, ClosedOptions(), "identity", PROMPTS))
    assert list(tmp_path.iterdir()) == []
    write(server, target, dense_of())
    assert target.stat().st_mode & 0o777 == 0o755, "others may read it"
    with pytest.raises(ResultsError, match="exists; choose another"):
        write(server, target, dense_of())


@pytest.mark.parametrize("damage", ["absent", "no_about", "no_json", "no_adapter", "torn", "other_dims", "no_table"])
def test_a_damaged_directory_is_one_line(server: EmbedServer, tmp_path: Path, damage: str) -> None:
    target = tmp_path / "model"
    if damage != "absent":
        write(server, target, dense_of())
    about, adapter = target / "embedtune.json", target / "adapter.safetensors"
    if damage == "no_about":
        about.unlink()
    if damage == "no_json":
        about.write_text("{")
    if damage == "no_table":
        about.write_text('{"threshold": 0.5}')
    if damage == "other_dims":
        about.write_text(about.read_text().replace('"dims": 16', '"dims": 17'))
    if damage == "no_adapter":
        adapter.unlink()
    if damage == "torn":
        adapter.write_bytes(adapter.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"is not a complete export on a closed model .*export it again") as caught:
        AdaptedEmbedder.load(target)
    assert "\n" not in str(caught.value)
