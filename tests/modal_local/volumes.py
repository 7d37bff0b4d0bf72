"""Volumes as directories: a committed state that everybody shares, and one view of it per container.

A file written in a view is seen elsewhere only after commit here and reload there; per file the last commit wins.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

BLOCK_BYTES = 8 << 20  # files of a version-2 Volume travel to and from clients in blocks of 8 MiB
Stamp = tuple[int, int, int]  # (mtime in ns, size, inode): a rewritten or replaced file gets another one


class VolumeBusy(Exception):
    """Something in the container holds a file of the Volume open, or works inside it."""


@dataclass
class Volume:
    """The committed state, as files under `path`."""

    volume_id: str
    name: str
    version: int
    path: Path


def scan(root: Path) -> dict[str, Stamp]:
    """Every file under `root` with its stamp, by path relative to it."""
    found: dict[str, Stamp] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            try:
                stat = os.lstat(path)
            except FileNotFoundError:
                continue  # the container renamed a temporary file meanwhile
            found[os.path.relpath(path, root)] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found


def _copy(source: Path, target: Path) -> bool:
    """Put a copy at `target` in one step; False where the source is gone by now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.copy2(source, partial, follow_symlinks=False)
    except FileNotFoundError:
        return False
    os.replace(partial, target)
    return True


@dataclass
class View:
    """What one container sees of a Volume. `synced` and `taken` are the stamps here and there at the last sync."""

    volume: Volume
    path: Path
    synced: dict[str, Stamp] = field(default_factory=dict)
    taken: dict[str, Stamp] = field(default_factory=dict)

    def changed_here(self, now: dict[str, Stamp]) -> set[str]:
        """Paths written or deleted in this view since its last sync."""
        return {path for path in now.keys() | self.synced.keys() if now.get(path) != self.synced.get(path)}

    def commit(self) -> int:
        """Publish what changed in this view; returns how many files that were."""
        now = scan(self.path)
        changed = self.changed_here(now)
        for path in changed:
            target = self.volume.path / path
            if path in now and _copy(self.path / path, target):
                self.synced[path] = now[path]
                self.taken[path] = scan_one(target)
            elif path not in now:
                target.unlink(missing_ok=True)
                self.synced.pop(path, None)
                self.taken.pop(path, None)
        return len(changed)

    def reload(self, process: int | None = None) -> None:
        """Take over what others committed; uncommitted changes stay. VolumeBusy if the container uses files."""
        self.path.mkdir(parents=True, exist_ok=True)
        if process is not None and (holder := find_holder(process, self.path)):
            raise VolumeBusy(holder)
        kept = self.changed_here(scan(self.path))
        committed = scan(self.volume.path)
        for path, stamp in committed.items():
            if path not in kept and self.taken.get(path) != stamp and _copy(self.volume.path / path, self.path / path):
                self.synced[path] = scan_one(self.path / path)
                self.taken[path] = stamp
        for path in self.synced.keys() - committed.keys() - kept:
            (self.path / path).unlink(missing_ok=True)
            self.synced.pop(path)
            self.taken.pop(path, None)


def scan_one(path: Path) -> Stamp:
    stat = path.lstat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def find_holder(process: int, root: Path) -> str:
    """Who of the container of `process` uses something under `root`: open file, map or working directory; "" if none.

    Compared by inode, since the container sees other paths than we do.
    """
    inodes = {(stat.st_dev, stat.st_ino) for stat in (path.lstat() for path in [root, *root.rglob("*")])}
    home = os.readlink(f"/proc/{process}/ns/pid")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "ns/pid") != home:
                continue
            for link in [entry / "cwd", *(entry / "fd").iterdir()]:
                try:
                    stat = link.stat()
                except OSError:
                    continue
                if (stat.st_dev, stat.st_ino) in inodes:
                    return f"process {entry.name} holds {os.readlink(link)}"
            for line in (entry / "maps").read_text().splitlines():
                major, _, minor = line.split()[3].partition(":")
                if (os.makedev(int(major, 16), int(minor, 16)), int(line.split()[4])) in inodes:
                    return f"process {entry.name} maps {line.split()[-1]}"
        except OSError:
            continue  # it ended while we looked
    return ""
