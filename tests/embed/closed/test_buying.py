"""Buying from closed models on a real HTTP server: order, dims, prompts, input types, texts that are too long."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embed.closed.shared import COHERE, OPENAI, TEXTS, prompt_of, snapshot_of, source_of
from tests.helpers.embed_server import COHERE_PATH, OPENAI_PATH, OWN_MODEL, EmbedServer, embed
from tune.data.demo import demo_pairs
from tune.embed.snapshot import text_key
from tune.errors import ModelError
from tune.metrics.score import roc_auc


@pytest.mark.parametrize(("name", "path"), [(OPENAI, OPENAI_PATH), (COHERE, COHERE_PATH)])
def test_vectors_come_in_order_and_a_text_is_bought_once(
    server: EmbedServer, tmp_path: Path, name: str, path: str
) -> None:
    source = source_of(server, name, texts_per_request=None)
    snapshot, prompt = snapshot_of(source, tmp_path), prompt_of(source)
    progress: list[tuple[int, int]] = []
    assert snapshot.embed(source, prompt, [*TEXTS, *TEXTS[:5]], lambda *now: progress.append(now)) == 100
    assert snapshot.embed(source, prompt, TEXTS) == 0
    assert snapshot_of(source, tmp_path).embed(source_of(server, name), prompt, [*TEXTS, "a new one"]) == 1
    vectors = snapshot.vectors([text_key(prompt, text) for text in TEXTS])
    assert np.allclose(vectors, embed(TEXTS, 1536), atol=1e-6) and vectors.shape == (100, 1536)
    assert set(server.book.texts().values()) == {1} and {sold[0] for sold in server.book.sold} == {path}
    # Cohere accepts 96 texts; a server other than OpenAI's gets 32.
    requests = sorted(asked for _, asked, _ in server.book.requests)
    assert requests == ([1, 4, 32, 32, 32] if name == OPENAI else [1, 4, 96])
    assert progress[-1] == (100, 100)


@pytest.mark.parametrize("name", ["openai:text-embedding-3-large@256", "cohere:embed-v4.0@256"])
def test_dims_are_requested_from_the_api(server: EmbedServer, name: str) -> None:
    source = source_of(server, name)
    assert source.dims == 256
    vectors = source.embed(TEXTS[:3], prompt_of(source))
    assert np.allclose(vectors, embed(TEXTS[:3], 3072 if "large" in name else 1536, 256), atol=1e-6)
    assert (server.book.bodies[0].get("dimensions") or server.book.bodies[0].get("output_dimension")) == 256


@pytest.mark.parametrize("name", ["openai:text-embedding-ada-002@1536", "cohere:embed-english-v3.0@1024"])
def test_a_models_own_dims_are_not_requested(server: EmbedServer, name: str) -> None:
    source = source_of(server, name)
    assert source.embed(TEXTS[:1], prompt_of(source)).shape == (1, source.dims)
    assert not {"dimensions", "output_dimension"} & set(server.book.bodies[0])


@pytest.mark.parametrize("name", [OPENAI, COHERE])
def test_aucs_are_real(server: EmbedServer, name: str) -> None:
    matching = [(a, b) for a, b, label in demo_pairs() if label][:60]
    first, second = [a for a, _ in matching] * 2, [b for _, b in matching + matching[7:] + matching[:7]]
    labels = np.repeat([1, 0], 60)
    source = source_of(server, name, texts_per_request=96)
    a, b = (source.embed(texts, prompt_of(source)) for texts in (first, second))
    own_a, own_b = (embed(texts, 256) for texts in (first, second))
    auc = roc_auc((a * b).sum(1), labels)
    assert auc == pytest.approx(roc_auc((own_a * own_b).sum(1), labels), abs=1e-3) and auc > 0.8


def test_cohere_buys_a_text_as_query_and_as_document(server: EmbedServer, tmp_path: Path) -> None:
    source = source_of(server, COHERE)
    assert source.prompts(True) == ("[search_query] ", "[search_document] ")
    assert source.prompts(False) == ("[search_query] ", "[search_query] ")
    assert source_of(server, COHERE, input_type="clustering").prompts(True) == ("[clustering] ", "[clustering] ")
    assert source.prompts(True, ("Q: ", None)) == ("[search_query] Q: ", "[search_document] ")
    snapshot = snapshot_of(source, tmp_path)
    for prompt in source.prompts(True):
        assert snapshot.embed(source, prompt, TEXTS[:2]) == 2
    query, document = (snapshot.vectors([text_key(prompt, TEXTS[0])]) for prompt in source.prompts(True))
    assert not np.allclose(query, document)
    sold = {(COHERE_PATH, kind, text) for kind in ("search_query", "search_document") for text in TEXTS[:2]}
    assert set(server.book.sold) == sold
    # The same input type, requested explicitly, is the same purchase.
    explicit = source_of(server, COHERE, input_type="search_query")
    assert snapshot_of(explicit, tmp_path).embed(explicit, explicit.prompts(True)[1], TEXTS[:2]) == 0
    with pytest.raises(ValueError, match="must start with an input type"):
        source.embed(TEXTS[:1], "")


def test_prompts_go_before_the_text(server: EmbedServer) -> None:
    source_of(server).embed(["hello"], source_of(server).prompts(True, ("query: ", None))[0])
    cohere = source_of(server, COHERE)
    cohere.embed(["hello"], cohere.prompts(True, ("query: ", None))[0])
    assert set(server.book.texts()) == {"query: hello"}


def test_a_server_without_a_key_and_an_unknown_model(
    server: EmbedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.key = None
    source = source_of(server, f"openai:{OWN_MODEL}")
    with pytest.raises(ModelError, match="its dims are unknown before its first vectors; add @DIMS"):
        _ = source.dims
    snapshot = snapshot_of(source, tmp_path)
    assert snapshot.embed(source, "", TEXTS[:15]) == 15 and source.dims == snapshot.dims == 256
    # A later run takes the dims from the stored vectors.
    again = snapshot_of(source_of(server, f"openai:{OWN_MODEL}"), tmp_path)
    assert again.dims == 256 and np.allclose(again.vectors([text_key("", TEXTS[3])]), embed(TEXTS[3:4], 256), atol=1e-6)
    server.fault_from("other_dims")
    with pytest.raises(ModelError, match=r"now returns vectors of 255 dims, but those in .* have 256"):
        again.embed(source_of(server, f"openai:{OWN_MODEL}"), "", TEXTS)
    assert "dimensions" not in server.book.bodies[0]


@pytest.mark.parametrize("kind", ["wrong_order", "no_index"])
def test_openai_vectors_are_put_in_order_by_their_index(server: EmbedServer, kind: Any) -> None:
    server.fault_from(kind)
    assert np.allclose(source_of(server).embed(TEXTS), embed(TEXTS, 1536), atol=1e-6)


def test_cohere_without_the_texts_in_the_answer(server: EmbedServer) -> None:
    server.echo = False
    source = source_of(server, COHERE)
    assert np.allclose(source.embed(TEXTS, prompt_of(source)), embed(TEXTS, 1536), atol=1e-6)


def test_a_text_above_the_limit_is_cut_or_refused_before_anything_is_bought(server: EmbedServer) -> None:
    long = "swift purse " * 4000
    cut = source_of(server)
    cut.embed(["a", long])
    sent = max(server.book.texts(), key=len)
    assert long.startswith(sent) and 20_000 < len(sent) < len(long)
    refuse = source_of(server, too_long="refuse")
    server.reset()
    with pytest.raises(ModelError, match=r"has about 16000 tokens \(an estimate\), above its limit of 8191"):
        refuse.embed([*TEXTS, long])
    # Cohere cuts with its own tokenizer.
    source = source_of(server, "cohere:embed-english-v3.0")
    source.embed([long], prompt_of(source))
    assert server.book.bodies[-1]["truncate"] == "END" and server.book.bodies[-1]["texts"] == [long]
    refuse = source_of(server, "cohere:embed-english-v3.0", too_long="refuse")
    refuse.embed(["a"], prompt_of(source))
    assert server.book.bodies[-1]["truncate"] == "NONE"
    short = source_of(server, max_length=5)
    short.embed([long])
    assert server.book.bodies[-1]["input"] == [long[:15]] and short.fingerprint != cut.fingerprint


def test_odd_texts(server: EmbedServer) -> None:
    source = source_of(server)
    assert source.embed([]).shape == (0, 1536)
    assert source.embed(["half a pair \ud83d", "emoji 🙂", "中文"]).shape == (3, 1536)
    with pytest.raises(ModelError, match="text 2 of 3 is empty"):
        source.embed(["a", " \n", "b"])
    assert len(server.book.requests) == 1
