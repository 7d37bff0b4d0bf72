"""Ray starts before texts are embedded: its workers get ready meanwhile, and nothing is left, however that ends."""

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
from tune.events import ignore
from tune.pipeline.local import LocalBackend


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
    two_threads: None, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    threads, backend = torch.get_num_threads(), LocalBackend()
    with backend.ahead(search_config(search={"jobs": 1}), ignore):
        assert processes_of(short) and torch.get_num_threads() == threads, "embedding keeps its threads"
        worker = Worker.remote()
        assert ray.get(worker.imported.remote(), timeout=60) == (True, False)
    wait_for(lambda: not processes_of(short), 30)
    assert not ray.is_initialized() and not list(short.iterdir())


def test_a_cluster_that_does_not_fit_is_told_before_anything_is_embedded() -> None:
    backend = LocalBackend()
    config = search_config(search={"gpus_per_trial": 1, "jobs": 1})
    with (
        pytest.raises(UserError, match="the Ray cluster has 0 GPUs; a trial needs 1, so none can start"),
        backend.ahead(config, ignore),
    ):
        pytest.fail("nothing may be embedded")
    assert not ray.is_initialized()


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_texts_are_embedded_leaves_no_process_and_no_folder(
    ended_by: signal.Signals, code: int, short: Path, tmp_path: Path
) -> None:
    base, log = save_tiny_model(tmp_path / "base"), tmp_path / "log"
    search = ["search", "--base-model", base, "--trials", "2", "--results", tmp_path, "--cache", tmp_path / "cache"]
    command = [sys.executable, "-m", "tune", *words(search)]
    with background(command, {**environment(), "RAY_TMPDIR": str(short)}, log) as process:
        wait_for(lambda: f"{base.name}: loading" in log.read_text())
        assert processes_of(short)
        process.send_signal(ended_by)
        process.wait(90)
    assert process.returncode == code, log.read_text()
    assert "Traceback" not in log.read_text() and "received at" not in log.read_text()
    wait_for(lambda: not processes_of(short), 30)
    assert not list(short.iterdir()), log.read_text()
