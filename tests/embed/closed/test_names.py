"""Names, options, tokens and prices of closed models: bad values are one clear line, estimates are high."""

import pickle
from typing import Any

import pytest

from tune.data.demo import demo_pairs
from tune.embed.closed import ClosedName, ClosedOptions, ClosedSource, parse_closed
from tune.embed.closed.names import MODELS, RequestLimits
from tune.embed.closed.prices import PRICES, estimate, price_of
from tune.embed.closed.tokens import batches, cut, estimate_tokens
from tune.embed.sources import load_source
from tune.errors import ModelError

SMALL = ClosedName("openai", "text-embedding-3-small")


@pytest.mark.parametrize(
    ("name", "parsed", "dims"),
    [
        ("openai:text-embedding-3-small", SMALL, 1536),
        ("openai:text-embedding-3-large@256", ClosedName("openai", "text-embedding-3-large", 256), 256),
        ("openai:text-embedding-3-large@3072", ClosedName("openai", "text-embedding-3-large", 3072), 3072),
        ("cohere:embed-v4.0@512", ClosedName("cohere", "embed-v4.0", 512), 512),
        ("cohere:embed-english-v3.0", ClosedName("cohere", "embed-english-v3.0"), 1024),
        ("cohere:embed-v5", ClosedName("cohere", "embed-v5"), None),
        # Names have a colon in Ollama and a slash on the hub.
        ("openai:nomic-embed-text:latest", ClosedName("openai", "nomic-embed-text:latest"), None),
        ("openai:BAAI/bge-m3@64", ClosedName("openai", "BAAI/bge-m3", 64), 64),
    ],
)
def test_names(name: str, parsed: ClosedName, dims: int | None) -> None:
    assert parse_closed(name) == parsed
    assert str(parsed) == name and parsed.known_dims == dims


@pytest.mark.parametrize("name", ["minilm", "openai/clip", "./openai:x", "BAAI/bge-m3", "voyage:3", "openai", ""])
def test_other_names_are_not_closed_models(name: str) -> None:
    assert parse_closed(name) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai:", "write openai:MODEL or openai:MODEL@DIMS"),
        ("cohere:@256", "write cohere:MODEL"),
        ("openai:two words", "write openai:MODEL"),
        ("openai:model@", "DIMS must be a whole number above 0"),
        ("openai:model@0", "DIMS must be a whole number above 0"),
        ("openai:model@-5", "DIMS must be a whole number above 0"),
        ("openai:model@small", "DIMS must be a whole number above 0"),
        ("openai:a@b@3", "write openai:MODEL"),
        ("openai:text-embedding-3-small@3072", "offers vectors of 1 to 1536 dims, not 3072"),
        ("openai:text-embedding-ada-002@256", "offers vectors of 1536 dims, not 256"),
        ("cohere:embed-v4.0@300", "offers vectors of 256, 512, 1024, 1536 dims, not 300"),
        ("cohere:embed-english-v3.0@512", "offers vectors of 1024 dims, not 512"),
    ],
)
def test_malformed_names_are_one_line_with_a_fix(name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        parse_closed(name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"base_url": "127.0.0.1:8080"}, "not an http"),
        ({"base_url": "ftp://host/v1"}, "not an http"),
        ({"base_url": "http://host:99999"}, "not an http"),
        ({"base_url": "http://"}, "not an http"),
        ({"input_type": "query"}, "input_type must be one of search_query"),
        ({"too_long": "split"}, "too_long must be truncate or refuse"),
        ({"max_in_flight": 0, "timeout": 0, "max_retries": -1}, "max_in_flight .*; timeout .*; max_retries"),
        ({"timeout": float("nan")}, "timeout must be above 0"),
        ({"texts_per_request": 0}, "texts_per_request must be at least 1"),
    ],
)
def test_wrong_options_are_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        ClosedOptions(**values)


@pytest.mark.parametrize("url", ["https://me:sk-SECRET@host/v1", "https://sk-SECRET@host/v1", "https://h/v1?k=SECRET"])
def test_a_key_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ModelError, match="must not contain a user, password or query") as caught:
        ClosedOptions(base_url=url)
    assert "SECRET" not in str(caught.value)


def test_options_are_plain_data() -> None:
    options = ClosedOptions(base_url="http://127.0.0.1:1/v1", input_type=None, timeout=3)
    assert ClosedOptions.from_json(options.to_json()) == options == pickle.loads(pickle.dumps(options))
    with pytest.raises(ModelError, match="closed model options: unknown ones among api_key"):
        ClosedOptions.from_json({"api_key": "x"})
    assert ClosedSource(SMALL, ClosedOptions(input_type="clustering")).prompts(True) == ("", "")
    with pytest.raises(ModelError, match="is not a closed model"):
        ClosedSource("minilm")


def test_fingerprints_differ_exactly_where_vectors_do() -> None:
    def of(name: str, max_length: int | None = None, **options: Any) -> str:
        return ClosedSource(name, ClosedOptions(**options), max_length).fingerprint

    small = "openai:text-embedding-3-small"
    same = [
        of(small),
        of(f"{small}@1536"),
        of(small, base_url="https://api.openai.com/v1/"),
        of(small, max_in_flight=9, timeout=1, max_retries=0, too_long="refuse", texts_per_request=3),
    ]
    others = [
        of(f"{small}@256"),
        of(small, max_length=10),
        of(small, base_url="http://127.0.0.1:1/v1"),
        of(small, base_url="http://127.0.0.1:1/v2"),
        of(small, base_url="http://127.0.0.1:2/v1"),
        of("openai:text-embedding-3-large"),
        of("cohere:embed-v4.0"),
    ]
    assert len(set(same)) == 1 and len({*same, *others}) == 8
    for fingerprint in (*same, *others, of("openai:../../etc/x:y", base_url="http://127.0.0.1:1/v1")):
        assert "/" not in fingerprint and ":" not in fingerprint and not fingerprint.startswith((".", "-"))


