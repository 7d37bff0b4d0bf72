"""Copy files between the user's machine and the results Volume: pairs up, results down."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import modal
from modal.types import FileEntry, FileEntryType

from cluster import settings
from cluster.calls import patiently
from tune.data.local_files import local_files
from tune.files import replace_atomic, sha256_of

DATA = ".data"
"""Folder of uploaded pairs on the results Volume; each upload is in a folder named by its content."""

_PARALLEL = 8
"""Files fetched at the same time; most are small, so a fetch is mostly waiting."""
_SKIPPED = (".lock", ".calls.lock")


def names_in(volume: modal.Volume, folder: str, recursive: bool = False) -> list[str]:
    """Return the paths of the files in a folder of a Volume; empty if there is no such folder."""
    return [entry.path.lstrip("/") for entry in _entries(volume, folder, recursive)]


def read_text(volume: modal.Volume, path: str) -> str | None:
    """Return the text of a small file on a Volume; None if it does not exist."""
    try:
        return b"".join(volume.read_file(path)).decode()
    except (modal.exception.NotFoundError, FileNotFoundError):
        return None


def upload_data(volume: modal.Volume, data: str | None) -> str | None:
    """Upload local pairs to the Volume, once per content; return what `--data` is in a container.

    Returns None if there is nothing to upload: the demo pairs, a dataset on the hub, an address.
    """
    found = None if data is None else local_files(data)
    if found is None:
        return None
    root = found.root if found.root.is_dir() else found.root.parent
    files = {str(file.relative_to(root)): file for file in found.files}
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\0{sha256_of(file)}\n".encode())
    folder = f"{DATA}/{digest.hexdigest()[:24]}"
    # Keep the name of the user's file or folder.
    place = f"{folder}/{root.resolve().name}" if found.root.is_dir() else folder
    if not {f"{place}/{name}" for name in files} <= set(names_in(volume, folder, recursive=True)):
        with volume.batch_upload(force=True) as batch:
            for name, file in files.items():
                batch.put_file(str(file), f"/{place}/{name}")
    inside = place if found.root.is_dir() else f"{place}/{found.root.name}"
    return f"{settings.RESULTS / inside}{found.rest}"


def download(volume: modal.Volume, name: str, to: Path, weights: bool = True) -> int:
    """Copy what is missing of the results folder `name` from the Volume to the folder `to`; return how many files.

    Modal gives no hashes of files: one that has the size and the time of the file on the Volume is taken for the same.
    weights: of all trials; without, of the winner alone.
    """
    folder = to.resolve()
    summary = json.loads(read_text(volume, f"{name}/summary.json") or "{}")
    winner = (summary.get("winner") or {}).get("trial", "")

    def wanted(entry: FileEntry) -> bool:
        path = PurePosixPath(entry.path.lstrip("/")).relative_to(name)
        of_trial = path.parts[0] == "trials" and path.name == "best.safetensors"
        if of_trial and not weights and path.parent.name != winner:
            return False
        return _wanted(path.name) and not _is_here(entry, folder / path)

    def fetch(entry: FileEntry) -> None:
        path = entry.path.lstrip("/")
        work = partial(replace_atomic, folder / PurePosixPath(path).relative_to(name), partial(_fetch, volume, entry),
                       sync=False)  # fmt: skip
        patiently(work, settings.ASK_SECONDS)

    found = patiently(lambda: _entries(volume, name, recursive=True), settings.ASK_SECONDS)
    missing = [entry for entry in found if wanted(entry)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(fetch, missing))
    return len(missing)


def _entries(volume: modal.Volume, folder: str, recursive: bool) -> list[FileEntry]:
    """Return the files in a folder of a Volume; empty if there is no such folder."""
    try:
        entries = volume.listdir(folder, recursive=recursive)
    except (modal.exception.NotFoundError, FileNotFoundError):
        return []
    return [entry for entry in entries if entry.type == FileEntryType.FILE]


def _is_here(entry: FileEntry, file: Path) -> bool:
    try:
        stat = file.stat()
    except OSError:
        return False
    return bool(entry.mtime) and (stat.st_size, int(stat.st_mtime)) == (entry.size, entry.mtime)


def _wanted(name: str) -> bool:
    return name not in _SKIPPED and not name.endswith(".part")


def _fetch(volume: modal.Volume, entry: FileEntry, part: Path) -> None:
    with open(part, "wb") as out:
        for chunk in volume.read_file(entry.path.lstrip("/")):
            out.write(chunk)
    if entry.mtime:
        os.utime(part, (entry.mtime, entry.mtime))


__all__ = ["DATA", "download", "names_in", "read_text", "upload_data"]
