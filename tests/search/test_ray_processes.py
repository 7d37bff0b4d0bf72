"""Ray starts what runs trials, and no process more: no web server, no monitor of clouds, no reader of logs."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import parameter, services

from tune.search.ray_cluster import started
from tune.search.ray_processes import only_for_trials


def commands() -> list[str]:
    """The command lines of this process's own children."""
    own = Path("/proc/self/task").glob("*/children")
    pids = [pid for listed in own for pid in listed.read_text().split()]
    return [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in pids]


def test_ray_starts_two_processes_and_runs_tasks() -> None:
    before = commands()
    with started(num_cpus=1):
        begun = [command for command in commands() if command not in before]
        assert sorted("gcs_server" in command for command in begun) == [False, True], begun
        assert sum("/raylet " in command for command in begun) == 1, begun
        assert ray.get(ray.remote(lambda: 41 + 1).remote(), timeout=60) == 42
    assert not ray.is_initialized()


def test_ray_itself_is_as_before_afterwards() -> None:
    params, server = parameter.RayParams, services.start_api_server
    with only_for_trials():
        server_here: Any = services.start_api_server
        assert server_here() == (None, None)
        lean: Any = parameter.RayParams()
        assert lean.no_monitor and lean.include_log_monitor is False
    assert parameter.RayParams is params and services.start_api_server is server


def test_another_ray_starts_all_that_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(services, "start_api_server")
    params = parameter.RayParams
    with only_for_trials():
        assert parameter.RayParams is params
