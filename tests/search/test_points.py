"""Points of grid and random searches, and the searcher that hands them out."""

import random

import pytest

from tests.helpers.made_up_trials import space
from tune.config.search import search_config
from tune.errors import ConfigError
from tune.search.points import (
    distinct_points,
    grid_points,
    planned_trials,
    point_key,
    random_points,
    small_space,
    unseen_point,
)
from tune.search.points_search import PointsSearch


def test_a_grid_is_the_full_product() -> None:
    points = grid_points(space(dims="8,16", loss="cosent,mnr", learning_rate="1e-3,1e-2", epochs="1"))
    assert len(points) == 8 and len({repr(point) for point in points}) == 8
    assert {point["dims"] for point in points} == {8, 16}


def test_random_points_are_seeded_distinct_and_within_their_ranges() -> None:
    wide = space(learning_rate="1e-4:1e-2", dropout="0:0.5")
    points = random_points(wide, 200, seed=3)
    assert points == random_points(wide, 200, seed=3) != random_points(wide, 200, seed=4)
    rates = sorted(point["learning_rate"] for point in points)
    assert rates[0] >= 1e-4 and rates[-1] <= 1e-2
    assert 0.0005 < rates[100] < 0.002, "uniform in the logarithm: the median is near 1e-3"
    assert 0.2 < sorted(point["dropout"] for point in points)[100] < 0.3
    assert len(random_points(space(dims="8,16", loss="cosent", learning_rate="1e-3"), 10, seed=0)) == 2
    searcher = PointsSearch(points[:2])
    assert [searcher.suggest("a"), searcher.suggest("b")] == points[:2]
    assert searcher.suggest("c") == PointsSearch.FINISHED


def test_a_seed_draws_the_points_that_it_drew_before_there_were_side_and_bias() -> None:
    """A search that began then must resume with its own points."""
    before = [
        ("wordllama", 256, "cosent", "identity"), ("minilm", 256, "angle", "identity"),
        ("wordllama", 128, "contrastive", "tanh"), ("wordllama", 256, "cosent", "identity"),
    ]  # fmt: skip
    axes, seen = {"base_model": "minilm,wordllama"}, ("base_model", "dims", "loss", "activation")
    axes["activation"] = "identity,tanh"
    for bias in ("true", "auto"):
        spaces = search_config({"search": "random"}, space={**axes, "bias": bias}).spaces
        drawn = random_points(spaces, 4, seed=7)
        assert [tuple(point[axis] for axis in seen) for point in drawn] == before
    varied = random_points(search_config({"search": "random"}, space={**axes, "bias": "true,false"}).spaces, 40, seed=7)
    assert {point["bias"] for point in varied} == {True, False}


def test_a_range_from_0_is_linear_and_one_above_0_logarithmic() -> None:
    points = random_points(space(weight_decay="0:0.1"), 200, seed=3)
    decays = sorted(point["weight_decay"] for point in points)
    assert 0 <= decays[0] < 0.005 and 0.04 < decays[100] < 0.06 and decays[-1] <= 0.1
    assert random_points(space(weight_decay="0.0:0.1"), 200, seed=3) == points, "as search.toml writes it"
    decays = sorted(point["weight_decay"] for point in random_points(space(weight_decay="1e-4:0.01"), 200, seed=3))
    assert 0.0005 < decays[100] < 0.002


def test_a_learning_rate_of_0_is_refused_in_a_range_as_in_a_list() -> None:
    for given, why in (("0:0.1", "range '0:0.1' is logarithmic, so its low end must be above 0"), ("0", "above 0")):
        with pytest.raises(ConfigError) as caught:
            space(learning_rate=given)
        [line] = caught.value.problems
        assert line.startswith("[space] learning_rate") and why in line
    with pytest.raises(ConfigError, match="-1 is too small; it must be at least 0"):
        space(weight_decay="-1:0.1")


