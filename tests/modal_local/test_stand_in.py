"""The stand-in for Modal, tested with a toy app through the real `modal` CLI, client and container runtime.

Nothing here says how Modal itself behaves where the stand-in guesses (tests/modal_local/README.md lists that).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.modal_local import Fault, ModalLocal

pytestmark = [pytest.mark.modal, pytest.mark.timeout(60)]

REPOSITORY = Path(__file__).parents[2]
TOY_PACKAGE = "def where():\n    return __file__\n"
TOY_APP = """
import importlib.util, json, os, subprocess, sys, time
import modal
import toypkg

image = modal.Image.debian_slim().pip_install("numpy").env({"TOY": "from the image"})
image = image.add_local_python_source("toypkg")
volume = modal.Volume.from_name("toy", create_if_missing=True, version=2)
app = modal.App("toy", image=image)
quick = modal.Retries(max_retries=2, initial_delay=0.0, backoff_coefficient=1.0)


def done(**values):
    print("RESULT " + json.dumps(values), flush=True)


@app.function(
    image=image.add_local_python_source("tune"),
    secrets=[modal.Secret.from_dict({"TOY_SECRET": "s"})],
    gpu=["A10G", "T4"],
)
def look():
    import tune
    known = {name: importlib.util.find_spec(name) is not None for name in ("tune", "cluster", "tests")}
    env = {key: os.environ.get(key) for key in ("TOY", "TOY_SECRET", "TOY_HOST", "CUDA_VISIBLE_DEVICES")}
    return {"where": toypkg.where(), "app": __file__, "tune": tune.__file__, "known": known, "env": env}


@app.function(retries=quick)
def count(queue_id, partition, items, pause=0.0):
    queue = modal.Queue.from_id(queue_id)
    try:
        for number in range(items):
            queue.put([number, os.environ["MODAL_TASK_ID"]], partition=partition)
            time.sleep(pause)
    except modal.exception.InputCancellation:
        queue.put("cancelled", partition=partition)
        raise
    except KeyboardInterrupt:
        queue.put("interrupted", partition=partition)
        raise
    return items


@app.function()
def count_once(queue_id, partition, items, pause):
    return count.local(queue_id, partition, items, pause)


@app.function()
def head(queue_id):
    code = ("import modal, sys; call = modal.Function.from_id(sys.argv[1]).spawn(sys.argv[2], 'head', 2);"
            "print(call.object_id, call.get(timeout=20))")
    ran = subprocess.run([sys.executable, "-c", code, count.object_id, queue_id], capture_output=True, text=True)
    return ran.stdout.split() or ran.stderr


@app.function(volumes={"/vol": volume}, max_containers=2)
def obey(queue_id, name):
    queue, held = modal.Queue.from_id(queue_id), None
    while (order := queue.get(partition=name, timeout=20)) != ["leave"]:
        answer = "done"
        try:
            if order[0] == "write":
                open("/vol/" + order[1], "w").write(order[2])
            elif order[0] == "read":
                answer = open("/vol/" + order[1]).read() if os.path.exists("/vol/" + order[1]) else None
            elif order[0] == "hold":
                held = open("/vol/" + order[1])
            elif order[0] == "release":
                held.close()
            elif order[0] == "remove":
                os.remove("/vol/" + order[1])
            else:
                getattr(volume, order[0])()
        except Exception as error:
            answer = str(error)
        queue.put(answer, partition=name + "-answer")


@app.function()
def broken():
    raise ValueError("a toy breaks")


@app.function(timeout=60)
def size(data):
    return data * 2


@app.function(max_containers=1)
def alone(pause):
    time.sleep(pause)
    return os.environ["MODAL_TASK_ID"]


@app.local_entrypoint()
def main(*arglist):
    globals()["run_" + arglist[0]](*arglist[1:])


def run_look(*arglist):
    done(arglist=arglist, **look.remote())


def run_cancel():
    with modal.Queue.ephemeral() as queue:
        call = count.spawn(queue.object_id, "a", 60, 1.0)  # asleep when it is cancelled, not within a put
        first = queue.get(partition="a", timeout=20)
        try:
            call.get(timeout=0)
        except TimeoutError:
            early = "TimeoutError"
        modal.FunctionCall.from_id(call.object_id).cancel()
        while (last := queue.get(partition="a", timeout=20)) != "cancelled":
            pass
        try:
            call.get(timeout=20)
        except Exception as error:
            after = type(error).__name__
        done(first=first[0], early=early, after=after, again=count.remote(queue.object_id, "b", 2))


def run_head():
    with modal.Queue.ephemeral() as queue:
        done(child=head.remote(queue.object_id), items=queue.get_many(5, partition="head", timeout=5))


