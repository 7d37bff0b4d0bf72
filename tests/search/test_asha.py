"""ASHA's rungs: kept on disk, and each trial counted once."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tests.helpers.made_up_trials import ray_result
from tune.results.rungs import RungFile
from tune.search.asha import KeptASHA
from tune.search.in_turn import InTurn
from tune.search.rung_rule import GRACE, REDUCTION, Rung, continues


def asha(path: Path, min_steps: int = 0) -> KeptASHA:
    return KeptASHA(RungFile(path), key=lambda config: config["key"], min_steps=min_steps)


def trial(key: str, run: str = "") -> Any:
    return SimpleNamespace(trial_id=key + run, config={"key": key})


def test_rungs_survive_and_count_each_trial_once(tmp_path: Path) -> None:
    path = tmp_path / "asha.json"
    scheduler = asha(path)
    for number in range(8):
        scheduler.on_trial_add(None, trial(f"t{number}"))  # type: ignore[arg-type]
        scheduler.on_trial_result(None, trial(f"t{number}"), ray_result(1 / 16, 0.5 + number / 100))
    assert scheduler.on_trial_result(None, trial("bad"), ray_result(1 / 16, 0.4)) == TrialScheduler.STOP
    kept = RungFile(path)
    assert len(kept.rungs["0.0625"]) == 9 and list(kept.stopped) == ["bad"]

    resumed = asha(path)
    assert resumed._brackets[0]._rungs == scheduler._brackets[0]._rungs
    assert resumed.on_trial_result(None, trial("t3", "again"), ray_result(1 / 16, 0.53)) == TrialScheduler.CONTINUE
    assert RungFile(path).rungs == kept.rungs, "a replayed trial counts once"
    assert resumed.on_trial_result(None, trial("bad", "again"), ray_result(1 / 16, 0.4)) == TrialScheduler.STOP
    assert resumed.on_trial_result(None, trial("worst"), ray_result(1 / 16, 0.3)) == TrialScheduler.STOP
    # Stopped trials stay in the rung; in an empty rung, the worst trial would pass.
    assert asha(tmp_path / "new.json").on_trial_result(None, trial("worst"), ray_result(1 / 16, 0.3)) == "CONTINUE"


def test_a_decision_is_on_disk_before_it_is_acted_on_and_a_torn_one_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "asha.json"
    # As an earlier version left it, in one file.
    path.write_text(json.dumps({"rungs": {"0.0625": {f"t{n}": 0.5 for n in range(4)}, "0.25": {}}, "stopped": {}}))
    scheduler = asha(path)
    assert scheduler.on_trial_result(None, trial("bad"), ray_result(1 / 16, 0.4)) == TrialScheduler.STOP
    watching = RungFile(path)
    assert watching.stopped == {"bad": 1 / 16} and len(watching.rungs["0.0625"]) == 5
    assert scheduler.on_trial_result(None, trial("worse"), ray_result(1 / 16, 0.3)) == TrialScheduler.STOP
    watching.refresh()
    assert list(watching.stopped) == ["bad", "worse"]

    log = path.with_suffix(".log")
    log.write_bytes(log.read_bytes()[:-4])
    killed = RungFile(path)
    assert list(killed.stopped) == ["bad"] and len(killed.rungs["0.0625"]) == 5, "the torn decision was not acted on"
    killed.write()
    assert asha(path).on_trial_result(None, trial("worse"), ray_result(1 / 16, 0.3)) == TrialScheduler.STOP
    assert list(RungFile(path).stopped) == ["bad", "worse"]

    # Killed between asha.json and the removal of the log: nothing counts twice.
    both = log.read_bytes()
    merged = RungFile(path)
    merged.write()
    assert not log.exists() and json.loads(path.read_text()) == {"rungs": merged.rungs, "stopped": merged.stopped}
    log.write_bytes(both)
    assert RungFile(path).rungs == merged.rungs and RungFile(path).stopped == merged.stopped


def test_a_decision_costs_no_more_after_thousands_of_them(tmp_path: Path) -> None:
    scheduler, log = asha(tmp_path / "asha.json"), tmp_path / "asha.log"
    grown = []
    for number in range(2000):
        before = log.stat().st_size if log.exists() else 0
        scheduler.on_trial_result(None, trial(f"t{number:04}"), ray_result(1 / 16, 0.5))
        grown.append(log.stat().st_size - before)
    assert max(grown) == grown[0] and not (tmp_path / "asha.json").exists(), "one line each, nothing written anew"


def test_trials_start_in_turn_and_one_whose_worker_died_goes_last(tmp_path: Path) -> None:
    waiting = [Trial(f"t{number}", stub=True) for number in range(3)]
    for scheduler in (asha(tmp_path / "asha.json"), InTurn()):
        for one in waiting:
            one.set_status(Trial.PENDING)
            scheduler.on_trial_add(None, one)
        assert scheduler.choose_trial_to_run(None) is waiting[0]
        waiting[0].set_status(Trial.RUNNING)
        assert scheduler.choose_trial_to_run(None) is waiting[1]
        waiting[0].set_status(Trial.PENDING)
        scheduler.on_trial_add(None, waiting[0])
        assert scheduler.choose_trial_to_run(None) is waiting[1]
        for one in waiting[1:]:
            one.set_status(Trial.TERMINATED)
        assert scheduler.choose_trial_to_run(None) is waiting[0]
        waiting[0].set_status(Trial.ERROR)
        assert scheduler.choose_trial_to_run(None) is None


def test_a_failed_trial_is_not_recorded(tmp_path: Path) -> None:
    scheduler = asha(tmp_path / "asha.json")
    assert scheduler.on_trial_result(None, trial("t"), {"failed": "because"}) == TrialScheduler.CONTINUE
    scheduler.on_trial_complete(None, trial("t"), {"failed": "because"})
    assert scheduler._brackets[0]._rungs[-1][1] == {}


def test_a_late_first_report_counts_in_its_own_rung_and_stops_nobody_below(tmp_path: Path) -> None:
    path = tmp_path / "asha.json"
    scheduler = asha(path)
    for budget, auc in ((0.25, 0.80), (0.5, 0.86), (0.75, 0.88)):
        assert scheduler.on_trial_result(None, trial("late"), ray_result(budget, auc)) == TrialScheduler.CONTINUE
    rungs = RungFile(path).rungs
    assert rungs["0.25"] == {"late": 0.80} and rungs["0.0625"] == {"late": None}
    for scheduler_then in (scheduler, asha(path)):
        early = trial("early" if scheduler_then is scheduler else "earlier")
        assert scheduler_then.on_trial_result(None, early, ray_result(1 / 16, 0.7)) == TrialScheduler.CONTINUE
    assert asha(path).on_trial_result(None, trial("worse"), ray_result(1 / 16, 0.5)) == TrialScheduler.STOP


def test_a_single_report_at_the_end_is_compared_with_others_at_the_end(tmp_path: Path) -> None:
    scheduler = asha(tmp_path / "asha.json")
    for number in range(4):
        scheduler.on_trial_complete(None, trial(f"t{number}"), ray_result(1.0, 0.9))
    rungs = RungFile(tmp_path / "asha.json").rungs
    assert [sorted(set(entries.values()), key=str) for entries in rungs.values()] == [[0.9], [None], [None]]


def test_a_trial_of_few_steps_passes_a_rung_and_is_not_compared_there(tmp_path: Path) -> None:
    path = tmp_path / "asha.json"
    scheduler = asha(path, min_steps=10)
    for number in range(4):
        assert scheduler.on_trial_result(None, trial(f"t{number}"), ray_result(1 / 16, 0.8, 40)) == "CONTINUE"
    few = trial("few")
    # At 2/16 it has enough steps, but then it is late for the rung at 1/16.
    for budget, auc, step in ((1 / 16, 0.5, 5), (2 / 16, 0.6, 10), (3 / 16, 0.99, 15)):
        assert scheduler.on_trial_result(None, few, ray_result(budget, auc, step)) == "CONTINUE"
    assert RungFile(path).rungs["0.0625"] == {f"t{number}": 0.8 for number in range(4)} | {"few": None}
    for number in range(4):
        assert scheduler.on_trial_result(None, trial(f"t{number}"), ray_result(1 / 4, 0.9, 160)) == "CONTINUE"
    resumed = asha(path, min_steps=10)
    assert resumed.on_trial_result(None, few, ray_result(1 / 16, 0.5, 5)) == "CONTINUE", "replayed"
    assert resumed.on_trial_result(None, few, ray_result(1 / 4, 0.7, 20)) == TrialScheduler.STOP
    # With as many steps as needed, or an unknown number, it is judged at the first rung.
    for key, step in (("enough", 10), ("unknown", 0)):
        assert resumed.on_trial_result(None, trial(key), ray_result(1 / 16, 0.5, step)) == TrialScheduler.STOP


def test_a_trial_of_few_steps_counts_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "asha.json"
    asha(path, min_steps=10).on_trial_complete(None, trial("short"), ray_result(1.0, 0.9, 4))
    assert RungFile(path).rungs["1.0"] == {"short": 0.9}


def test_the_scheduler_decides_by_the_rule_that_benchmarks_play(tmp_path: Path) -> None:
    generator = random.Random(0)
    scheduler = asha(tmp_path / "asha.json", min_steps=10)
    rungs: list[Rung] = [(GRACE * REDUCTION**power, {}) for power in (2, 1, 0)]
    running = {f"t{number}": [0, generator.choice((16, 80, 320)), generator.random()] for number in range(60)}
    decisions = []
    while running:
        key = generator.choice(sorted(running)[:8])
        number, steps, quality = running[key]
        running[key][0] = number = number + generator.choice((1, 1, 3))
        budget = min(number / 16, 1.0)
        report = (budget, quality * budget**0.5, round(steps * budget))
        played = continues(rungs, key, report, 10)
        result = ray_result(*report)
        if budget == 1:
            scheduler.on_trial_complete(None, trial(key), result)
        else:
            decisions.append(scheduler.on_trial_result(None, trial(key), result))
            assert decisions[-1] == (TrialScheduler.CONTINUE if played else TrialScheduler.STOP)
        if budget == 1 or not played:
            del running[key]
    assert 10 < decisions.count(TrialScheduler.STOP) < 60
    assert str(scheduler._brackets[0]._rungs) == str(rungs)
