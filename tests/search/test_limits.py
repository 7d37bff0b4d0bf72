"""Limits of a search over trials that train nothing: each ends it in order, says so, and keeps what was done."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.made_up_search import MADE_UP, search
from tests.helpers.made_up_trials import Curves, planned
from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.errors import ConfigError, UserError
from tune.events import Event, TrialEvent
from tune.search.limits import Limits, LimitWatch, Standing
from tune.search.ray_cluster import connected
from tune.search.run import SearchRun
from tune.train.outcomes import TrialOutcome
from tune.train.stream import Reports

MANY = {"dims": list(range(20, 60)), "epochs": [1]}


@pytest.fixture(scope="module")
def resources(warm_ray: None) -> Iterator[dict[str, float]]:
    with connected(search_config(), jobs=2) as (resources, _):
        yield resources


@dataclass(frozen=True)
class Slow:
    """Trials of `opener`, with a pause before each report."""

    opener: Any = MADE_UP
    seconds: float = 0.05

    def __call__(self, config: TrialConfig, directory: Path, after: int = 0) -> Reports:
        for report in self.opener(config, directory, after):
            time.sleep(self.seconds)
            yield report


def at_a_limit(run: SearchRun, outcomes: list[TrialOutcome], events: list[Event], began: int) -> None:
    """Check that the search ended in order. began: so many trials may have begun."""
    of_trials = [event for event in events if isinstance(event, TrialEvent)]
    assert {event.trial for event in of_trials} == {one.trial for one in outcomes}
    assert len(outcomes) <= began
    last = {event.trial: event.status for event in of_trials}
    names = {"halfway": "unfinished"}
    assert last == {one.trial: names.get(one.status, one.status) for one in outcomes}
    assert run.trials == sum(one.status != "halfway" for one in outcomes)
    assert not any(
        "stopped" in [path.name for path in one.directory.iterdir()] for one in outcomes if one.status == "halfway"
    )


@pytest.mark.parametrize("algorithm", ["grid", "optuna", "asha"])
def test_a_target_ends_the_search_at_the_report_that_reaches_it(
    algorithm: str, tmp_path: Path, resources: dict[str, float]
) -> None:
    def searched() -> tuple[SearchRun, list[TrialOutcome], list[Event]]:
        options: dict[str, Any] = {"search": algorithm, "trials": 40, "target_auc": 0.525}
        return search(tmp_path, resources, Slow(), space=dict(MANY), **options)

    run, outcomes, events = searched()
    assert run.interrupted.startswith("at validation AUC 0.5") and run.interrupted.endswith("(--target-auc 0.525)")
    at_a_limit(run, outcomes, events, began=10)
    assert max(one.best.auc for one in outcomes if one.best) >= 0.525
    again, _, events = searched()
    assert again.interrupted.endswith("(--target-auc 0.525)") and again.trials == 0
    assert not [event for event in events if isinstance(event, TrialEvent)], "nothing starts"


def test_a_higher_limit_goes_on_where_the_search_ended(tmp_path: Path, resources: dict[str, float]) -> None:
    space = {"dims": [20, 21, 22, 23], "epochs": [1]}
    _, before, _ = search(tmp_path, resources, Slow(), search="grid", target_auc=0.53, space=dict(space))
    assert any(one.status == "halfway" for one in before)
    run, outcomes, _ = search(tmp_path, resources, Slow(), search="grid", target_auc=0.9, space=dict(space))
    assert run.interrupted == "" and [one.status for one in outcomes] == ["done"] * 4


def test_in_order_a_held_trial_ends_at_once(tmp_path: Path, resources: dict[str, float]) -> None:
    options: dict[str, Any] = {"search": "asha", "trials": 12}
    space = {"dims": [64, 128], "learning_rate": "1e-4:1e-2", "epochs": [1]}

    def ends(folder: Path) -> dict[str, Any]:
        run, outcomes, _ = search(folder, resources, Curves(), planned, space=dict(space), **options)
        assert run.interrupted == ""
        return {one.trial: (one.status, len(one.reports)) for one in outcomes}

    run, outcomes, events = search(
        tmp_path / "a", resources, Slow(Curves()), planned, space=dict(space), target_auc=0.86, **options
    )
    assert "--target-auc" in run.interrupted
    at_a_limit(run, outcomes, events, began=11)
    assert ends(tmp_path / "a") == ends(tmp_path / "b"), "decided as without the limit"


def test_too_many_failures_end_the_search(tmp_path: Path, resources: dict[str, float]) -> None:
    space = {"dims": [7], "epochs": list(range(1, 30)), "learning_rate": [1e-3]}
    run, outcomes, events = search(tmp_path, resources, search="grid", max_failures=6, space=dict(space))
    assert run.interrupted in ("after 7 failed trials (--max-failures 6)", "after 8 failed trials (--max-failures 6)")
    at_a_limit(run, outcomes, events, began=9)


def test_money_ends_the_search(tmp_path: Path, resources: dict[str, float]) -> None:
    def spent() -> float:
        return 0.1 * sum(len(path.read_text().splitlines()) for path in tmp_path.glob("trials/*/reports.jsonl"))

    run, outcomes, events = search(
        tmp_path, resources, Slow(), search="grid", max_usd=2.5, space=dict(MANY), spent=spent
    )
    assert run.interrupted.startswith("after spending about ") and run.interrupted.endswith(" USD (--max-usd 2.5)")
    at_a_limit(run, outcomes, events, began=12)
    run, _, events = search(tmp_path, resources, Slow(), search="grid", max_usd=2.5, space=dict(MANY), spent=spent)
    assert run.trials == 0 and not [event for event in events if isinstance(event, TrialEvent)], "nothing starts"


def test_hours_end_the_search_after_the_next_reports(tmp_path: Path, resources: dict[str, float]) -> None:
    run, outcomes, events = search(
        tmp_path, resources, Slow(seconds=0.1), search="grid", max_hours=4 / 3600, space=dict(MANY)
    )
    assert run.interrupted == "after 0.00111111 hours (--max-hours)"
    at_a_limit(run, outcomes, events, began=8)


def test_trials_that_all_fail_for_one_reason_have_a_cause_to_remove(
    tmp_path: Path, resources: dict[str, float]
) -> None:
    space = {"dims": [7], "epochs": list(range(1, 30))}
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"the first 5 trials that ended all failed: seven is not taken; .*--resume"
        ) as raised:
            search(tmp_path, resources, search="grid", space=dict(space))
        assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("trials/*/failed.json")), "all are trained again"


def test_one_trial_that_does_not_fail_is_enough_to_go_on(tmp_path: Path, resources: dict[str, float]) -> None:
    space = {"dims": [20, 7], "epochs": list(range(1, 8))}
    run, outcomes, _ = search(tmp_path, resources, search="grid", jobs=1, space=dict(space))
    assert run.interrupted == "" and run.trials == 14
    assert sorted({one.status for one in outcomes}) == ["done", "failed"]


def test_running_trials_have_a_bounded_time_for_their_next_report(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("tune.search.limits.time.monotonic", lambda: now)
    for hours, grace in ((0.1, 60.0), (1.0, 360.0)):
        now = 1000.0
        watch = LimitWatch(Limits(max_hours=hours), [], lambda: 0.0)
        now += hours * 3600
        watch.check()
        assert watch.reached == f"after {hours:g} hours (--max-hours)" and watch.patient
        now += grace - 1
        assert watch.patient
        now += 2
        assert not watch.patient


def test_each_limit_says_its_option() -> None:
    limits = Limits(max_usd=5, max_hours=2, target_auc=0.9, max_failures=0)
    below = Standing(seconds=7199, usd=4.99, best_auc=0.899, failures=0)
    assert limits.reached(below) == "" and Limits().reached(Standing(1e9, 1e9, 1.0, 10**6)) == ""
    reached = (
        replace(below, seconds=7200), replace(below, usd=5.0), replace(below, best_auc=0.9), replace(below, failures=1),
    )  # fmt: skip
    said = {limits.reached(standing) for standing in reached}
    assert said == {
        "after 2 hours (--max-hours)",
        "after spending about 5.00 USD (--max-usd 5)",
        "at validation AUC 0.9000 (--target-auc 0.9)",
        "after 1 failed trial (--max-failures 0)",
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_usd", 0), ("max_hours", 0), ("target_auc", 0.5), ("target_auc", 1.01), ("max_failures", -1)],
)
def test_limits_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"\[search\] {option}: .*not {value}"):
        search_config({option: value})
