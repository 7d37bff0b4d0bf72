"""The [closed] table: what it accepts, that a written one reads back unchanged, and that no key gets into it."""

import pickle
from pathlib import Path

import pytest

from tune.config.closed import ClosedConfig, provider_of
from tune.config.search import OPTIONS, search_config
from tune.config.toml import read_toml, write_toml
from tune.embed.closed import ClosedOptions
from tune.errors import ConfigError


def test_provider_of_a_name() -> None:
    assert provider_of("openai:text-embedding-3-small@256") == "openai"
    assert provider_of("cohere:embed-v4.0") == "cohere"
    for name in ("minilm", "openai", "openai/clip", "BAAI/bge-base-en-v1.5", "Cohere:embed-v4.0"):
        assert provider_of(name) is None


def test_table_is_written_if_a_model_is_closed_and_reads_back(tmp_path: Path) -> None:
    given = {"base_url": "http://127.0.0.1:8080/v1", "input_type": "clustering", "max_embed_usd": "2.5"}
    config = search_config(space={"base_model": "wordllama,openai:some/model"}, closed=given)
    (tmp_path / "search.toml").write_text(write_toml(config))
    assert search_config(**read_toml(tmp_path / "search.toml")) == config
    assert config.closed_models == ("openai:some/model",) and config.closed.max_embed_usd == 2.5
    assert "[closed]" not in write_toml(search_config(space={"base_model": "wordllama"}, closed=given))
    assert not [name for name in OPTIONS if "key" in name or "token" in name]


def test_prices_by_name_and_for_all_without_a_list_price(tmp_path: Path) -> None:
    for given, first in (
        ("0.50, openai:a/b=0,openai:c@256=2", "0.50"),
        ([0.5, "openai:a/b=0", "openai:c@256=2"], "0.5"),
    ):
        config = search_config(space={"base_model": "openai:c"}, closed={"price_per_million": given})
        written = write_toml(config)
        assert f'price_per_million = "{first},openai:a/b=0,openai:c@256=2"\n' in written, "as it was given"
        (tmp_path / "search.toml").write_text(written)
        again = search_config(**read_toml(tmp_path / "search.toml")).closed
        assert again == config.closed and hash(again) == hash(config.closed)
        for closed in (config.closed, again, pickle.loads(pickle.dumps(config.closed))):
            assert closed.unlisted_price == 0.5 and closed.price_of("openai:a/b@3", "openai:a/b") == 0
            assert closed.price_of("openai:c@256", "openai:c") == 2 and closed.price_of("openai:c") is None
    assert ClosedConfig(price_per_million=0).unlisted_price == 0  # type: ignore[arg-type]
    assert ClosedConfig().unlisted_price is None and ClosedConfig().price_of("openai:c") is None


def test_closed_options_follow_the_table() -> None:
    config = ClosedConfig(base_url="http://127.0.0.1:1/v1", request_timeout=5, too_long="refuse", texts_per_request=10)
    assert ClosedOptions.of(config, "openai") == ClosedOptions(
        "http://127.0.0.1:1/v1", timeout=5, too_long="refuse", texts_per_request=10
    )
    assert ClosedOptions.of(config, "cohere").base_url is None
    before = ClosedOptions(base_url="http://127.0.0.1:2", input_type="clustering", max_in_flight=9, timeout=7)
    assert ClosedOptions.of(config, "cohere", before) == ClosedOptions(
        "http://127.0.0.1:2",
        input_type="clustering",
        max_in_flight=9,
        timeout=5,
        too_long="refuse",
        texts_per_request=10,
    )


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("base_url", "https://me:SECRET@example.com", "not contain a user, password or query"),
        ("base_url", "https://example.com/v1?key=SECRET", "not contain a user, password or query"),
        ("cohere_base_url", "example.com", "not an http"),
        ("input_type", "query", "search_query"),
        ("too_long", "drop", "truncate"),
        ("max_in_flight", "0", "greater than or equal to 1"),
        ("texts_per_request", "0", "greater than or equal to 1"),
        ("max_embed_usd", "-1", "greater than or equal to 0"),
        ("price_per_million", "-1", "greater than or equal to 0"),
        ("price_per_million", "openai:a=1,cheap", "'cheap' is neither PRICE nor NAME=PRICE"),
        ("price_per_million", "minilm=1", "minilm is not a closed model"),
        ("price_per_million", "1,2", "one price per model"),
        ("price_per_million", "nan", "greater than or equal to 0"),
        ("price_per_million", True, "one price per model"),
        ("api_key", "SECRET", "no such option"),
    ],
)
def test_invalid_options_are_refused(option: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        search_config(closed={option: value})
    [problem] = caught.value.problems
    assert problem.startswith(f"[closed] {option}") and says in problem and "SECRET" not in problem


def test_whole_models_are_refused_with_all_other_problems() -> None:
    space = {"base_model": "minilm,cohere:embed-v4.0", "freeze": "true,false", "dims": "none"}
    with pytest.raises(ConfigError) as caught:
        search_config({"search": "grid", "trials": 0}, space=space)
    assert len(caught.value.problems) == 3
    [whole] = [problem for problem in caught.value.problems if "closed model" in problem]
    assert "cohere:embed-v4.0 is a closed model" in whole and "separate [[space]] table" in whole
    tables = [{"base_model": "openai:x"}, {"base_model": "minilm", "freeze": "false"}]
    assert search_config(space=tables).closed_models == ("openai:x",)
