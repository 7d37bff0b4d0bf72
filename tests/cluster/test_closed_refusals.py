"""Closed models that are refused before anything starts on Modal."""

import pytest

from cluster.launch import check_servers
from tune.config.search import SearchConfig, search_config
from tune.embed.closed import ClosedName
from tune.embed.closed.prices import estimate, price_of
from tune.embed.purchase import within_agreed
from tune.errors import ConfigError, UserError


def config_of(base_model: str, **closed: str) -> SearchConfig:
    return search_config(space={"base_model": base_model}, closed=closed)


def test_a_server_that_containers_cannot_reach() -> None:
    for url in ("http://127.0.0.1:8080/v1", "http://192.168.1.7/v1", "http://tei:8080/v1"):
        private = config_of("openai:my-model", base_url=url, cohere_base_url=url)
        with pytest.raises(ConfigError, match=r"\[closed\] base_url: Modal's containers cannot reach http") as caught:
            check_servers(private)
        assert len(caught.value.problems) == 1, "no model uses the other address"
        check_servers(config_of("wordllama", base_url=url))
    check_servers(config_of("openai:my-model", base_url="https://models.example.com/v1"))
    check_servers(private, allow_private=True)


def test_the_head_buys_at_most_what_was_agreed() -> None:
    listed, unlisted = ClosedName("openai", "text-embedding-3-small"), ClosedName("openai", "brand-new")
    costs = [estimate(listed, ["a"] * 1000, price_of(listed, given=1000.0))] * 3
    within_agreed(costs, 3.0)
    within_agreed([estimate(unlisted, [])], 0.0)
    with pytest.raises(UserError, match=r"about 3.00 USD, but only 2.00 USD were approved; .* --max-embed-usd 3.01"):
        within_agreed(costs, 2.0)
    with pytest.raises(UserError, match="the price of openai:brand-new is unknown"):
        within_agreed([estimate(unlisted, ["a"])], 100.0)
