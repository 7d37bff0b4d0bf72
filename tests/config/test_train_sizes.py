"""Train sizes that depend on the data: LOW:all doubles from LOW up to all pairs."""

import pickle
from typing import Any

import pytest

from tune.config.search import SearchConfig, search_config
from tune.config.toml import write_toml
from tune.config.train_sizes import Doubling
from tune.errors import ConfigError


def searched(train_size: Any, search: str = "grid") -> SearchConfig:
    return search_config({"search": search}, space={"base_model": "wordllama", "train_size": train_size})


def problem(train_size: Any, search: str = "grid") -> str:
    with pytest.raises(ConfigError) as found:
        searched(train_size, search)
    [line] = found.value.problems
    return line


@pytest.mark.parametrize(
    "pairs, sizes",
    [
        (500, (250, 0)),
        (47_164, (250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 0)),
        # The last doubling is left out where it is nearly all pairs.
        (1400, (250, 500, 0)),
        (1401, (250, 500, 1000, 0)),
        (2000, (250, 500, 1000, 0)),
    ],
)
def test_sizes_double_up_to_all(pairs: int, sizes: tuple[int, ...]) -> None:
    assert Doubling(250).up_to(pairs) == sizes


@pytest.mark.parametrize("typed", ["250:all", ["250:all"], " 250 : all "])
def test_a_flag_and_a_file_may_say_it(typed: Any) -> None:
    config = searched(typed)
    assert config.sizes_by_data and config.train_sizes == ()
    assert 'train_size = "250:all"' in write_toml(config)
    # As it is sent to Modal.
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_range_with_two_numbers_is_a_list() -> None:
    assert searched("250:2000").train_sizes == (250, 500, 1000, 2000)
    assert searched("250:300").train_sizes == (250, 300)
    assert not searched("250:2000").sizes_by_data and not searched("all").sizes_by_data


@pytest.mark.parametrize("search", ["asha", "optuna"])
def test_only_searches_that_stop_no_small_size_take_it(search: str) -> None:
    assert "takes one size" in problem("250:all", search) and "--search grid" in problem("250:all", search)
    assert searched("250:all", "random").sizes_by_data


@pytest.mark.parametrize(
    "typed, said",
    [
        ("all:250", "is not a range of sizes; write LOW:all, such as 250:all"),
        ("250:", "is not a range of sizes"),
        ("2.5:all", "is not a range of sizes"),
        ("0:all", "must begin with 1 pair or more"),
        ("500:250", "is reversed or empty"),
        ("100,250:all", "takes either one range or a list, not both"),
    ],
)
def test_what_is_no_range_is_refused(typed: str, said: str) -> None:
    assert said in problem(typed)
