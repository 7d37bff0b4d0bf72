"""The conformance suite of all trial openers, wherever their trials run.

A test module that imports `TestStream` runs the suite; it must define a fixture `place` that returns a `Place`.
"""

import fcntl
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tune.config.trial import TrialConfig
from tune.train.stream import Report, Reports, TrialFailed, TrialOpener

__all__ = ["Place", "TestStream", "lock_is_free", "same_numbers", "take"]


@dataclass(frozen=True)
class Place:
    """An opener under test and where its trials run.

    config: returns a configuration that learns, given changes to it. directory: returns a configuration's directory.
    idle: returns whether no trial is running any more; may wait a little.
    """

    open: TrialOpener
    config: Callable[..., TrialConfig]
    directory: Callable[[TrialConfig], Path]
    idle: Callable[[], bool]


def same_numbers(report: Report) -> dict[str, Any]:
    """Return the numbers of a report that depend only on configuration, seed and data."""
    return {k: v for k, v in asdict(report).items() if k not in ("seconds", "pairs_per_second")}


def take(stream: Reports, count: int) -> list[Report]:
    """Return the next `count` reports."""
    return [next(stream) for _ in range(count)]


def lock_is_free(lock: Path) -> bool:
    """Return whether no process holds the lock file."""
    with open(lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


class TestStream:
    """The contract of TrialOpener."""

    def test_reports_are_numbered_in_order_to_the_end_of_the_plan(self, place: Place) -> None:
        config = place.config()
        reports = list(place.open(config, place.directory(config)))
        assert [report.number for report in reports] == list(range(1, 17))
        assert all(r.budget >= k / 16 for k, r in enumerate(reports, 1))
        steps = [report.step for report in reports]
        assert steps[0] >= 1 and steps == sorted(set(steps)), "optimizer steps so far"
        assert reports[-1].budget == 1.0 and [r.last for r in reports] == [False] * 15 + [True]
        best = [max(r.auc for r in reports[: k + 1]) for k in range(16)]
        assert [r.best_auc for r in reports] == best
        assert best[-1] > best[0] + 0.05, "the trial must have learned something"
        assert place.idle()

    def test_a_done_directory_replays(self, place: Place) -> None:
        config = place.config()
        first = list(place.open(config, place.directory(config)))
        assert list(place.open(config, place.directory(config))) == first
        assert list(place.open(config, place.directory(config), after=13)) == first[13:]
        assert list(place.open(config, place.directory(config), after=16)) == []

    def test_a_closed_stream_ends_the_trial_and_reopening_resumes_it(self, place: Place) -> None:
        whole = place.config(seed=1)
        expected = [same_numbers(r) for r in place.open(whole, place.directory(whole) / "whole")]
        directory = place.directory(whole) / "parts"
        stream = place.open(whole, directory)
        seen = take(stream, 5)
        stream.close()
        assert place.idle()
        again = list(place.open(whole, directory, after=5))
        assert [r.number for r in again] == list(range(6, 17)), "reports that the reader has are not repeated"
        assert [same_numbers(r) for r in [*seen, *again]] == expected

    def test_a_stream_closed_before_its_first_report_leaves_nothing_running(self, place: Place) -> None:
        config = place.config(seed=2)
        place.open(config, place.directory(config)).close()
        assert place.idle()

    def test_a_failure_has_its_reason_and_is_permanent(self, place: Place) -> None:
        config = place.config(learning_rate=3e38, scheduler="constantlr")
        reasons = []
        for _ in range(2):
            with pytest.raises(TrialFailed) as caught:
                list(place.open(config, place.directory(config)))
            reasons.append(str(caught.value))
        assert reasons[0] == reasons[1] and "learning rate" in reasons[0] and "\n" not in reasons[0]
        assert place.idle()