def test_a_small_space_is_counted_with_all_its_conditions() -> None:
    conditional = space(
        dims="8,16", freeze="true,false", loss="cosent,mnr", hard_negatives="true,false", dropout="0,0.1",
        matryoshka="true,false", learning_rate="1e-3",
    )  # fmt: skip
    points = grid_points(conditional)
    assert distinct_points(conditional, 10_000) == len(points) == len({point_key(point) for point in points})
    assert distinct_points((*conditional, *conditional), 10_000) == len(points), "the spaces overlap"
    assert distinct_points(conditional, len(points) - 1) == len(points) - 1
    seen = {point_key(point) for point in points[3:]}
    assert distinct_points(conditional, 10_000, seen) == 3 and distinct_points(conditional, -1) == 0
    own = {"freeze": "false", "dims": "none", "loss": "cosent", "learning_rate": "1e-3,1e-2"}
    assert distinct_points(space(**own, dropout="0:0.5"), 40) == 2, "without a Dense layer there is no dropout"
    assert distinct_points(space(**own | {"dims": "8"}, dropout="0:0.5"), 40) == 40


@pytest.mark.timeout(20)
def test_a_huge_space_is_not_listed() -> None:
    numbers = ",".join(map(str, range(1, 300)))
    huge = space(dims=numbers, epochs=numbers, batch_size=numbers, learning_rate=numbers)
    assert distinct_points(huge, 1000) == 1000
    seen = {point_key(point) for point in random_points(huge, 50, seed=0)}
    assert len(seen) == 50 and point_key(unseen_point(huge, seen, random.Random(0)) or {}) not in seen


def test_random_points_miss_no_point_of_a_small_space() -> None:
    # Spaces are equally likely, so random draws nearly always miss some of the 100 points of the last one.
    shared = {"base_model": "wordllama", "loss": "cosent"}
    small = [{**shared, "dims": "4", "epochs": str(epochs), "learning_rate": "1e-3"} for epochs in range(1, 31)]
    rates = ",".join(f"{number}e-4" for number in range(1, 101))
    spaces = search_config({"search": "random"}, space=[*small, {**shared, "dims": "8", "learning_rate": rates}]).spaces
    for trials, expected in ((130, 130), (200, 130), (129, 129)):
        points = random_points(spaces, trials, seed=0)
        assert len(points) == len({point_key(point) for point in points}) == expected
    assert random_points(spaces, 200, seed=0) == random_points(spaces, 200, seed=0)


def test_unseen_points_run_out() -> None:
    small = space(dims="8,16", loss="cosent,angle", learning_rate="1e-3")
    seen: set[str] = set()
    while (point := unseen_point(small, seen, random.Random(len(seen)))) is not None:
        assert point_key(point) not in seen
        seen.add(point_key(point))
    assert seen == {point_key(point) for point in grid_points(small)}


def test_a_search_of_a_small_space_plans_each_point_once_and_reports_it() -> None:
    lists = {"base_model": "wordllama", "dims": "8,16,32", "loss": "cosent,angle", "learning_rate": "1e-3,1e-2"}

    def of(search: str, trials: int, **axes: str) -> tuple[int, str]:
        config = search_config({"search": search, "trials": trials}, space={**lists, **axes})
        return planned_trials(config), small_space(config)

    for search in ("random", "optuna", "asha"):
        line = "the space has only 12 configurations; all of them will be tried, not 40 (--trials)"
        assert of(search, 40) == (12, line)
        assert of(search, 12) == (12, "") and of(search, 11) == (11, "")
        assert of(search, 40, learning_rate="1e-3:1e-2") == (40, "")
        one = {"dims": "8", "loss": "angle", "learning_rate": "1e-3"}
        line = "the space has only 1 configuration; it will be tried once, not 5 times (--trials)"
        assert of(search, 5, **one) == (1, line)
    assert of("grid", 40) == (12, "")
