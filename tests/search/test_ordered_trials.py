"""Decisions in a logical order: the same whatever the speed of the workers, and after any kill."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.simulated_search import Disk, Simulation, key_of, report_of
from tune.results.rungs import RungFile


def paces(seed: int) -> Callable[[str], float]:
    """Return how slow each trial is: up to twenty times as slow as others, for no reason."""
    return lambda key: random.Random(f"{seed} {key}").lognormvariate(0, 0.7)


def fails(key: str, number: int) -> bool:
    """Every sixth trial fails, early on if it is not stopped before."""
    place = int(key, 16)
    return place % 6 == 0 and number == place // 6 % 6 + 1


def story(folder: Path, simulation: Simulation) -> dict[str, Any]:
    """Return all that must be the same: trials and their reports in order of suggestion, the study, and the rungs."""
    kept = RungFile(folder / "asha.json")
    return {
        "reports": simulation.disk.reports,
        "failed": simulation.disk.failed,
        "study": [(trial.state, trial.params, trial.values, trial.intermediate_values)
                  for trial in simulation.study._ot_study.trials],
        "rungs": kept.rungs,
        "stopped": kept.stopped,
    }  # fmt: skip


def searched(folder: Path, seed: int, slots: int, asha: bool) -> dict[str, Any]:
    simulation = Simulation(folder, Disk(), slots, 40, paces(seed), asha)
    simulation.fails = fails
    return story(folder, simulation.run())


@pytest.mark.parametrize(("slots", "asha"), [(1, True), (2, True), (8, True), (3, False)])
def test_the_speed_of_workers_changes_nothing(tmp_path: Path, slots: int, asha: bool) -> None:
    first = searched(tmp_path / "0", 0, slots, asha)
    assert len(first["reports"]) == 40 and len(first["failed"]) in range(1, 10)
    if asha:
        assert len(first["stopped"]) > 10
        for key, budget in first["stopped"].items():
            assert first["reports"][key][-1].budget == budget, "a stopped trial has trained no further"
    for seed in range(1, 4):
        assert searched(tmp_path / str(seed), seed, slots, asha) == first


def test_other_slots_are_another_search(tmp_path: Path) -> None:
    assert searched(tmp_path / "2", 0, 2, True) != searched(tmp_path / "3", 0, 3, True)


@pytest.mark.parametrize("asha", [True, False])
def test_a_search_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path: Path, asha: bool) -> None:
    whole = searched(tmp_path / "whole", 0, 3, asha)
    chance = random.Random(0)
    for number in range(4):
        folder, disk = tmp_path / str(number), Disk()
        kills = 0
        while True:
            simulation = Simulation(folder, disk, 3, 40, paces(chance.randrange(100)), asha)
            simulation.fails = fails
            simulation.run(until=chance.randrange(1, 30))
            if simulation.trials.over and not simulation.trials.running:
                break
            kills += 1
            if asha and chance.random() < 0.5:
                # Killed while it wrote its last decision.
                log = folder / "asha.log"
                log.write_bytes(log.read_bytes()[:-5]) if log.exists() else None
        assert kills > 3
        end = story(folder, simulation)
        assert end == {**whole, "reports": end["reports"]}
        assert {key: reports for key, reports in end["reports"].items() if reports} == {
            key: reports for key, reports in whole["reports"].items() if reports
        }


def test_a_trial_whose_worker_died_repeats_its_reports_and_is_still_held(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, Disk(), 2, 4, lambda key: 1.0)
    trials = simulation.trials
    (first, point), (second, other) = trials.take(), trials.take()
    assert trials.take() is None and not trials.over
    quick, slow = report_of(key_of(point), point, 1).metrics(), report_of(key_of(other), other, 1).metrics()
    later = max((first, quick), (second, slow), key=lambda one: (trials._clock._running[one[0]].at(1 / 16), one[0]))
    number, result = later
    assert not trials.report(number, result), "the other one's comes first by plan"
    assert not trials.report(number, result) and trials.decisions() == []
    rest = first + second - number
    assert not trials.report(rest, quick if rest == first else slow)
    decided = dict(trials.decisions())
    assert decided.keys() == {first, second}
    assert trials.report(number, result) == decided[number], "it need not wait again"


def test_a_trial_that_is_given_up_frees_its_slot(tmp_path: Path) -> None:
    trials = Simulation(tmp_path, Disk(), 1, 2, lambda key: 1.0).trials
    number, _ = trials.take()
    assert trials.take() is None
    trials.end(number, None)
    after, _ = trials.take()
    assert after != number and trials.ended == 1