def run_volume():
    with modal.Queue.ephemeral() as queue:
        calls = [obey.spawn(queue.object_id, name) for name in "ab"]

        def tell(name, *order):
            queue.put(list(order), partition=name)
            return queue.get(partition=name + "-answer", timeout=20)

        seen = {}
        tell("a", "write", "x", "one")
        tell("b", "reload")
        seen["uncommitted"] = tell("b", "read", "x")
        tell("a", "commit")
        seen["not reloaded"] = tell("b", "read", "x")
        tell("b", "reload")
        seen["reloaded"] = tell("b", "read", "x")
        tell("b", "hold", "x")
        seen["busy"] = tell("b", "reload")
        tell("b", "release")
        tell("a", "write", "x", "from a")
        tell("b", "write", "x", "from b")
        tell("b", "write", "y", "of b")
        tell("a", "commit")
        tell("b", "commit")
        tell("a", "reload")
        seen["last write"] = [tell("a", "read", "x"), tell("a", "read", "y")]
        tell("a", "remove", "y")
        tell("a", "commit")
        tell("b", "reload")
        seen["removed"] = tell("b", "read", "y")
        for name in "ab":
            queue.put(["leave"], partition=name)
        for call in calls:
            call.get(timeout=20)
        done(**seen)


def run_count(which="count"):
    with modal.Queue.ephemeral() as queue:
        try:
            result = globals()[which].remote(queue.object_id, "a", 4, 0.2)
        except Exception as error:
            result = type(error).__name__ + ": " + str(error)
        done(result=result, items=queue.get_many(20, partition="a", timeout=5))


def run_errors():
    said = {}
    for name, ask in {
        "broken": broken.remote,
        "missing": modal.Queue.from_name("no-such-queue").hydrate,
        "unknown": lambda: list(modal.Queue.from_name("q", create_if_missing=True).iterate()),
    }.items():
        try:
            ask()
        except Exception as error:
            said[name] = [type(error).__name__, str(error)]
    done(**said)


def run_objects():
    big = os.urandom(5_000_000)  # over what travels inside a message: goes through a blob
    doubled = size.remote(big)
    variant = size.with_options(gpu="A10G", timeout=7)
    variant.hydrate()
    modal.Function.from_id(variant.object_id).remote("x")
    whole = os.urandom((8 << 20) - 3) + bytes(5) + os.urandom(600_000)  # the client leaves out zeros at a block's end
    with open("whole", "wb") as file:
        file.write(whole)
    with volume.batch_upload() as batch:
        batch.put_file("whole", "/deep/whole")
        batch.put_file("toy_app.py", "/app")
    back = b"".join(volume.read_file("deep/whole"))
    listed = sorted(entry.path for entry in volume.listdir("/", recursive=True))
    done(doubled=doubled == big * 2, back=back == whole, listed=listed)


def run_alone():
    calls = [alone.spawn(0.3) for _ in range(3)]
    tasks = [call.get(timeout=20) for call in calls]
    calls = [size.spawn(n) for n in range(8)]
    done(tasks=tasks, sizes=[call.get(timeout=20) for call in calls])


def run_sleep():
    print("asleep", alone.spawn(600).get())


def run_leave():
    queue = modal.Queue.from_name("left", create_if_missing=True)
    count.spawn(queue.hydrate().object_id, "a", 3, 0.5)
"""
TOY_SITE = """
import modal

app = modal.App("toy-site", image=modal.Image.debian_slim())


@app.function(max_containers=1)
@modal.concurrent(max_inputs=10)
@modal.wsgi_app(requires_proxy_auth=True)
def site():
    def answer(environ, start_response):
        body = environ["wsgi.input"].read() or environ["QUERY_STRING"].encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
        return [b"site says ", body]

    return answer
