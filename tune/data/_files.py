"""What `--data` names: one file, the files of a folder, or a dataset on the hub.

Only names are looked at here, nothing is opened; every refusal is a DataError of one line.
"""

import difflib
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from tune.data._columns import sides_of_names
from tune.errors import DataError

log = logging.getLogger(__name__)

FORMATS = "csv, csv.gz, tsv, jsonl or parquet"
_KINDS = {
    ".csv": "table", ".tsv": "table", ".tab": "table", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
# A name that ends so is meant as a file, even where no such file is.
_OTHERS = (".gz", ".txt", ".xls", ".xlsx", ".ods", ".zip", ".bz2", ".xz", ".zst", ".feather", ".arrow")
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?")


@dataclass(frozen=True)
class DataFile:
    """One file to read: `kind` is table (csv, tsv), jsonl or parquet; `side` is what its name says, if it
    counts."""

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


def locate(data: str) -> list[DataFile] | HubName:
    """The files that `data` names, in reading order (train, val, test, then by name), or the hub dataset.

    DataError: no such file, an unknown format, a folder without data or with several files of no known side.
    """
    path = Path(data).expanduser()
    try:
        if path.is_dir():
            return _folder(path, data)
        if path.exists():
            return [_file(path, data)]
    except OSError as error:  # a name too long, a folder that may not be entered
        raise DataError(f"cannot read {data[:200]!r}: {error.strerror or error}: check the path") from None
    hub = _HUB.fullmatch(data)
    if hub is None or data.startswith((".", "/", "~")) or path.suffix.lower() in (*_KINDS, *_OTHERS):
        raise DataError(f"no such file or folder: {data[:200]!r}{_nearest(path)}: check the path given as --data")
    return HubName(hub["name"], hub["config"])


def _file(path: Path, data: str) -> DataFile:
    file = _known(path)
    if file is None:
        raise DataError(f"{data[:200]!r} is of an unknown format: save it as {FORMATS}")
    return file


def _known(path: Path) -> DataFile | None:
    gz = path.suffix.lower() == ".gz"
    kind = _KINDS.get(Path(path.stem if gz else path.name).suffix.lower())
    return None if kind is None or (gz and kind == "parquet") else DataFile(path, kind, gz)


def _folder(path: Path, data: str) -> list[DataFile]:
    found = (_known(p) for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith((".", "_")))
    files = [file for file in found if file is not None]
    if not files:
        raise DataError(
            f"folder {data[:200]!r} holds no {FORMATS} file: give a file, or a folder with train, val and test"
        )
    if len(files) == 1:
        return files
    sides = sides_of_names([file.name.split(".")[0] for file in files])
    sided = [replace(file, side=side) for file, side in zip(files, sides, strict=True) if side is not None]
    if not sided:
        shown = ", ".join(file.name for file in files[:3])
        raise DataError(
            f"folder {data[:200]!r} holds several files and none named train, val or test ({shown}):"
            " name one file as --data"
        )
    ignored = [file.name for file, side in zip(files, sides, strict=True) if side is None]
    if ignored:
        shown = ", ".join(ignored[:5])
        log.warning("%s: not read, as the name says neither train, val nor test: %s", path.name, shown)
    order = ("train", "val", "test")
    sided.sort(key=lambda file: (order.index(file.side or "train"), file.name))
    if len({file.side for file in sided}) == 1:
        # One side alone is no split: the rows are split as from one file.
        return [replace(file, side=None) for file in sided]
    return sided


def _nearest(path: Path) -> str:
    try:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1, cutoff=0.8)
    except OSError:
        return ""
    return f" (there is {near[0]!r})" if near else ""
