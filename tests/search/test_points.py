"""Points of grid and random searches, and the searcher that hands them out."""

from tests.helpers.made_up_trials import space
from tune.search.points import grid_points, random_points
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
