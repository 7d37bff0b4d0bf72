"""The axes bias and side: their points, the resolved file, files of earlier versions, and what is refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tune.cli.options import search_parser, search_request
from tune.config.search import search_config
from tune.config.space import point_of
from tune.config.toml import read_resolved, read_toml, write_toml
from tune.config.trial import TrialConfig, trial_config
from tune.errors import ConfigError
from tune.search.optuna_search import TPESearch
from tune.search.points import grid_points, planned_trials

AXES = {"base_model": "minilm", "dims": "16,32", "loss": "cosent", "learning_rate": "1e-3"}


def points(**axes: Any) -> list[dict[str, Any]]:
    return grid_points(search_config({"search": "grid"}, space={**AXES, **axes}).spaces)


def old_trial(**axes: Any) -> TrialConfig:
    return TrialConfig(base_model="wordllama", loss="cosent", learning_rate=1e-3, **axes)


def test_trials_of_earlier_versions_keep_their_directories() -> None:
    # Computed before there was a bias to choose or a side.
    assert old_trial(dims=64).digest("data") == "ceba12f3faa8"
    assert old_trial(dims=64, bias=True, side="both").digest("data") == "ceba12f3faa8"
    whole = {"base_model": "minilm", "loss": "mnr", "learning_rate": 2e-5, "freeze": False, "train": "lora"}
    assert TrialConfig(dims=None, **whole).digest("data") == "9bab19b0fe9b"
    changed = {old_trial(dims=64, bias=False).digest("data"), old_trial(dims=None, side="query").digest("data")}
    assert len(changed | {"ceba12f3faa8"}) == 3


def test_auto_is_a_bias_for_tanh_alone_and_no_point_twice() -> None:
    found = points(activation="identity,tanh")
    assert [(point["activation"], point["bias"]) for point in found] == [("identity", False), ("tanh", True)] * 2
    assert [point["bias"] for point in points(bias="true,false", dims="16")] == [True, False]
    assert [point["bias"] for point in points(bias=[False], activation="tanh", dims="16")] == [False]
    whole = points(freeze="false", dims="none,16", epochs="1")
    assert [(point["dims"], point.get("bias")) for point in whole] == [(None, None), (16, False)]
    assert not any("side" in point for point in whole)


def test_a_layer_for_queries_is_one_point_whatever_dims_and_activation() -> None:
    found = points(side="both,query", activation="identity,tanh", matryoshka="false,true", dropout="0.1")
    queries = [point for point in found if point["side"] == "query"]
    assert len(queries) == 1 and len(found) == 1 + 2 * 3
    [query] = queries
    assert query["dims"] is None and query["bias"] is False and query["dropout"] == 0.1
    assert not {"activation", "matryoshka"} & set(query)
    assert points(side="query", dims="none") == points(side="query"), "none is what it has anyway"
    for point in found:
        assert point_of(trial_config(point, {"seed": 0})) == point
    assert len({trial_config(point, {}).digest("") for point in found}) == len(found)


def test_optuna_draws_and_recognises_such_points() -> None:
    config = search_config(space={**AXES, "side": "both,query", "activation": "identity,tanh"})
    search = TPESearch(config.spaces, 0, [], "c")
    drawn = [search.suggest(str(number)) for number in range(5)]
    assert {point["side"] for point in drawn} == {"both", "query"} and planned_trials(config) == 5
    assert all(config.spaces[0].choices(point) is not None for point in drawn)


def test_the_resolved_file_runs_again_as_it_is(tmp_path: Path) -> None:
    config = search_config({"search": "grid"}, {"data": "pairs.csv"}, {**AXES, "side": "both,query"})
    (tmp_path / "search.toml").write_text(write_toml(config))
    assert read_toml(tmp_path / "search.toml")["space"][0]["bias"] == ["auto"]
    for read in (read_toml, read_resolved):
        assert search_config(**read(tmp_path / "search.toml")).spaces == config.spaces


def test_a_search_of_an_earlier_version_goes_on_as_it_was(tmp_path: Path) -> None:
    config = search_config({"search": "grid"}, {"data": "pairs.csv"}, AXES)
    tables = tomllib.loads(write_toml(config))
    for axis in ("bias", "side"):
        del tables["space"][0][axis]
    del tables["search"]["guard_loss"]
    file = tmp_path / "search.toml"
    file.write_text(tomli_w.dumps(tables))
    request, _ = search_request(search_parser(), ["--resume", "old"], lambda _: file)
    resumed = grid_points(request.config.spaces)
    assert [(point["bias"], point["side"]) for point in resumed] == [(True, "both")] * 2
    before = TrialConfig(base_model="minilm", dims=16, loss="cosent", learning_rate=1e-3)
    assert trial_config(resumed[0], {}).digest("data") == before.digest("data")
    del tables["data"]["data"]
    file.write_text(tomli_w.dumps(tables))
    assert search_config(**read_resolved(file)).data.guards == (), "the demo pairs had no guard set then"
    assert search_config(**read_toml(file)).data.guards == ("general",)
    # A file that somebody wrote gets the default of today.
    assert [point["bias"] for point in grid_points(search_config(**read_toml(file)).spaces)] == [False] * 2


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        ({"bias": "auto,true"}, "bias takes either auto or a list of true and false, not both"),
        ({"bias": "maybe"}, "bias: 'maybe' is not true, false or auto"),
        ({"side": "documents"}, "side does not accept 'documents'; choose from both, query"),
        (
            {"side": "query", "freeze": "false"},
            "side: query trains a layer on a frozen base model and",
        ),
        ({"side": "query", "activation": "tanh"}, "starts as the identity, which tanh is not"),
        ({"side": "query", "matryoshka": "true"}, "matryoshka: side=query keeps the base model's own dims"),
        ({"side": "both,query", "dims": "none"}, "dims: none leaves nothing to train on a frozen base model"),
    ],
)
def test_what_cannot_be_is_one_line(axes: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        search_config(space={**AXES, **axes})
    assert any(line in problem for problem in raised.value.problems), raised.value.problems
