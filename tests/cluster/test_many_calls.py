"""Many concurrent calls from one head: one process and one partition for all, and what a kill of that process costs.

The stand-in answers the calls itself, so that dozens run at a time on any machine.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.ledger import Ledger
from tests.helpers.command import background, wait_for
from tests.helpers.simulated_trials import SimulatedTrials, head_command
from tests.modal_local import Call, ModalLocal, RpcFault
from tune.train.outcomes import trial_outcomes

pytestmark = [pytest.mark.modal, pytest.mark.timeout(180)]

JOBS = 60
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[ModalLocal]:
    with ModalLocal(tmp_path / "modal", simulated={"train_trial": SimulatedTrials(0.4)}) as running:
        yield running
        assert running.errors == [] and running.unknown_rpcs == [] and running.running_calls() == []


@contextlib.contextmanager
def head(stand_in: ModalLocal, root: Path, jobs: int, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A head in the background."""
    with background(head_command(root, jobs, **options), stand_in.env, root.with_suffix(".log"), REPOSITORY) as process:
        yield process


def result_of(process: subprocess.Popen[str], root: Path) -> dict[str, Any]:
    log = root.with_suffix(".log")
    assert process.wait(120) == 0, log.read_text()[-3000:]
    found: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return found


def hosts(pid: int) -> list[int]:
    """Return the processes below `pid` that host trials."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                title = Path(f"/proc/{child}/cmdline").read_bytes()
                found += [child] * title.startswith(b"ray::TrialHost") + hosts(child)
    return found


def known_calls(root: Path) -> list[str]:
    """Return the calls in all ledgers."""
    return [call for path in root.glob("trials/*") for call in Ledger(path).entries()]


def trained(stand_in: ModalLocal) -> list[Call]:
    return [call for call in stand_in.calls if call.function == "train_trial"]


def test_a_killed_process_with_all_calls_costs_no_second_call(stand_in: ModalLocal, tmp_path: Path) -> None:
    root, dims = tmp_path / "kill", [7, 9, *range(16, 16 + JOBS - 2)]
    with head(stand_in, root, JOBS, search="grid", space={"dims": dims, "learning_rate": [1e-3]}) as process:
        wait_for(lambda: len(known_calls(root)) == JOBS and stand_in.running_calls(), 90)
        [host] = hosts(process.pid)
        os.kill(host, signal.SIGKILL)
        result = result_of(process, root)
    assert result["trials"] == JOBS and result["left_running"] == 0
    assert len(trained(stand_in)) == JOBS, "read on, also those that ended while nobody read"
    assert {call.state for call in trained(stand_in)} == {"success"}
    assert 0 < result["events"]["lost"] <= JOBS, "each lost its worker once"
    assert (result["events"]["done"], result["events"]["failed"]) == (JOBS - 1, 1)


def test_calls_share_a_partition_and_stopped_ones_are_cancelled(stand_in: ModalLocal, tmp_path: Path) -> None:
    root, jobs = tmp_path / "stop", 20
    options = {"search": "asha", "trials": 30, "space": {"dims": [16, 64, 256], "learning_rate": "1e-4:1e-1"}}
    with head(stand_in, root, jobs, **options) as process:
        wait_for(lambda: len(stand_in.running_calls()) >= jobs, 90)
        assert len(hosts(process.pid)) == 1
        result = result_of(process, root)
    assert result["trials"] == len(trained(stand_in)) == 30 and result["left_running"] == 0
    states = [call.state for call in trained(stand_in)]
    assert states.count("cancelled") > 0 and set(states) == {"success", "cancelled"}
    entries = [entry for path in root.glob("trials/*") for entry in Ledger(path).entries().values()]
    assert len({entry.partition for entry in entries}) == 1 and len({entry.key for entry in entries}) == 30
    cancelled = {entry.call for entry in entries if entry.cancelled is not None}
    assert {call.call_id for call in trained(stand_in) if call.state == "cancelled"} <= cancelled, "by their ids"
    assert trial_outcomes(root / "trials", root / "asha.json")


def test_an_outage_loses_no_trial_and_spawns_no_call_twice(stand_in: ModalLocal, tmp_path: Path) -> None:
    root, dims = tmp_path / "outage", list(range(16, 28))
    outage = RpcFault(on=False)
    stand_in.rpc_faults.append(outage)
    with head(stand_in, root, 6, search="grid", space={"dims": dims, "learning_rate": [1e-3]}) as process:
        wait_for(lambda: len(trained(stand_in)) >= 6 and any(call.done for call in trained(stand_in)), 90)
        # Longer than the client itself tries; some calls end and others are due to be spawned meanwhile.
        outage.on = True
        time.sleep(4)
        outage.on = False
        result = result_of(process, root)
    assert outage.hit > 0 and result["trials"] == len(dims) and result["left_running"] == 0
    assert len(trained(stand_in)) == len(dims) and {call.state for call in trained(stand_in)} == {"success"}
    assert result["events"]["done"] == len(dims) and "lost" not in result["events"], "no trial lost its worker"
