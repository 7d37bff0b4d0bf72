"""A toy app for the tests of the stand-in. `modal run toy_app.py NAME` runs its scenario `run_NAME`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.modal_local import ModalLocal

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
    there = {"numpy": "numpy" in sys.modules, "pid": os.getpid(), "folder": os.getcwd(), "path": sys.path[:2]}
    return {"where": toypkg.where(), "app": __file__, "tune": tune.__file__, "known": known, "env": env, **there}


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
        call = count.spawn(queue.object_id, "a", 60, 1.0)  # asleep when it is cancelled, not in a put
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

        def order(name, *words):
            queue.put(list(words), partition=name)
            return queue.get(partition=name + "-answer", timeout=20)

        read = {}
        order("a", "write", "x", "one")
        order("b", "reload")
        read["uncommitted"] = order("b", "read", "x")
        order("a", "commit")
        read["not reloaded"] = order("b", "read", "x")
        order("b", "reload")
        read["reloaded"] = order("b", "read", "x")
        order("b", "hold", "x")
        read["busy"] = order("b", "reload")
        order("b", "release")
        order("a", "write", "x", "from a")
        order("b", "write", "x", "from b")
        order("b", "write", "y", "of b")
        order("a", "commit")
        order("b", "commit")
        order("a", "reload")
        read["last write"] = [order("a", "read", "x"), order("a", "read", "y")]
        order("a", "remove", "y")
        order("a", "commit")
        order("b", "reload")
        read["removed"] = order("b", "read", "y")
        for name in "ab":
            queue.put(["leave"], partition=name)
        for call in calls:
            call.get(timeout=20)
        done(**read)


def run_count(which="count"):
    with modal.Queue.ephemeral() as queue:
        try:
            result = globals()[which].remote(queue.object_id, "a", 4, 0.2)
        except Exception as error:
            result = type(error).__name__ + ": " + str(error)
        done(result=result, items=queue.get_many(20, partition="a", timeout=5))


def run_errors():
    raised = {}
    for name, ask in {
        "broken": broken.remote,
        "missing": modal.Queue.from_name("no-such-queue").hydrate,
        "unknown": lambda: list(modal.Queue.from_name("q", create_if_missing=True).iterate()),
    }.items():
        try:
            ask()
        except Exception as error:
            raised[name] = [type(error).__name__, str(error)]
    done(**raised)


def run_objects():
    big = os.urandom(5_000_000)  # too large for a message, so it goes through a blob
    doubled = size.remote(big)
    variant = size.with_options(gpu="A10G", timeout=7)
    variant.hydrate()
    modal.Function.from_id(variant.object_id).remote("x")
    whole = os.urandom((8 << 20) - 3) + bytes(5) + os.urandom(600_000)  # the client omits zeros at a block's end
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
"""Starts a stand-in with the given faults, and modules that containers have imported when they start."""
WAYS = ((), ("numpy",))
"""How containers start: as fresh interpreters, and as forks of a process with these modules."""


def modal(*arguments: str) -> list[str]:
    """Return the command line of `modal ARGUMENTS`."""
    return [sys.executable, "-m", "modal", *arguments]


def run(stand_in: ModalLocal, toy: Path, *arguments: str) -> dict[str, Any]:
    """Run `modal run toy_app.py ARGUMENTS` to its end; return what the scenario reported."""
    ran = subprocess.run(
        modal("run", "toy_app.py", *arguments),
        check=False,
        cwd=toy,
        env={**stand_in.env, "TOY_HOST": "from the host"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    assert ran.returncode == 0 and lines, ran.stdout + ran.stderr + stand_in.logs()
    result: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return result
