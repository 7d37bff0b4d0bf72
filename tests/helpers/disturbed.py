"""What disturbs a search, and how its results are compared with those of one that was left alone."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.command import leaderboard


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[str]:
    """Mount a new folder as a disk of its own, which only root may; yield why that failed, or "".

    If it failed, the folder is on the usual disk.
    """
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        yield mounted.stderr.strip() if mounted.returncode else ""
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Fill the disk of a file to its last byte, as another program may."""
    with open(path, "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def runs(pid: int) -> bool:
    """Return whether a process runs: it exists, and has not ended without anyone having looked."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def numbers(folder: Path) -> list[dict[str, str]]:
    """Return the leaderboard without what depends on the clock."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in leaderboard(folder)]