def test_limits() -> None:
    own = ClosedOptions(base_url="http://localhost:1/v1")
    assert ClosedOptions().limits("openai") == RequestLimits(2048, 100_000)
    assert (own.limits("openai").texts, own.limits("cohere").texts) == (32, 96)
    assert ClosedOptions(texts_per_request=7).limits("cohere").texts == 7


def test_batches_keep_both_limits() -> None:
    texts = ["word" * 3] * 10 + ["word" * 300, "a", "b"]
    assert list(batches(texts, RequestLimits(4, 1000))) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12]]
    assert list(batches(texts, RequestLimits(100, 40))) == [list(range(10)), [10], [11, 12]]
    assert list(batches([], RequestLimits(1, 1))) == []


def test_the_estimate_is_high_for_ordinary_text() -> None:
    texts = [text for a, b, _ in demo_pairs()[:500] for text in (a, b)]
    texts += [
        "这是一个关于如何在北京租房子的问题",
        "Die Straßenbahngesellschaft fährt übermorgen",
        "it's 3,141.59 (20%)!",
    ]
    tokenizer = load_source("minilm").model.tokenizer
    counted = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    estimated = [estimate_tokens(text) for text in texts]
    assert all(high >= count for high, count in zip(estimated, counted, strict=True))
    assert 1.1 < sum(estimated) / sum(counted) < 2
    assert estimate_tokens("") == 1


@pytest.mark.parametrize("text", ["swift purse " * 50, "中文" * 80, "🙂 3.14, " * 40, "\ud83d half " * 30])
def test_cut_returns_the_longest_prefix_within_the_limit(text: str) -> None:
    for tokens in (1, 7, 40):
        kept = cut(text, tokens)
        assert text.startswith(kept) and estimate_tokens(kept) <= tokens
        assert estimate_tokens(text[: len(kept) + 1]) > tokens
    assert cut(text, 10_000) == text


def test_every_known_model_has_a_price() -> None:
    assert set(PRICES) == set(MODELS)


def test_an_estimate_has_texts_tokens_and_price() -> None:
    texts = ["swift purse " * 10] * 1000
    listed = estimate(SMALL, texts)
    assert (listed.texts, listed.tokens) == (1000, 40_000)
    assert listed.usd == pytest.approx(0.0008) and listed.within(1) and not listed.within(0.0007)
    assert listed.sentence() == (
        "openai:text-embedding-3-small: 1,000 texts, about 40,000 tokens (an estimate), "
        "about 0.0008 USD at 0.02 USD per million tokens (list price of 2026-06)"
    )
    dear = estimate(SMALL, texts, price_of(SMALL, given=1000))
    assert (
        dear.usd == pytest.approx(40) and "about 40.00 USD at 1000 USD per million tokens (as given)" in dear.sentence()
    )
    assert estimate(ClosedName("openai", "text-embedding-3-small", 256), texts).usd == listed.usd
    assert estimate(SMALL, texts, tokens_per_text=10).tokens == 10_000
    assert (
        estimate(SMALL, ["a"])
        .sentence()
        .endswith("about 0.00000002 USD at 0.02 USD per million tokens (list price of 2026-06)")
    )
    for prices in ({"given": -1}, {"unlisted": -1}):
        with pytest.raises(ModelError, match="0 USD or more"):
            price_of(SMALL, **prices)


@pytest.mark.parametrize(
    ("base_url", "usd"),
    [
        (None, None),
        ("http://127.0.0.1:8080/v1", 0.0),
        ("http://localhost:8080/v1", 0.0),
        ("http://tei:8080/v1", 0.0),
        ("http://10.0.0.7/v1", 0.0),
        ("http://[::1]:8080/v1", 0.0),
        ("https://api.mistral.ai/v1", None),
        ("https://8.8.8.8/v1", None),
        ("https://api.openai.com/v1", None),
    ],
)
def test_an_unlisted_model_is_free_only_on_a_private_server(base_url: str | None, usd: float | None) -> None:
    name, options = ClosedName("openai", "mistral-embed"), ClosedOptions(base_url=base_url)
    found = estimate(name, ["a", "b"], price_of(name, options))
    assert found.usd == usd and found.within(1) == (usd is not None)
    assert ("price unknown" in found.sentence()) == (usd is None)
    assert estimate(name, [], price_of(name, options)).within(0), "nothing to buy costs nothing"
    assert estimate(name, ["a"], price_of(name, options, given=0)).usd == 0
    # A gateway does not make a listed model free, whatever it puts before the name.
    for gateway in (SMALL, ClosedName("openai", "openai/text-embedding-3-small")):
        found = estimate(gateway, ["a"], price_of(gateway, options, unlisted=0))
        assert found.usd == pytest.approx(2e-8)
    # A server that takes a key may be a gateway too.
    assert estimate(name, ["a"], price_of(name, options, keyed=True)).usd is None
    assert estimate(name, ["a"], price_of(name, options, keyed=True, unlisted=1)).usd == 1e-6
