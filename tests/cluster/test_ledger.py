"""The ledger of a trial's calls: what it records, who may write, and what a search has cost."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.keeper import Keeper
from cluster.ledger import CallEntry, Ledger, Stint, container_seconds, open_calls, totals
from cluster.settings import TRIAL_SCALEDOWN


def test_calls_keep_their_facts_in_spawn_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trial")
    assert ledger.latest() is None and open_calls(tmp_path) == []
    ledger.spawned("fc-1", "p1")
    ledger.note("fc-1", container="ta-1", began=100.0, started=95.0)
    ledger.note("fc-1", container="ta-1", began=100.0, started=95.0)  # another reader
    ledger.note("fc-1", container="ta-2", began=160.0)  # the first container was lost
    ledger.note("fc-1", finished=180.0)
    ledger.note("fc-1", cancelled=190.0)
    ledger.spawned("fc-2", "p2")
    first, second = ledger.entries().values()
    assert first.stints == [Stint("ta-1", 100.0, 95.0), Stint("ta-2", 160.0)]
    assert first.began == 100.0 and first.ending == 180.0
    assert first.seconds(now=999.0) == 80.0 and second.seconds(now=999.0) == 0.0
    assert ledger.latest() == second and not second.ending
    assert [entry.call for _, entry in open_calls(tmp_path)] == ["fc-1", "fc-2"]
    ledger.note("fc-1", over=200.0)
    assert [(path, entry.call) for path, entry in open_calls(tmp_path)] == [(tmp_path / "trial", "fc-2")]


def test_a_torn_line_and_an_unknown_call_are_ignored(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.spawned("fc-1", "p1")
    ledger.note("fc-9", over=1.0)
    with open(ledger.path, "a") as file:
        file.write('{"call": "fc-1", "ov')
    assert [entry.call for entry in ledger.entries().values()] == ["fc-1"]


def test_many_writers_lose_no_line(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for n in range(50):
            Ledger(tmp_path).spawned(f"fc-{number}-{n}", "p")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert len(Ledger(tmp_path).entries()) == 200


def test_only_one_reader_at_a_time_decides_whether_a_trial_gets_a_call(tmp_path: Path) -> None:
    ledger, inside = Ledger(tmp_path), threading.Event()

    def other() -> None:
        with Ledger(tmp_path).locked():
            inside.set()

    thread = threading.Thread(target=other)
    with ledger.locked():
        thread.start()
        assert not inside.wait(0.2)
    assert inside.wait(10)
    thread.join(10)


def call(*stints: Stint, finished: float | None = None, over: float | None = None) -> CallEntry:
    return CallEntry("fc", "p", 0.0, list(stints), finished=finished, over=over)


MOVED = call(Stint("ta-1", 100.0, 90.0), Stint("ta-2", 160.0, 155.0), finished=180.0)
ONE = call(Stint("ta-1", 100.0, 90.0), finished=130.0)


@pytest.mark.parametrize(
    ("calls", "now", "expected"),
    [
        ([call()], 1000, {}),
        ([ONE], 1000, {"ta-1": 100}),
        ([ONE], 150, {"ta-1": 60}),
        ([ONE, call(Stint("ta-1", 140.0, 90.0), finished=170.0)], 1000, {"ta-1": 140}),
        ([call(Stint("ta-1", 400.0), finished=410.0), ONE], 1000, {"ta-1": 170}),
        ([MOVED], 210, {"ta-1": 120, "ta-2": 55}),
        ([call(Stint("ta-1", 100.0, 90.0))], 150, {"ta-1": 60}),
        ([call(Stint("ta-1", 100.0), over=105.0)], 1000, {"ta-1": 65}),
    ],
    ids=[
        "waits for a container", "start and idle time", "still warm", "idle between two calls",
        "gone between two calls", "moved to a second container", "unfinished", "start unknown",
    ],
)  # fmt: skip
def test_a_container_is_paid_for_from_its_start_until_it_was_idle_for_long(
    calls: list[CallEntry], now: float, expected: dict[str, float]
) -> None:
    assert container_seconds(calls, now, idle=60.0) == expected


def test_totals_are_those_of_all_calls() -> None:
    used = totals([call(), ONE, call(Stint("ta-2", 145.0, 140.0))], now=150.0, idle=60.0)
    assert (used.seconds, used.containers, used.calls, used.running) == (70.0, 2, 3, 1)


def test_a_search_costs_its_containers_and_a_trial_its_own_calls(tmp_path: Path) -> None:
    began = time.time() - 1000
    for number, trial in enumerate(("first", "second")):
        ledger = Ledger(tmp_path / trial)
        ledger.spawned(f"fc-{number}", "p")
        ledger.note(f"fc-{number}", container="ta-1", began=began + 100 * number, started=began - 10)
        ledger.note(f"fc-{number}", left=began + 100 * number + 50, finished=began + 100 * number + 51)
    Ledger(tmp_path / "waits").spawned("fc-9", "p")
    unused: Any = None  # a Volume and a fence, for commits
    keeper = Keeper(unused, unused, lambda event: None, every=1000, ledger_every=1000)
    try:
        keeper.watch(tmp_path, lambda seconds: seconds * 2)
        assert keeper.usd() == pytest.approx(2 * (10 + 150 + TRIAL_SCALEDOWN))
        assert keeper.usd_by_trial() == pytest.approx({"first": 100.0, "second": 100.0, "waits": 0.0})
        keeper.watch(tmp_path, lambda seconds: None)
        assert keeper.usd() is None and keeper.usd_by_trial() == {}
    finally:
        keeper.close()
