"""Batches of alike length: the vectors of `SentenceTransformer.encode`, for every model, prompt and route."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, WordEmbeddings
from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert
from tune.embed.batches import ahead, alike, encode
from tune.embed.sources import load_source

TEXTS = [*(" ".join(TOPIC_WORDS[place : place + 1 + place * 7 % 43]) for place in range(75)), "", "unknown words"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize("prompt", ["", TOPIC_WORDS[3] + " "])
@pytest.mark.parametrize("max_length", [None, 9])
def test_vectors_are_those_of_encode(bert: Path, prompt: str, max_length: int | None) -> None:
    source = load_source(str(bert), max_length=max_length)
    source.model.prompts, source.model.default_prompt_name = {"own": "t9w1 t9w2 "}, "own"
    expected = source.model.encode(TEXTS, prompt=prompt)
    np.testing.assert_allclose(source.embed(TEXTS, prompt), expected, atol=2e-6)
    assert source.embed(TEXTS, prompt).dtype == np.float32


def test_a_text_has_the_same_vector_in_any_company(bert: Path) -> None:
    source = load_source(str(bert))
    alone = np.concatenate([source.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(source.embed(TEXTS), alone, atol=2e-6)
    np.testing.assert_allclose(source.embed(TEXTS[::-1])[::-1], alone, atol=2e-6)


def test_each_route_has_its_own_vectors(bert: Path, tmp_path: Path) -> None:
    other = save_tiny_bert(tmp_path, seed=1)
    routes = {
        name: list(SentenceTransformer(str(path), device="cpu").children())
        for name, path in (("query", bert), ("document", other))
    }
    router = Router(routes, default_route="document", allow_empty_key=False)  # type: ignore[arg-type]
    model = SentenceTransformer(modules=[router], device="cpu")
    for task in ("query", "document"):
        expected = model.encode(TEXTS, prompt="", task=task)
        np.testing.assert_allclose(encode(model, TEXTS, f"[{task}] "), expected, atol=2e-6)


def test_a_tokenizer_that_cannot_count_ahead_goes_through_encode() -> None:
    words = WordEmbeddings(WhitespaceTokenizer(TOPIC_WORDS, stop_words=[]), np.random.rand(len(TOPIC_WORDS), 8))
    model = SentenceTransformer(modules=[words, Pooling(8)], device="cpu")
    np.testing.assert_allclose(encode(model, TEXTS[:20]), model.encode(TEXTS[:20]), atol=1e-6)


def test_batches_hold_every_text_once_longest_first_within_the_limit() -> None:
    tokens = np.random.default_rng(0).integers(1, 90, 500)
    batches = alike(tokens, 256)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(tokens[rows].max() * len(rows) <= 256 for rows in batches)
    longest = [int(tokens[rows].max()) for rows in batches]
    assert longest == sorted(longest, reverse=True)
    # A text of more tokens than the limit is alone; texts without tokens count as one.
    assert [rows.tolist() for rows in alike(np.array([0, 300, 0]), 2)] == [[1], [0, 2]]


def test_items_made_ahead_arrive_in_order_and_errors_in_their_place() -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise ValueError("broken")

    found = []
    with pytest.raises(ValueError, match="broken"):
        for item in ahead(items(), 3):
            found.append(item)
    assert found == list(range(20))
    assert list(ahead(iter(range(5)), 2)) == list(range(5))


def test_a_reader_that_leaves_early_ends_the_thread() -> None:
    reader = ahead(iter(range(1000)), 2)
    assert next(reader) == 0
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "batches ahead"]
