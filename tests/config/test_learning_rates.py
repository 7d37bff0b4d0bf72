"""Default learning rates follow from what is trained: a layer, all weights, LoRA, or static vectors."""

from pathlib import Path
from typing import Any

import pytest

from cluster.launch import make_parser
from tune.cli.options import search_parser, search_request
from tune.config.search import SearchConfig, search_config
from tune.config.toml import read_toml, write_toml
from tune.errors import ConfigError

STATIC = {"wordllama", "my/static"}
BOTH = {"freeze": "true,false", "train": "full"}


class Asked:
    """Knows which base models are static, and remembers for which it was asked."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> bool:
        self.names.append(name)
        return name in STATIC


def rates(config: SearchConfig) -> list[tuple[str, bool, str, str]]:
    return [
        (",".join(space.base_model), space.freeze[0], space.train[0], str(space.learning_rate))
        for space in config.spaces
    ]


def test_static_vectors_have_a_range_of_their_own() -> None:
    names = "minilm,my/static,BAAI/bge-base-en-v1.5,wordllama"
    config = search_config(space={"base_model": names, **BOTH}, is_static=Asked())
    assert rates(config) == [
        (names, True, "full", "0.0001:0.01"),
        ("minilm,BAAI/bge-base-en-v1.5", False, "full", "1e-06:0.0001"),
        ("my/static,wordllama", False, "full", "0.001:0.03"),
    ]
    assert {space.epochs for space in config.spaces if not space.freeze[0]} == {(2,)}
    grid = search_config({"search": "grid"}, space={"base_model": names, **BOTH}, is_static=Asked())
    assert [space.learning_rate for space in grid.spaces] == [(1e-3,), (2e-5,), (3e-3,)]


def test_the_packaged_static_model_is_known_without_asking() -> None:
    assert rates(search_config(space={"base_model": "wordllama", "freeze": "false"})) == [
        ("wordllama", False, "full", "0.001:0.03")
    ]
    demo = search_config(space={"freeze": "false"})
    assert [row[0] for row in rates(demo)] == ["minilm", "wordllama"]


def test_given_rates_stay() -> None:
    asked = Asked()
    table = {"base_model": "my/static,minilm", **BOTH, "learning_rate": "1e-5:1e-4"}
    assert {row[3] for row in rates(search_config(space=table, is_static=asked))} == {"1e-05:0.0001"}
    assert len(search_config(space={**table, "epochs": "3"}, is_static=asked).spaces) == 1
    assert asked.names == []


def test_models_are_asked_for_once_and_only_if_it_matters() -> None:
    asked = Asked()
    whole = {"base_model": "my/static,minilm", "freeze": "false"}
    search_config(
        space=[
            whole,
            {**whole, "dims": "none"},
            {"base_model": "a/frozen"},
            {"base_model": "a/lora", "freeze": "false", "train": "lora"},
            {"base_model": "a/given", "freeze": "false", "learning_rate": "1e-5"},
        ],
        is_static=asked,
    )
    assert asked.names == ["my/static", "minilm"]
    closed = {"base_model": "openai:text-embedding-3-small", "freeze": "false"}
    with pytest.raises(ConfigError) as error:
        search_config(space=closed, is_static=asked)
    assert len(error.value.problems) == 1 and asked.names == ["my/static", "minilm"], "a closed model is never static"


def test_a_table_that_splits_reports_a_problem_once() -> None:
    table = {"base_model": "my/static,minilm", "freeze": "false", "matryoshka": "true", "dims": "8"}
    with pytest.raises(ConfigError) as error:
        search_config(space=table, is_static=Asked())
    assert [problem.split(":")[0] for problem in error.value.problems] == ["[space] matryoshka"]


def test_the_resolved_file_runs_again_without_asking(tmp_path: Path) -> None:
    config = search_config(space={"base_model": "my/static,minilm", **BOTH}, is_static=Asked())
    (tmp_path / "search.toml").write_text(write_toml(config))
    asked = Asked()
    assert search_config(**read_toml(tmp_path / "search.toml"), is_static=asked) == config
    assert asked.names == []


@pytest.mark.parametrize("parser", [search_parser, make_parser])
def test_both_front_doors_look_at_the_modules(parser: Any, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(f'[[space]]\nbase_model = ["{tiny_model}"]\nfreeze = [false]\n')
    for arguments in (["--base-model", str(tiny_model), "--freeze", "false"], [str(tmp_path / "s.toml")]):
        request, _ = search_request(parser(), arguments)
        assert rates(request.config) == [(str(tiny_model), False, "full", "0.001:0.03")]