"""
Start = Callable[..., ModalLocal]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A directory with the toy app and the package that it imports."""
    folder = tmp_path / "toy"
    (folder / "toypkg").mkdir(parents=True)
    (folder / "toypkg" / "__init__.py").write_text(TOY_PACKAGE)
    (folder / "toy_app.py").write_text(TOY_APP)
    (folder / "toy_site.py").write_text(TOY_SITE)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a stand-in of at most two containers at a time; at the end none of its processes is left."""
    started: list[ModalLocal] = []

    def start_one(*faults: Fault) -> ModalLocal:
        stand_in = ModalLocal(tmp_path / "modal", faults=faults, max_containers=2)
        started.append(stand_in.__enter__())
        return stand_in

    yield start_one
    for stand_in in started:
        stand_in.__exit__(None, None, None)
        assert stand_in.errors == []
        assert [one.pid for one in stand_in.containers if one.pid and Path(f"/proc/{one.pid}").exists()] == []


def modal(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "modal", *arguments]


def run(stand_in: ModalLocal, toy: Path, *arguments: str) -> dict[str, Any]:
    """`modal run toy_app.py ...` to its end; what the scenario reported."""
    ran = subprocess.run(
        modal("run", "toy_app.py", *arguments),
        check=False,
        cwd=toy,
        env={**stand_in.env, "TOY_HOST": "of the host"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    assert ran.returncode == 0 and lines, ran.stdout + ran.stderr + stand_in.logs()
    result: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return result


def wait_for(ready: Callable[[], Any], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_a_container_sees_the_uploads_and_nothing_of_the_checkout(start: Start, toy: Path) -> None:
    stand_in = start()
    seen = run(stand_in, toy, "look", "--flag", "value")
    assert seen["arglist"] == ["--flag", "value"]
    assert stand_in.uploads[seen["where"]].read_text() == TOY_PACKAGE
    assert stand_in.uploads[seen["app"]].read_text() == TOY_APP
    assert stand_in.uploads[seen["tune"]].read_bytes() == (REPOSITORY / "tune" / "__init__.py").read_bytes()
    assert seen["known"] == {"tune": True, "cluster": False, "tests": False}, "what was not uploaded is not there"
    assert seen["env"] == {
        "TOY": "from the image",
        "TOY_SECRET": "s",
        "TOY_HOST": None,
        "CUDA_VISIBLE_DEVICES": None,
    }
    assert [one.gpu for one in stand_in.containers] == ["A10G"]


def test_a_spawned_call_reports_through_a_queue_and_is_cancelled(start: Start, toy: Path) -> None:
    stand_in = start()
    seen = run(stand_in, toy, "cancel")
    assert (seen["first"], seen["early"], seen["again"]) == (0, "TimeoutError", 2)
    assert [(call.state, call.attempts) for call in stand_in.calls] == [("cancelled", 1), ("success", 1)]
    assert len(stand_in.containers) == 1, "the container stays warm after a cancel"
    assert stand_in.running_calls() == []


def test_a_child_process_in_a_container_can_spawn(start: Start, toy: Path) -> None:
    stand_in = start()
    seen = run(stand_in, toy, "head")
    parent, child = stand_in.calls
    assert seen["child"] == [child.call_id, "2"]
    assert [item[0] for item in seen["items"]] == [0, 1]
    assert (parent.function, child.function) == ("head", "count")


def test_a_volume_shows_what_was_committed_to_those_who_reload(start: Start, toy: Path) -> None:
    stand_in = start()
    seen = run(stand_in, toy, "volume")
    busy = seen.pop("busy")
    assert "open files" in busy
    assert seen == {
        "uncommitted": None,
        "not reloaded": None,
        "reloaded": "one",
        "last write": ["from b", "of b"],
        "removed": None,
    }
    assert {path.name: path.read_text() for path in stand_in.volume("toy").iterdir()} == {"x": "from b"}
    assert len(stand_in.containers) == 2


def test_a_killed_container_loses_its_input_to_another(start: Start, toy: Path) -> None:
    stand_in = start(Fault("count", container=1, kind="kill", after_s=0.3))
    seen = run(stand_in, toy, "count")
    first, second = stand_in.containers
    assert seen["result"] == 4
    assert seen["items"][-4:] == [[n, second.task_id] for n in range(4)]
    lost = seen["items"][:-4]
    assert lost and lost == [[n, first.task_id] for n in range(len(lost))]
    (call,) = stand_in.calls
    assert (call.state, call.attempts, call.retries) == ("success", 2, 1)
    assert call.containers == [first.task_id, second.task_id]
    assert first.exit_code != 0 and second.exit_code == 0


def test_a_container_is_ended_on_demand(start: Start, toy: Path) -> None:
    stand_in = start(Fault("alone", container=2, kind="preempt"))
    with subprocess.Popen(modal("run", "--detach", "toy_app.py", "sleep"), cwd=toy, env=stand_in.env) as client:
        try:
            wait_for(lambda: [call for call in stand_in.calls if call.state == "running"])
            stand_in.end_container(stand_in.containers[0], "preempt", grace_s=1.0)
            wait_for(lambda: len(stand_in.calls[0].containers) == 3)
            stand_in.end_container(stand_in.containers[2])
            wait_for(lambda: stand_in.calls[0].done)
        finally:
            client.kill()
    assert [(call.state, call.attempts) for call in stand_in.calls] == [("failure", 3)]
    assert [one.preempted for one in stand_in.containers] == [True, True, False]


def test_a_kill_without_retries_fails_the_call(start: Start, toy: Path) -> None:
    stand_in = start(Fault("count_once", kind="kill", after_s=0.3))
    seen = run(stand_in, toy, "count", "count_once")
    assert "ended with exit code" in seen["result"]
    assert [(call.state, call.attempts) for call in stand_in.calls] == [("failure", 1)]


def test_a_preempted_container_is_interrupted_and_its_input_starts_again(start: Start, toy: Path) -> None:
    stand_in = start(Fault("count", container=1, kind="preempt", after_s=0.3))
    seen = run(stand_in, toy, "count")
    first, second = stand_in.containers
    assert seen["result"] == 4
    assert seen["items"][-5:] == ["interrupted", *([n, second.task_id] for n in range(4))]
    assert (first.preempted, second.preempted) == (True, False)
    assert [(call.attempts, call.retries) for call in stand_in.calls] == [(2, 0)]


def test_errors_reach_the_caller_and_an_unknown_rpc_names_itself(start: Start, toy: Path) -> None:
    stand_in = start()
    seen = run(stand_in, toy, "errors")
    assert seen["broken"] == ["ValueError", "a toy breaks"]
    assert seen["missing"][0] == "NotFoundError"
    assert "QueueNextItems" in seen["unknown"][1]
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


def test_large_values_variants_and_volumes_from_outside(start: Start, toy: Path) -> None:
    stand_in = start()
    seen = run(stand_in, toy, "objects")
    assert seen == {
        "doubled": True,
        "back": True,
        "listed": ["app", "deep", "deep/whole"],
    }
    assert [one.gpu for one in stand_in.containers] == ["", "A10G"]
    assert (stand_in.volume("toy") / "app").read_text() == TOY_APP


def test_max_containers_holds_and_a_warm_container_is_used_again(start: Start, toy: Path) -> None:
    stand_in = start()
    seen = run(stand_in, toy, "alone")
    first, *others = stand_in.containers
    assert seen["tasks"] == [first.task_id] * 3
    assert seen["sizes"] == list(range(0, 16, 2))
    assert 1 <= len(others) <= 2, "at most two at a time, and the idle one of the other function made room"


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """A shell that runs pytest in the background makes it, and so its children, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_ctrl_c_ends_the_app_and_its_containers(start: Start, toy: Path) -> None:
    stand_in = start()
    with subprocess.Popen(
        modal("run", "toy_app.py", "sleep"),
        cwd=toy,
        env=stand_in.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as client:
        wait_for(lambda: [call for call in stand_in.calls if call.state == "running"])
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate(timeout=30)
    assert "App aborted" in output
    stand_in.wait_until_idle()
    assert [call.state for call in stand_in.calls] == ["cancelled"]
    wait_for(lambda: all(one.ended for one in stand_in.containers))


def test_a_detached_app_goes_on_without_its_client(start: Start, toy: Path) -> None:
    stand_in = start()
    began = time.monotonic()
    command = modal("run", "--detach", "toy_app.py", "leave")
    subprocess.run(command, cwd=toy, env=stand_in.env, check=True, capture_output=True, timeout=50)
    assert [call.done for call in stand_in.calls] == [False], time.monotonic() - began
    stand_in.wait_until_idle()
    assert [call.state for call in stand_in.calls] == ["success"]


def test_a_deployed_site_answers_over_http(start: Start, toy: Path) -> None:
    stand_in = start()
    command = modal("deploy", "toy_site.py")
    subprocess.run(command, cwd=toy, env=stand_in.env, check=True, capture_output=True, timeout=50)
    url = stand_in.web_url("site")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=20)
    key, secret = stand_in.proxy_token

    def ask(body: bytes | None) -> tuple[bytes, str]:
        headers = {"Modal-Key": key, "Modal-Secret": secret}
        request = urllib.request.Request(f"{url}/some/path?a=1", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.read(), response.headers["X-Path"]

    assert ask(None) == (b"site says a=1", "/some/path")
    assert ask(b"posted") == (b"site says posted", "/some/path")
    assert len(stand_in.containers) == 1


SERVER = """
import json, pathlib, sys, time
from tests.modal_local import ModalLocal
with ModalLocal(pathlib.Path(sys.argv[1])) as stand_in:
    print(json.dumps(stand_in.env), flush=True)
    while True:
        print(*(one.pid for one in stand_in.containers if one.pid and one.call), flush=True)
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
                wait_for(lambda: not Path(f"/proc/{pid}").exists())
            finally:
                server.kill()
                client.kill()
