"""What `--data` refers to: a file, the files of a folder or pattern, an address, a saved dataset, or a hub dataset.

Looks only at names, except for the README of a clone; every error is a one-line DataError.
"""

import difflib
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tune.data._folders import folder_files, matching
from tune.data._remote import remote
from tune.data._sources import FORMATS, KINDS, DataFile, HubName, RemoteFile, SavedDataset, known
from tune.errors import DataError

__all__ = ["DataFile", "HubName", "RemoteFile", "SavedDataset", "locate"]

# A name with one of these suffixes means a file, even if there is no such file.
_OTHERS = (".gz", ".txt", ".xls", ".xlsx", ".ods", ".zip", ".bz2", ".xz", ".zst", ".feather", ".arrow")
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?")


def locate(data: str) -> list[DataFile] | RemoteFile | SavedDataset | HubName:
    """Return the files that `data` refers to, in reading order (by side, then by name), or the dataset.

    Raises DataError if there is no such file, its format is unknown, or a folder has no data, or several files that are
    neither named after sides nor parts of one table. Nothing is fetched.
    """
    data = without_file_scheme(data)
    if not data.strip():
        raise DataError("--data is empty: give a file, folder, address or hub dataset, or leave it out for the demo")
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", data):
        return remote(data)
    try:
        path = Path(data).expanduser()
        if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            return SavedDataset(path)
        if path.is_dir():
            return folder_files(path, data)
        if path.exists():
            return [_file(path, data)]
        if (inside := folder_and_config(data)) is not None:
            return folder_files(inside[0], data, inside[1])
        if any(c in data for c in "*?[") and (files := matching(path, data)):
            return files
    except RuntimeError:  # ~ of an unknown user
        path = Path(data)
    except OSError as error:  # name too long, folder not accessible
        raise DataError(f"cannot read {data[:200]!r}: {error.strerror or error}: check the path") from None
    hub = _HUB.fullmatch(data)
    if hub is None or data.startswith((".", "/", "~")) or path.suffix.lower() in (*KINDS, *_OTHERS):
        raise DataError(f"no such file or folder: {data[:200]!r}{_nearest(path)}: check --data")
    return HubName(hub["name"], hub["config"])


def without_file_scheme(data: str) -> str:
    """Return the path that a file:// address names, and all else unchanged."""
    return url2pathname(urlsplit(data).path) if data.lower().startswith("file://") else data


def folder_and_config(data: str) -> tuple[Path, str] | None:
    """Return the folder and what follows it in FOLDER:CONFIG; None for anything else."""
    folder, colon, config = data.rpartition(":")
    path = Path(folder).expanduser()
    return (path, config) if colon and path.is_dir() else None


def _file(path: Path, data: str) -> DataFile:
    file = known(path)
    if file is None:
        raise DataError(f"{data[:200]!r} has an unknown format: save it as {FORMATS}")
    return file


def _nearest(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1, cutoff=0.8)
    except OSError:
        return ""
    return f" (did you mean {near[0]!r}?)" if near else ""
