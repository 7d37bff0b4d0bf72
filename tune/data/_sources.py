"""What pairs can be read from: files, saved datasets, datasets on the hub. Names only; opens nothing."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

FORMATS = "csv, csv.gz, tsv, jsonl or parquet"
KINDS = {
    ".csv": "table", ".tsv": "table", ".tab": "table", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_PARTITION = re.compile(r"(?P<key>[^=]+)=(?P<value>.*)")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class DataFile:
    """One file to read.

    kind: table (csv, tsv), jsonl or parquet. side: the side it is named after, if used. folders: the key=value folders
    that it is in, whose keys are columns. part_of: what the user named, if the file is one of several that make a
    table.
    """

    path: Path
    kind: str
    gz: bool = False
    side: str | None = None
    folders: tuple[str, ...] = ()
    part_of: str | None = None

    @property
    def name(self) -> str:
        return "/".join((*self.folders, self.path.name))

    @property
    def partitions(self) -> dict[str, str]:
        """The columns whose values the folders give, "" for a missing one."""
        found = {}
        for folder in self.folders:
            key, _, value = folder.partition("=")
            found[unquote(key)] = "" if value == _NULL_PARTITION else unquote(value)
        return found


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address such as https://HOST/pairs.csv. file: its name and format."""

    address: str
    file: DataFile

    def __str__(self) -> str:
        return self.file.name


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


def known(path: Path) -> DataFile | None:
    """Return the file if its name has a known suffix."""
    gz = path.suffix.lower() == ".gz"
    kind = KINDS.get(Path(path.stem if gz else path.name).suffix.lower())
    return None if kind is None or (gz and kind == "parquet") else DataFile(path, kind, gz)


def is_partition(folder: Path) -> bool:
    """Return whether a folder is named key=value, as Hive and Spark name the partitions of a table."""
    return _PARTITION.fullmatch(folder.name) is not None and not folder.name.startswith((".", "_"))
