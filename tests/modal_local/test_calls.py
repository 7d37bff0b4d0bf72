"""Calls on the stand-in: what a container sees, how calls are spawned, cancelled, limited, and how they fail."""

import subprocess
from pathlib import Path

import pytest

from tests.modal_local.toy import REPOSITORY, TOY_APP, TOY_PACKAGE, WAYS, Start, modal, run

pytestmark = [pytest.mark.modal, pytest.mark.timeout(60)]


@pytest.mark.parametrize("preload", WAYS)
def test_a_container_sees_only_what_was_uploaded(preload: tuple[str, ...], start: Start, toy: Path) -> None:
    stand_in = start(preload=preload)
    reported = run(stand_in, toy, "look", "--flag", "value")
    assert reported["arglist"] == ["--flag", "value"]
    assert stand_in.uploads[reported["where"]].read_text() == TOY_PACKAGE
    assert stand_in.uploads[reported["app"]].read_text() == TOY_APP
    assert stand_in.uploads[reported["tune"]].read_bytes() == (REPOSITORY / "tune" / "__init__.py").read_bytes()
    assert reported["known"] == {"tune": True, "cluster": False, "tests": False}, "only uploads are importable"
    assert reported["env"] == {
        "TOY": "from the image",
        "TOY_SECRET": "s",
        "TOY_HOST": None,
        "CUDA_VISIBLE_DEVICES": None,
    }
    assert [container.gpu for container in stand_in.containers] == ["A10G"]
    assert reported["numpy"] == bool(preload)
    assert (reported["pid"], reported["folder"], reported["path"]) == (1, "/root", ["/root", "/root"])


def test_a_spawned_call_reports_through_a_queue_and_is_cancelled(start: Start, toy: Path) -> None:
    stand_in = start()
    reported = run(stand_in, toy, "cancel")
    assert (reported["first"], reported["early"], reported["again"]) == (0, "TimeoutError", 2)
    assert [(call.state, call.attempts) for call in stand_in.calls] == [("cancelled", 1), ("success", 1)]
    assert len(stand_in.containers) == 1, "the container stays warm after a cancel"
    assert stand_in.running_calls() == []


def test_a_child_process_in_a_container_can_spawn(start: Start, toy: Path) -> None:
    stand_in = start()
    reported = run(stand_in, toy, "head")
    parent, child = stand_in.calls
    assert reported["child"] == [child.call_id, "2"]
    assert [item[0] for item in reported["items"]] == [0, 1]
    assert (parent.function, child.function) == ("head", "count")


def test_max_containers_is_respected_and_a_warm_container_is_reused(start: Start, toy: Path) -> None:
    stand_in = start()
    reported = run(stand_in, toy, "alone")
    first, *others = stand_in.containers
    assert reported["tasks"] == [first.task_id] * 3
    assert reported["sizes"] == list(range(0, 16, 2))
    assert 1 <= len(others) <= 2, "at most two at a time, not counting the idle one of the other function"


def test_errors_reach_the_caller_and_an_unknown_rpc_is_named(start: Start, toy: Path) -> None:
    stand_in = start()
    reported = run(stand_in, toy, "errors")
    assert reported["broken"] == ["ValueError", "a toy breaks"]
    assert reported["missing"][0] == "NotFoundError"
    assert "QueueNextItems" in reported["unknown"][1]
    assert stand_in.unknown_rpcs == ["QueueNextItems"]


def test_an_import_error_in_a_container_reaches_the_caller(start: Start, toy: Path) -> None:
    stand_in = start()
    text = TOY_APP.replace("import toypkg\n", "if modal.is_local():\n    import toypkg\nelse:\n    import nowhere\n")
    (toy / "toy_app.py").write_text(text)
    ran = subprocess.run(
        modal("run", "toy_app.py", "look"),
        check=False,
        cwd=toy,
        env=stand_in.env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ran.returncode != 0
    assert "No module named 'nowhere'" in ran.stdout + ran.stderr
    assert [call.state for call in stand_in.calls] == ["failure"]
