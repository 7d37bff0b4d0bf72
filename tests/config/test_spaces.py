"""Alternatives, axes that apply only with others, and invalid combinations."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import tune_here
from tune.cli.options import search_parser, search_request
from tune.config.search import SearchConfig, search_config
from tune.config.space import point_of
from tune.config.toml import read_toml, write_toml
from tune.config.trial import trial_config
from tune.errors import ConfigError
from tune.presets import preset_names, preset_path
from tune.search.optuna_search import PastTrial, TPESearch
from tune.search.points import grid_points, planned_trials, random_points

FROZEN = {"base_model": "wordllama", "dims": "8,16", "loss": "cosent", "learning_rate": "1e-4:1e-2"}
WHOLE = {"base_model": "wordllama", "freeze": "false", "dims": "none,16", "loss": "mnr", "learning_rate": "1e-6:1e-4"}


def both(search: str = "asha", **options: Any) -> SearchConfig:
    return search_config({"search": search, **options}, space=[FROZEN, WHOLE])


def test_a_grid_is_the_union_of_the_alternatives_without_repeats() -> None:
    one = {**FROZEN, "learning_rate": "1e-3"}
    config = search_config({"search": "grid"}, space=[one, {**one, "dims": "16,32"}])
    assert [point["dims"] for point in grid_points(config.spaces)] == [8, 16, 32]
    assert planned_trials(config) == 3


def test_a_point_holds_only_axes_that_apply() -> None:
    axes = {
        **WHOLE, "base_model": "minilm", "train": "full,lora", "lora_rank": "4,8", "lora_alpha": "16",
        "dims": "none,16", "activation": "identity,tanh", "learning_rate": "1e-5", "epochs": "1",
    }  # fmt: skip
    points = grid_points(search_config({"search": "grid"}, space=axes).spaces)
    # Full: own dims, 16 with two activations. LoRA: the same for each of two ranks.
    assert Counter((p["train"], p.get("lora_rank"), p["dims"], p.get("activation")) for p in points) == {
        (train, rank, dims, activation): 1
        for train, rank in (("full", None), ("lora", 4), ("lora", 8))
        for dims, activation in ((None, None), (16, "identity"), (16, "tanh"))
    }
    frozen = grid_points(search_config({"search": "grid"}, space={"base_model": "minilm"}).spaces)[0]
    assert not {"train", "lora_rank", "lora_alpha"} & set(frozen)


def test_matryoshka_makes_one_trial_of_all_dims() -> None:
    axes = {**FROZEN, "dims": "64,8,16", "matryoshka": "false,true", "learning_rate": "1e-3"}
    points = grid_points(search_config({"search": "grid"}, space=axes).spaces)
    assert [(point["dims"], point.get("matryoshka")) for point in points] == [
        (64, None), (8, None), (16, None), (64, (8, 16)),
    ]  # fmt: skip


def test_every_point_is_a_trial_and_back() -> None:
    options = {"seed": 3, "folds": 0, "eval_pairs": 100, "accumulation": 2, "checkpointing": True, "chunk_size": 8}
    for point in random_points(both("random").spaces, 60, seed=0):
        config = trial_config(point, options)
        assert point_of(config) == point
        assert (config.eval_pairs, config.accumulation) == ((None, 1) if config.freeze else (100, 2))


def test_random_draws_come_from_every_alternative() -> None:
    points = random_points(both("random").spaces, 100, seed=1)
    assert 30 < sum(point["freeze"] for point in points) < 70
    assert all((point["learning_rate"] >= 1e-4) == point["freeze"] for point in points)


def test_optuna_sees_alternatives_as_conditional() -> None:
    search = TPESearch(both().spaces, 0, [], "c")
    points = [search.suggest(str(number)) for number in range(20)]
    trials = search._ot_study.trials
    for point, trial in zip(points, trials, strict=True):
        own = "1." if point["freeze"] else "2."
        assert {name.split(".")[0] + "." for name in trial.params} == {own, "space."}
    assert {trial.params["space"] for trial in trials} == {1, 2}


def test_past_trials_inform_their_own_alternative() -> None:
    points = random_points(both("random").spaces, 6, seed=1)
    past = [PastTrial(point, "done", {16: 0.5}) for point in points[:5]] + [PastTrial(points[5], "halfway", {1: 0.6})]
    search = TPESearch(both().spaces, 0, past, "p")
    assert search.suggest("next") == points[5]
    known = search._ot_study.trials[:5]
    assert [trial.params["space"] for trial in known] == [1 if point["freeze"] else 2 for point in points[:5]]
    foreign = PastTrial({**points[0], "dims": 9999}, "done", {16: 0.5})
    assert len(TPESearch(both().spaces, 0, [foreign], "f")._ot_study.trials) == 0


def test_defaults_differ_by_freeze_and_train() -> None:
    config = search_config(space={"base_model": "minilm", "freeze": "true,false", "train": "full,lora"})
    assert [(space.freeze, space.train, str(space.learning_rate), space.epochs) for space in config.spaces] == [
        ((True,), ("full",), "0.0001:0.01", (8,)),
        ((False,), ("full",), "1e-06:0.0001", (2,)),
        ((False,), ("lora",), "1e-05:0.001", (2,)),
    ]
    assert len(search_config(space={**WHOLE, "freeze": "true,false", "dims": "8", "epochs": "1"}).spaces) == 1


def test_the_file_of_alternatives_reads_back(tmp_path: Path) -> None:
    config = both()
    (tmp_path / "search.toml").write_text(write_toml(config))
    assert search_config(**read_toml(tmp_path / "search.toml")).spaces == config.spaces


def test_invalid_combinations_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        search_config(
            {"folds": 3},
            space=[
                {**FROZEN, "dims": "none,8"},
                {**FROZEN, "train": "lora"},
                {**WHOLE, "train": "lora"},
                {**FROZEN, "dims": "8", "matryoshka": "true"},
            ],
        )
    problems = list(error.value.problems)
    expected = (
        ("[space 1] dims", "freeze=false"),
        ("[space 2] train", "freeze=false"),
        ("[space 3] train", "wordllama"),
        ("[space 3] freeze", "--folds"),
        ("[space 4] matryoshka", "two dims"),
    )
    assert len(problems) == len(expected)
    for line, words in zip(problems, expected, strict=True):
        assert all(word in line for word in words), line


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid(name: str) -> None:
    config = search_config(**read_toml(preset_path(name)))
    assert config.sizes_by_data or planned_trials(config) > 0


def test_presets_are_listed_with_their_trials(capsys: pytest.CaptureFixture[str]) -> None:
    ran = tune_here(capsys, "presets")
    assert ran.code == 0, ran.err
    lines = {line.split()[0]: line for line in ran.out.splitlines()}
    assert set(preset_names()) == {"data-size", "quick", "quora-paper", "thorough"} <= set(lines)
    # 4 base models, frozen or not, 4 dims, 7 sizes.
    assert "grid" in lines["quora-paper"] and " 224 " in lines["quora-paper"]
    assert "grid" in lines["data-size"] and " by the data " in lines["data-size"]
    refused = tune_here(capsys, "search", "--preset", "nope")
    assert refused.code == 2 and "choose from data-size, quick, quora-paper, thorough" in refused.err


def test_freeze_and_train_flags_choose_among_alternatives() -> None:
    def spaces(*flags: str) -> list[tuple[tuple[bool, ...], tuple[str, ...], str]]:
        request, _ = search_request(search_parser(), ["--preset", "thorough", *flags])
        return [(space.freeze, space.train, str(space.learning_rate)) for space in request.config.spaces]

    frozen, whole, lora = spaces()
    assert spaces("--freeze", "true") == [frozen] and spaces("--freeze", "false") == [whole, lora]
    assert spaces("--train", "lora") == [frozen, lora] and spaces("--freeze", "false", "--train", "full") == [whole]
    assert {space[2] for space in spaces("--learning-rate", "1e-5")} == {"(1e-05,)"}, "any other axis applies to all"


def test_a_train_size_too_large_for_folds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    search = ("search", "--folds", 2, "--train-size", 3000, "--base-model", "wordllama", "--results", "nowhere")
    ran = tune_here(capsys, *search)
    assert ran.code == 2 and "2 folds leave 1789 pairs" in ran.err
