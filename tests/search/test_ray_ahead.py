"""Ray starts while texts are embedded: its workers are ready by then, and nothing of it is left, however that ends."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch

from tests.helpers.command import background, environment, wait_for, words
from tests.helpers.tiny import save_tiny_model
from tune.config.search import search_config
from tune.errors import UserError
from tune.search.ray_ahead import Ahead
from tune.search.ray_cluster import connected


@pytest.fixture
def short() -> Iterator[Path]:
    """An empty folder whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@ray.remote(num_cpus=1)
class Worker:
    """Asked what its process has imported before it came to be."""

    def imported(self) -> tuple[bool, bool]:
        """Return whether layers can be trained, and whether sentence-transformers was imported for it."""
        import sys

        return "tune.train.frozen.trial" in sys.modules, "sentence_transformers" in sys.modules


def processes_of(folder: Path) -> list[int]:
    """Return the ids of processes that name a folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_workers_have_imported_what_layers_need_and_nothing_is_left(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    before, threads = dict(os.environ), torch.get_num_threads()
    cluster = Ahead(connected(search_config(), jobs=1))
    try:
        resources, cores = cluster.get()
        assert (resources, cores) == ({"cpu": 1.0}, 1) and processes_of(short)
        assert torch.get_num_threads() == threads, "embedding keeps its threads"
        worker = Worker.remote()
        assert ray.get(worker.imported.remote(), timeout=60) == (True, False)
    finally:
        cluster.close()
    wait_for(lambda: not processes_of(short), 30)
    assert not ray.is_initialized() and not list(short.iterdir())
    # Ray's own, in every process that uses it.
    assert {name: value for name, value in os.environ.items() if name != "PYTHONBREAKPOINT"} == before


def test_a_start_that_nobody_waits_for_is_ended(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    cluster = Ahead(connected(search_config(), jobs=1))
    cluster.close()
    wait_for(lambda: not processes_of(short) and not list(short.iterdir()), 60)
    assert not ray.is_initialized()


def test_a_start_that_fails_is_told_to_whoever_waits_for_it() -> None:
    cluster = Ahead(connected(search_config(search={"gpus_per_trial": 1}), jobs=1))
    with pytest.raises(UserError, match="the Ray cluster has 0 GPUs; a trial needs 1, so none can start"):
        cluster.get()
    cluster.close()
    assert not ray.is_initialized()


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_texts_are_embedded_leaves_no_process_and_no_folder(
    ended_by: signal.Signals, code: int, short: Path, tmp_path: Path
) -> None:
    base, log = save_tiny_model(tmp_path / "base"), tmp_path / "log"
    search = ["search", "--base-model", base, "--trials", "2", "--results", tmp_path, "--cache", tmp_path / "cache"]
    command = [sys.executable, "-m", "tune", *words(search)]
    with background(command, {**environment(), "RAY_TMPDIR": str(short)}, log) as process:
        wait_for(lambda: processes_of(short))
        process.send_signal(ended_by)
        process.wait(90)
    assert process.returncode == code, log.read_text()
    assert "Traceback" not in log.read_text()
    wait_for(lambda: not processes_of(short), 30)
    assert not list(short.iterdir()), log.read_text()
