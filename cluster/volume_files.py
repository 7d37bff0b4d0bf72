"""Copy files between the user's machine and the results Volume: pairs up, results down."""

import hashlib
from functools import partial
from pathlib import Path, PurePosixPath

import modal
from modal.types import FileEntryType

from cluster import settings
from tune.data.local_files import local_files
from tune.files import replace_atomic

DATA = ".data"
"""Folder of uploaded pairs on the results Volume; each upload is in a folder named by its content."""

_SKIPPED = (".lock", ".calls.lock")


def names_in(volume: modal.Volume, folder: str, recursive: bool = False) -> list[str]:
    """Return the paths of the files in a folder of a Volume; empty if there is no such folder."""
    try:
        entries = volume.listdir(folder, recursive=recursive)
    except (modal.exception.NotFoundError, FileNotFoundError):
        return []
    return [entry.path.lstrip("/") for entry in entries if entry.type == FileEntryType.FILE]


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
        with open(file, "rb") as handle:
            digest.update(f"{name}\0{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    folder = f"{DATA}/{digest.hexdigest()[:24]}"
    # Keep the name of the user's file or folder.
    place = f"{folder}/{root.resolve().name}" if found.root.is_dir() else folder
    if not {f"{place}/{name}" for name in files} <= set(names_in(volume, folder, recursive=True)):
        with volume.batch_upload(force=True) as batch:
            for name, file in files.items():
                batch.put_file(str(file), f"/{place}/{name}")
    inside = place if found.root.is_dir() else f"{place}/{found.root.name}"
    return f"{settings.RESULTS / inside}{found.rest}"


def download(volume: modal.Volume, name: str, to: Path) -> int:
    """Copy the results folder `name` from the Volume to the folder `to`; return the number of files."""
    paths = [path for path in names_in(volume, name, recursive=True) if _wanted(path)]
    for path in paths:
        target = to / PurePosixPath(path).relative_to(name)
        replace_atomic(target, partial(_fetch, volume, path), sync=False)
    return len(paths)


def _wanted(path: str) -> bool:
    last = PurePosixPath(path).name
    return last not in _SKIPPED and not last.endswith(".part")


def _fetch(volume: modal.Volume, path: str, part: Path) -> None:
    with open(part, "wb") as out:
        for chunk in volume.read_file(path):
            out.write(chunk)


__all__ = ["DATA", "download", "names_in", "read_text", "upload_data"]
