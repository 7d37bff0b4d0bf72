"""What `--data` refers to: one file, the files of a folder, a saved dataset, or a dataset on the hub.

Looks at names only and opens nothing; every error is a one-line DataError.
"""

import difflib
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from tune.data._columns import sides_of_names
from tune.data.sides import SIDES
from tune.errors import DataError

log = logging.getLogger(__name__)

FORMATS = "csv, csv.gz, tsv, jsonl or parquet"
_KINDS = {
    ".csv": "table", ".tsv": "table", ".tab": "table", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
# A name with one of these suffixes means a file, even if there is no such file.
_OTHERS = (".gz", ".txt", ".xls", ".xlsx", ".ods", ".zip", ".bz2", ".xz", ".zst", ".feather", ".arrow")
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?")


@dataclass(frozen=True)
class DataFile:
    """One file to read: `kind` is table (csv, tsv), jsonl or parquet; `side` is the side it is named after, if used."""

    path: Path
    kind: str
    gz: bool = False
    side: str | None = None

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class HubName:
    """A dataset on the Hugging Face hub, `owner/name` or `owner/name:config`."""

    name: str
    config: str | None

    def __str__(self) -> str:
        return self.name if self.config is None else f"{self.name}:{self.config}"


@dataclass(frozen=True)
class SavedDataset:
    """A folder written by `save_to_disk` of the `datasets` library, with one split or several."""

    path: Path

    def __str__(self) -> str:
        return self.path.resolve().name


def locate(data: str) -> list[DataFile] | SavedDataset | HubName:
    """Return the files that `data` refers to, in reading order (by side, then by name), or the dataset.

    Raises DataError if there is no such file, its format is unknown, or a folder has no data or several files of which
    none is named after a side.
    """
    path = Path(data).expanduser()
    try:
        if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            return SavedDataset(path)
        if path.is_dir():
            return _folder(path, data)
        if path.exists():
            return [_file(path, data)]
    except OSError as error:  # name too long, folder not accessible
        raise DataError(f"cannot read {data[:200]!r}: {error.strerror or error}: check the path") from None
    hub = _HUB.fullmatch(data)
    if hub is None or data.startswith((".", "/", "~")) or path.suffix.lower() in (*_KINDS, *_OTHERS):
        raise DataError(f"no such file or folder: {data[:200]!r}{_nearest(path)}: check --data")
    return HubName(hub["name"], hub["config"])


def _file(path: Path, data: str) -> DataFile:
    file = _known(path)
    if file is None:
        raise DataError(f"{data[:200]!r} has an unknown format: save it as {FORMATS}")
    return file


def _known(path: Path) -> DataFile | None:
    gz = path.suffix.lower() == ".gz"
    kind = _KINDS.get(Path(path.stem if gz else path.name).suffix.lower())
    return None if kind is None or (gz and kind == "parquet") else DataFile(path, kind, gz)


def _folder(path: Path, data: str) -> list[DataFile]:
    found = (_known(p) for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith((".", "_")))
    files = [file for file in found if file is not None]
    if not files and (path / "data").is_dir():
        # As `git clone` leaves a dataset of the hub.
        return _folder(path / "data", data)
    if not files:
        raise DataError(
            f"folder {data[:200]!r} contains no {FORMATS} file: give a file, or a folder with train, val and test files"
        )
    if len(files) == 1:
        return files
    sides = sides_of_names([file.name.split(".")[0] for file in files])
    sided = [replace(file, side=side) for file, side in zip(files, sides, strict=True) if side is not None]
    if not sided:
        shown = ", ".join(file.name for file in files[:3])
        raise DataError(
            f"folder {data[:200]!r} contains several files but none named train, val or test ({shown}):"
            " give one file as --data"
        )
    ignored = [file.name for file, side in zip(files, sides, strict=True) if side is None]
    if ignored:
        shown = ", ".join(ignored[:5])
        log.warning("%s: skipped files not named train, val or test: %s", path.name, shown)
    sided.sort(key=lambda file: (SIDES.index(file.side or "train"), file.name))
    if len({file.side for file in sided}) == 1:
        # A single side is not a split; the rows are split as if from one file.
        return [replace(file, side=None) for file in sided]
    return sided


def _nearest(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1, cutoff=0.8)
    except OSError:
        return ""
    return f" (did you mean {near[0]!r}?)" if near else ""
