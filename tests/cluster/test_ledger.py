"""The ledger of a trial's calls: what it records, who may write, and what a search has cost."""

import threading
from pathlib import Path

import pytest

from cluster.ledger import CallEntry, Ledger, open_calls, totals


def test_calls_keep_their_facts_in_spawn_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "trial")
    assert ledger.latest() is None and open_calls(tmp_path) == []
    ledger.spawned("fc-1", "p1")
    ledger.note("fc-1", container="ta-1", began=100.0)
    ledger.note("fc-1", container="ta-2", began=160.0)  # the first container was lost
    ledger.note("fc-1", finished=180.0)
    ledger.note("fc-1", cancelled=190.0)
    ledger.spawned("fc-2", "p2")
    first, second = ledger.entries().values()
    assert first.containers == ["ta-1", "ta-2"] and first.began == 100.0 and first.ending == 180.0
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


def test_only_calls_that_a_container_has_taken_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.ledger.time.time", lambda: 1000.0)
    entries = [
        CallEntry("waits", "p", 900.0),
        CallEntry("works", "p", 900.0, ["ta-1"], began=990.0),
        CallEntry("stopped", "p", 900.0, ["ta-2"], began=950.0, cancelled=960.0),
        CallEntry("lost", "p", 900.0, ["ta-1", "ta-3"], began=900.0, over=905.0),
    ]
    used = totals(entries)
    assert (used.seconds, used.containers, used.calls, used.running) == (25.0, 3, 4, 1)
