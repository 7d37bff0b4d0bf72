"""Copy files between the user's machine and the results Volume: pairs up, results down."""

import hashlib
from functools import partial
from pathlib import Path, PurePosixPath

import modal
from modal.types import FileEntryType

from cluster import settings
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
    """Upload local pairs to the Volume, once per content; return their path in a container.

    Returns None if there is nothing to upload: the demo pairs, or a dataset on the hub.
    """
    path = None if data is None else Path(data).expanduser()
    if path is None or not path.exists():
        return None
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and p.name[0] not in "._")
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as handle:
            digest.update(f"{file.name}\0{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    folder = f"{DATA}/{digest.hexdigest()[:24]}"
    # Keep the name of the user's file or folder.
    place = folder if path.is_file() else f"{folder}/{path.resolve().name}"
    wanted = {f"{place}/{file.name}" for file in files}
    if not wanted <= set(names_in(volume, folder, recursive=True)):
        with volume.batch_upload(force=True) as batch:
            for file in files:
                batch.put_file(str(file), f"/{place}/{file.name}")
    inside = f"{place}/{path.name}" if path.is_file() else place
    return str(settings.RESULTS / inside)


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
