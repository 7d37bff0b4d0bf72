"""Which files of this machine the pairs are in, so that they can be read on another."""

from dataclasses import dataclass
from pathlib import Path

from tune.data._files import folder_and_config, locate, without_file_scheme
from tune.data._sources import HubName, RemoteFile, SavedDataset
from tune.errors import UserError

_README = "README.md"


@dataclass(frozen=True)
class LocalFiles:
    """root: a file or folder. files: those to copy, below it. rest: what follows the root in `--data`."""

    root: Path
    files: list[Path]
    rest: str = ""


def local_files(data: str) -> LocalFiles | None:
    """Return the files that `data` refers to; None if they are not on this machine. Raises DataError as `locate` does.

    With the files at the same places below another root, root and rest refer to the same pairs.
    """
    data = without_file_scheme(data)
    found = locate(data)
    if isinstance(found, HubName | RemoteFile):
        return None
    if isinstance(found, SavedDataset):
        return LocalFiles(found.path, sorted(path for path in found.path.rglob("*") if path.is_file()))
    files = [file.path for file in found]
    root, rest = _root(data)
    if (root / _README).is_file():
        files.append(root / _README)
    return LocalFiles(root, files, rest)


def is_here(data: str | None) -> bool:
    """Return whether pairs can be read without fetching anything. data: None for the demo pairs."""
    try:
        return data is None or local_files(data) is not None
    except UserError:
        return False


def _root(data: str) -> tuple[Path, str]:
    path = Path(data).expanduser()
    if path.exists():
        return path, ""
    if (inside := folder_and_config(data)) is not None:
        return inside[0], f":{inside[1]}"
    root = next(parent for parent in path.parents if not any(c in str(parent) for c in "*?["))
    return root, f"/{path.relative_to(root)}"
