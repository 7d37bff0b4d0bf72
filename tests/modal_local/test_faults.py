"""Killed and preempted containers of the stand-in, and a killed server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command import wait_for
from tests.modal_local import Fault
from tests.modal_local.toy import REPOSITORY, WAYS, Start, modal, run

pytestmark = [pytest.mark.modal, pytest.mark.timeout(60)]


@pytest.mark.parametrize("preload", WAYS)
def test_the_input_of_a_killed_container_runs_again_in_another(
    preload: tuple[str, ...], start: Start, toy: Path
) -> None:
    stand_in = start(Fault("count", container=1, kind="kill", after_s=0.3), preload=preload)
    reported = run(stand_in, toy, "count")
    first, second = stand_in.containers
    assert reported["result"] == 4
    assert reported["items"][-4:] == [[n, second.task_id] for n in range(4)]
    lost = reported["items"][:-4]
    assert lost and lost == [[n, first.task_id] for n in range(len(lost))]
    (call,) = stand_in.calls
    assert (call.state, call.attempts, call.retries) == ("success", 2, 1)
    assert call.containers == [first.task_id, second.task_id]
    assert first.exit_code != 0 and second.exit_code == 0


def test_a_container_is_ended_on_demand(start: Start, toy: Path) -> None:
    stand_in = start(Fault("alone", container=2, kind="preempt"))
    with subprocess.Popen(modal("run", "--detach", "toy_app.py", "sleep"), cwd=toy, env=stand_in.env) as client:
        try:
            wait_for(lambda: [call for call in stand_in.calls if call.state == "running"], 20)
            stand_in.end_container(stand_in.containers[0], "preempt", grace_s=1.0)
            wait_for(lambda: len(stand_in.calls[0].containers) == 3, 20)
            stand_in.end_container(stand_in.containers[2])
            wait_for(lambda: stand_in.calls[0].done, 20)
        finally:
            client.kill()
    assert [(call.state, call.attempts) for call in stand_in.calls] == [("failure", 3)]
    assert [container.preempted for container in stand_in.containers] == [True, True, False]


def test_a_kill_without_retries_fails_the_call(start: Start, toy: Path) -> None:
    stand_in = start(Fault("count_once", kind="kill", after_s=0.3))
    reported = run(stand_in, toy, "count", "count_once")
    assert "ended with exit code" in reported["result"]
    assert [(call.state, call.attempts) for call in stand_in.calls] == [("failure", 1)]


@pytest.mark.parametrize("preload", WAYS)
def test_a_preempted_container_is_interrupted_and_its_input_runs_again(
    preload: tuple[str, ...], start: Start, toy: Path
) -> None:
    stand_in = start(Fault("count", container=1, kind="preempt", after_s=0.3), preload=preload)
    reported = run(stand_in, toy, "count")
    first, second = stand_in.containers
    assert reported["result"] == 4
    assert reported["items"][-5:] == ["interrupted", *([n, second.task_id] for n in range(4))]
    assert (first.preempted, second.preempted) == (True, False)
    assert [(call.attempts, call.retries) for call in stand_in.calls] == [(2, 0)]


SERVER = """
import json, pathlib, sys, time
from tests.modal_local import ModalLocal
with ModalLocal(pathlib.Path(sys.argv[1])) as stand_in:
    print(json.dumps(stand_in.env), flush=True)
    while True:
        print(*(container.pid for container in stand_in.containers if container.pid and container.call), flush=True)
        time.sleep(0.1)
"""


def test_containers_die_with_the_server(tmp_path: Path, toy: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path / "modal")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        env = json.loads(server.stdout.readline())
        with subprocess.Popen(modal("run", "--detach", "toy_app.py", "sleep"), cwd=toy, env=env) as client:
            try:
                pid = int(next(line for line in server.stdout if line.strip()))
                assert Path(f"/proc/{pid}").exists()
                server.kill()
                wait_for(lambda: not Path(f"/proc/{pid}").exists(), 20)
            finally:
                server.kill()
                client.kill()
