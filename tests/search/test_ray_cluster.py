"""`--ray-address`: a search joins a running Ray cluster, here in separate processes on loopback."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import children, environment, leaderboard, summary, tune, wait_for


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster with 2 CPUs and no GPU on loopback, started by `ray start --head`."""
    port = free_port()
    # A socket's path may have at most 107 bytes, so use a short folder name.
    folder = tmp_path_factory.mktemp("r")
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
        "--num-gpus=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}",
        "--disable-usage-stats",
    ]  # fmt: skip
    with open(folder / "log", "w") as log:
        head = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**environment(), "RAY_AUTH_MODE": "disabled"},
            start_new_session=True,
        )
    try:
        wait_for(lambda: "started" in (folder / "log").read_text(), 60)
        yield f"127.0.0.1:{port}"
    finally:
        for pid in [*children(head.pid, ""), head.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        head.wait(20)


@pytest.mark.slow
def test_a_search_joins_a_running_cluster(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    options = ("--results", tmp_path, "--cache", tmp_path / "cache", "--ray-address", cluster)
    space = ("--base-model", "wordllama", "--dims", "16", "--loss", "cosent", "--epochs", "2")
    ran = tune("search", "--search", "asha", *space, "--trials", 6, "--jobs", 2, "--name", "joined", *options)
    assert ran.code == 0, ran.err + ran.out
    assert len([row for row in leaderboard(tmp_path / "joined") if row["rank"]]) == 6
    facts = summary(tmp_path / "joined")
    assert facts["trials"]["done"] + facts["trials"]["stopped"] == 6
    # The search did not start the cluster, so it must leave it running for the next search.
    host, port = cluster.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    greedy = tune("search", *space, "--gpus-per-trial", 0.25, "--name", "greedy", *options)
    assert greedy.code == 2 and "0 GPUs" in greedy.err
