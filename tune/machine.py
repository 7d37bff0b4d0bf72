"""What this process may use of its machine: CPU cores, memory, address space.

A job scheduler, a container or the user may allow less than the machine has. Imports nothing heavy.
"""

import contextlib
import ctypes
import gc
import math
import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")

_SCHEDULERS = (
    "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "PBS_NUM_PPN", "NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC",
)  # fmt: skip
"""Variables in which Slurm, PBS, Grid Engine and LSF give a job's cores. The first that is set counts."""

_WORTH_RELEASING = 1 << 30
"""Bytes."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def core_limits(
    environ: Mapping[str, str] = os.environ, cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP
) -> dict[str, int]:
    """Return the limits on CPU cores by what sets them; each is at least 1.

    cgroups, membership: where the kernel shows control groups, and which of them this process is in.
    """
    limits = {"this machine": os.cpu_count() or 1}
    if sys.platform == "linux":
        limits["CPU affinity"] = len(os.sched_getaffinity(0))
    quota = _cpu_quota(cgroups, membership)
    if quota is not None:
        limits["the container's CPU quota"] = max(1, int(quota))
    for name in _SCHEDULERS:
        # Slurm writes 4, and for several nodes also 4(x2).
        digits = environ.get(name, "").partition("(")[0]
        if digits.isdigit() and int(digits) > 0:
            limits[name] = int(digits)
            break
    return limits


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use: the smallest limit."""
    return min(core_limits().values())


def release_memory() -> None:
    """Give freed memory back to the system: allocators keep it, half a GB and more after reading a million pairs.

    A process that has less than 1 GiB is left as it is: the garbage collector takes 0.3 s once torch is imported.
    """
    if resident_memory() < _WORTH_RELEASING:
        return
    gc.collect()
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        # Only glibc has it.
        ctypes.CDLL(None).malloc_trim(0)


def resident_memory(statm: Path = Path("/proc/self/statm")) -> float:
    """Return the bytes of memory that this process has; infinite if the system does not tell."""
    words = _words(statm)
    return float(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else math.inf


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the CPU's model name; its architecture if the system does not tell, as on many ARM machines."""
    for line in _lines(cpuinfo):
        name, _, value = line.partition(":")
        if name.strip().casefold() == "model name" and value.strip().casefold() not in ("", "unknown"):
            return " ".join(value.split())
    return platform.processor() or platform.machine() or "CPU"


def limit_threads() -> None:
    """Let the numeric libraries use the usable cores only, if they would start more threads.

    They see the machine and its affinity, but no quota. Call it before they are imported. A user's own setting counts.
    """
    limits = core_limits()
    seen = min(limits["this machine"], limits.get("CPU affinity", limits["this machine"]))
    if min(limits.values()) < seen:
        os.environ.setdefault("OMP_NUM_THREADS", str(min(limits.values())))


def one_thread() -> dict[str, str]:
    """Return the environment of a process whose numeric libraries use one thread."""
    return dict.fromkeys(_THREADS, "1")


def usable_memory(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Return the bytes of memory that this process may use: the machine's, or its control group's limit."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _group_folders("memory", cgroups, membership):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [int(word) for word in _words(folder / name) if word.isdigit()]
    return min(limits)


def address_space() -> int | None:
    """Return the limit on this process's address space in bytes (`ulimit -v`), or None."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def _cpu_quota(cgroups: Path, membership: Path) -> float | None:
    """Return the smallest CPU quota of this process's control groups, in cores, or None."""
    quotas = []
    for folder in _group_folders("cpu", cgroups, membership):
        words = _words(folder / "cpu.max") or [
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        # No quota is "max 100000" (version 2) or -1 (version 1).
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _group_folders(controller: str, cgroups: Path, membership: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups, innermost first, for both versions of control groups.

    In a container the path may be the host's, which does not exist here; the container's own group is then the root.
    """
    for line in _lines(membership):
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            roots = [cgroups, cgroups / "unified"]
        elif controller in names.split(","):
            roots = [cgroups / names, cgroups / controller]
        else:
            continue
        for root in roots:
            inside = root / path.lstrip("/")
            yield from (folder for folder in (inside, *inside.parents) if folder == root or root in folder.parents)


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
