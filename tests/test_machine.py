"""tune.machine: cores and memory that this process may use, from the kernel's and the scheduler's word."""

import math
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from tune import machine
from tune.machine import core_limits, release_memory, resident_memory, usable_memory


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def limits(tmp_path: Path, membership: str, contents: dict[str, str], **variables: str) -> dict[str, int]:
    groups = files(tmp_path, {**contents, "membership": membership})
    return core_limits(variables, groups, tmp_path / "membership")


def version_1(group: str, quota: int) -> dict[str, str]:
    return {f"{group}/cpu.cfs_quota_us": f"{quota}\n", f"{group}/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("membership", "contents", "cores"),
    [
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        # A limit of a parent holds for all below it.
        ("0::/slurm/job/step\n", {"slurm/job/cpu.max": "300000 100000", "slurm/job/step/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"cpu.max": "800000 100000", "a/cpu.max": "250000 100000", "a/b/cpu.max": "600000 100000"}, 2),
        # Version 1; in a container the path is the host's.
        ("4:cpu,cpuacct:/docker/0123\n", version_1("cpu,cpuacct", 600000), 6),
        ("4:cpu:/job\n", version_1("cpu/job", -1), None),
        ("4:cpu:/job\n", version_1("cpu/job", 200000), 2),
        # Both versions at once: version 1 holds the controller.
        ("3:cpu:/\n0::/\n", {**version_1("cpu", 200000), "unified/cgroup.procs": ""}, 2),
        ("", {}, None),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
    ],
)  # fmt: skip
def test_cpu_quotas(membership: str, contents: dict[str, str], cores: int | None, tmp_path: Path) -> None:
    assert limits(tmp_path, membership, contents).get("the container's CPU quota") == cores


@pytest.mark.parametrize(
    ("variables", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "16"}, 4),
        ({"SLURM_CPUS_ON_NODE": "8(x2)"}, 8),
        ({"NSLOTS": "2"}, 2),
        ({"LSB_DJOB_NUMPROC": "5"}, 5),
        ({"SLURM_CPUS_PER_TASK": "", "NCPUS": "many"}, None),
        ({"SLURM_CPUS_PER_TASK": "0"}, None),
    ],
)
def test_schedulers(variables: dict[str, str], cores: int | None, tmp_path: Path) -> None:
    found = limits(tmp_path, "", {}, **variables)
    assert [found[name] for name in variables if name in found] == ([] if cores is None else [cores])


def test_affinity() -> None:
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}}); from tune.machine import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("membership", "contents", "gigabytes"),
    [
        ("0::/job\n", {"job/memory.max": "1073741824", "memory.max": "max"}, 1.0),
        ("4:memory:/job\n", {"memory/job/memory.limit_in_bytes": "536870912"}, 0.5),
        # Version 1 writes a huge number for no limit.
        ("4:memory:/job\n", {"memory/job/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_memory_limits(membership: str, contents: dict[str, str], gigabytes: float | None, tmp_path: Path) -> None:
    groups = files(tmp_path, {**contents, "membership": membership})
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    expected = physical if gigabytes is None else int(gigabytes * 2**30)
    assert usable_memory(groups, tmp_path / "membership") == expected


def test_resident_memory_is_what_this_process_has(tmp_path: Path) -> None:
    before = resident_memory()
    held = np.ones(25_000_000)  # written to, so it is in memory
    assert resident_memory() - before == pytest.approx(held.nbytes, rel=0.2)
    assert resident_memory(tmp_path / "none") == math.inf


@pytest.mark.parametrize("worth", [0, 1 << 50])
def test_only_a_large_process_is_tidied(worth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Node:
        itself: object

    node = Node()
    node.itself = node
    left = weakref.ref(node)
    monkeypatch.setattr(machine, "_WORTH_RELEASING", worth)
    del node
    release_memory()
    assert (left() is None) == (worth == 0)
