"""A cluster of our own: where its files are, what it ignores, and a start that does not end."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.command import environment, wait_for
from tune.errors import UserError
from tune.pipeline.environment import existing_folder_of
from tune.search.ray_place import IGNORED, RayPlace, new_ray_folder, own_environment, ray_place

LONG = "/" + "long" * 30


def test_the_folder_is_the_users_choice_if_it_can_be(tmp_path: Path) -> None:
    place = ray_place({"TMPDIR": "/tmp"})
    assert (place.parent, place.notes) == (Path("/tmp"), ())
    assert ray_place({}).parent == Path("/tmp")
    assert ray_place({"RAY_TMPDIR": "/dev/shm", "TMPDIR": LONG}).parent == Path("/dev/shm")


@pytest.mark.parametrize(
    ("temporary", "says"), [(LONG, "too long"), ("/dev/null", "not a folder"), ("/no/such/folder", "not a folder")]
)
def test_another_folder_is_used_and_a_line_says_so(temporary: str, says: str) -> None:
    place = ray_place({"TMPDIR": temporary})
    [note] = place.notes
    assert place.parent == Path("/tmp") and "Ray's files go to /tmp: TMPDIR" in note and says in note
    with pytest.raises(UserError, match=f"RAY_TMPDIR: {temporary} is {says}"):
        ray_place({"RAY_TMPDIR": temporary})


def test_a_folder_that_cannot_be_entered_is_not_writable() -> None:
    closed = Path(tempfile.mkdtemp(dir="/tmp"))
    temporary = closed / "tmp"
    temporary.mkdir()
    closed.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        place = ray_place({"TMPDIR": str(temporary)})
        nearest = existing_folder_of(temporary / "cache")
    finally:
        os.seteuid(user)
        closed.chmod(0o700)
        shutil.rmtree(closed)
    assert place.notes == ("Ray's files go to /tmp: TMPDIR is not writable",)
    assert nearest == closed


def test_variables_of_another_cluster_are_named_and_taken_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in IGNORED:
        monkeypatch.setenv(name, "10.0.0.1:6379")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    [note] = ray_place().notes
    assert "RAY_ADDRESS" in note and "--ray-address" in note
    before = dict(os.environ)
    with own_environment(tmp_path):
        assert not set(IGNORED).intersection(os.environ)
        assert os.environ["OMP_NUM_THREADS"] == "8" and os.environ["RAY_TMPDIR"] == str(tmp_path)
        assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32, "Ray listens on all addresses of the machine"
    assert dict(os.environ) == before


HANG = """
import os, signal, sys, threading, time
from pathlib import Path

def stop() -> None:
    while True:
        for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
            for pid in children.read_text().split():
                if b"raylet/" + b"raylet" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGSTOP)
                    print(pid, flush=True)
                    return
        time.sleep(0.01)

from tune.errors import UserError
from tune.search import ray_cluster
ray_cluster.START_SECONDS, ray_cluster._INTERRUPT_SECONDS = 4.0, 1.0
threading.Thread(target=stop, daemon=True).start()
try:
    with ray_cluster.started(num_cpus=1):
        print("started")
except UserError as error:
    print("error:", error, file=sys.stderr)
    sys.exit(2)
"""


def test_a_start_that_hangs_ends_with_one_line_and_leaves_no_process() -> None:
    """Ray's process is stopped for real. Where Ray waits in its own code, it cannot be interrupted."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        ran = subprocess.run(
            [sys.executable, "-c", HANG], capture_output=True, text=True, timeout=90, check=False,
            env={**environment(), "RAY_TMPDIR": str(folder)},
        )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert ran.returncode == 2 and len(lines) == 1, ran.stderr
    assert lines[0].startswith("error: Ray did not start (no answer within 4 s)") and str(folder) in lines[0]
    assert "Traceback" not in ran.stderr and "started" not in ran.stdout
    for pid in ran.stdout.split():
        wait_for(partial(ended, int(pid)), 20)


def ended(pid: int) -> bool:
    """Return whether a process is gone; nobody may have collected its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_what_killed_processes_left_is_removed_and_what_living_ones_use_is_kept(tmp_path: Path) -> None:
    holds = (
        "import sys, time; from pathlib import Path; from tune.search.ray_place import RayPlace, new_ray_folder\n"
        "with new_ray_folder(RayPlace(Path(sys.argv[1]))) as folder: print(folder, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holds, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, living = (Path(process.stdout.readline().strip()) for process in processes if process.stdout)
        agents = [
            subprocess.Popen(["sleep", "60"], env={**os.environ, "RAY_TMPDIR": str(folder)})
            for folder in (killed, living)
        ]
        processes += agents
        (tmp_path / "ray-of-another-program").mkdir()
        processes[0].kill()
        processes[0].wait(10)
        with new_ray_folder(RayPlace(tmp_path)) as own:
            assert not killed.exists() and living.exists() and (tmp_path / "ray-of-another-program").exists()
            assert agents[0].wait(10) == -signal.SIGKILL and agents[1].poll() is None
        with new_ray_folder(RayPlace(tmp_path)):
            assert not own.exists(), "left by a process that did not remove it"
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=10)
