"""The files of a folder: one per side, or the parts of one table.

`data` is what the user typed, for messages. Looks only at names, except for the README of a clone; every error is a
one-line DataError.
"""

import glob
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tune.data._columns import sides_of_names
from tune.data._sources import FORMATS, DataFile, is_partition, known
from tune.data.sides import SIDES
from tune.errors import DataError

log = logging.getLogger(__name__)


def folder_files(path: Path, data: str, config: str | None = None) -> list[DataFile]:
    """Return the files of a folder in reading order (by side, then by name).

    A README of the hub's form decides by its configs; otherwise names do: of files, of folders named after a side, and
    of key=value folders. config: of the README, or a subfolder. Raises DataError if there are none, or several that
    are neither sides nor parts.
    """
    described = _of_readme(path, data, config)
    if described is not None:
        return described
    if config is not None:
        if not (path / config).is_dir():
            raise DataError(f"folder {data[:200]!r}: no config or subfolder {config!r}: check --data")
        return folder_files(path / config, data)
    return _named(path, data)


def _named(path: Path, data: str) -> list[DataFile]:
    files = [*_direct(path), *_partitioned(path, ())]
    inner = path / "data"
    if inner.is_dir() and (not files or (all(map(_may_describe, files)) and _direct(inner))):
        # As `git clone` leaves a dataset of the hub.
        return _named(inner, data)
    if not files:
        folders = [folder for folder in _visible(path) if folder.is_dir()]
        inside = [(folder.name, [*_direct(folder), *_partitioned(folder, ())]) for folder in folders]
        filled = [(name, found) for name, found in inside if found]
        if filled and any(sides_of_names([name for name, _ in filled])):
            return _by_side([(name, file) for name, found in filled for file in found], path.name)
        fix = "a file, or a folder with train, val and test files"
        if filled:
            fix = f"one of its folders {', '.join(name for name, _ in filled[:5])}"
        raise DataError(f"folder {data[:200]!r} contains no {FORMATS} file: give {fix}")
    return combined(files, path.name, data)


def matching(pattern: Path, data: str) -> list[DataFile]:
    """Return the files that match a pattern with * ? or [, as those of a folder; [] if there is no match at all."""
    paths = sorted(map(Path, glob.glob(str(pattern), recursive=True)))
    if not paths:
        return []
    found = [known(path) for path in paths if path.is_file() and not path.name.startswith((".", "_"))]
    files = [_in_partitions(file) for file in found if file is not None and file.path.name not in _ABOUT]
    for folder in (path for path in paths if path.is_dir() and is_partition(path)):
        files += [_in_partitions(file) for file in _partitioned(folder, (folder.name,), inside=True)]
    # A link to a folder above is followed many times.
    by_path = {file.path.resolve(): file for file in sorted(files, key=lambda file: -len(file.path.parts))}
    files = [file for file in files if by_path[file.path.resolve()] is file]
    if not files:
        raise DataError(f"{data[:200]!r} matches no {FORMATS} file: check --data")
    return combined(files, data, data)


def combined(files: Sequence[DataFile], name: str, data: str) -> list[DataFile]:
    """Return files in reading order: those named after sides, or else all as parts of one table."""
    about = [file for file in files if _may_describe(file)]
    if about and len(about) < len(files):
        log.warning("%s: skipped %s beside other files", name, ", ".join(file.name for file in about[:5]))
        files = [file for file in files if file not in about]
    if len(files) == 1:
        return list(files)
    stems = [file.path.name.split(".")[0] for file in files]
    if any(sides_of_names(stems)):
        return _by_side(list(zip(stems, files, strict=True)), name)
    if len({file.kind for file in files}) > 1:
        raise not_one_table(files, data)
    return [replace(file, part_of=data) for file in files]


def _may_describe(file: DataFile) -> bool:
    """Whether a .json file is not named after a side: beside other files, it tells about them."""
    return file.path.name.lower().removesuffix(".gz").endswith(".json") and not any(
        sides_of_names([file.path.name.split(".")[0]])
    )


def not_one_table(files: Sequence[DataFile], data: str) -> DataError:
    """Return the error of files that are neither sides nor parts of one table."""
    shown = ", ".join(file.name for file in files[:3])
    return DataError(
        f"{data[:200]!r} contains several files but none named train, val or test ({shown}), and they are not parts of"
        " one table, since their columns or formats differ: give one file as --data"
    )


def _by_side(named: Sequence[tuple[str, DataFile]], where: str) -> list[DataFile]:
    """Files by the side in their names. A single side is not a split; its rows are split as if in one file."""
    sides = sides_of_names([name for name, _ in named])
    sided = [replace(file, side=side) for (_, file), side in zip(named, sides, strict=True) if side is not None]
    ignored = [file.name for (_, file), side in zip(named, sides, strict=True) if side is None]
    if ignored:
        log.warning("%s: skipped files not named train, val or test: %s", where, ", ".join(ignored[:5]))
    sided.sort(key=lambda file: (SIDES.index(file.side or "train"), file.name))
    if len({file.side for file in sided}) == 1:
        return [replace(file, side=None) for file in sided]
    return sided


def _visible(path: Path) -> Iterable[Path]:
    return (inside for inside in sorted(path.iterdir()) if not inside.name.startswith((".", "_")))


def _direct(path: Path) -> list[DataFile]:
    found = (known(file) for file in _visible(path) if file.is_file())
    return [file for file in found if file is not None and file.path.name not in _ABOUT]


_ABOUT = ("dataset_infos.json", "dataset_info.json")
"""What the `datasets` library writes about data."""


def _partitioned(path: Path, above: tuple[str, ...], inside: bool = False) -> list[DataFile]:
    """The files in key=value folders, at any depth. inside: whether `path` is such a folder itself."""
    files = [replace(file, folders=above) for file in _direct(path)] if inside else []
    for folder in _visible(path):
        loops = folder.is_symlink() and path.resolve().is_relative_to(folder.resolve())
        if folder.is_dir() and is_partition(folder) and not loops:
            files += _partitioned(folder, (*above, folder.name), inside=True)
    return files


def _in_partitions(file: DataFile) -> DataFile:
    """The file with all key=value folders that its path has."""
    return replace(file, folders=tuple(folder.name for folder in reversed(file.path.parents) if is_partition(folder)))


# --- clones of hub datasets


def _of_readme(path: Path, data: str, config: str | None) -> list[DataFile] | None:
    """The files that the README of a clone names; None if it names none."""
    configs = _configs(path / "README.md")
    if not configs:
        return None
    names = [str(one["config_name"]) for one in configs]
    usual = [name for name, one in zip(names, configs, strict=True) if one.get("default") is True or name == "default"]
    chosen = config or (names[0] if len(names) == 1 else usual[0] if usual else None)
    if chosen not in names:
        wrong = f"has no config {config!r}, only" if config else "has several configs:"
        raise DataError(
            f"{data[:200]!r} {wrong} {', '.join(names[:8])}: choose one, such as --data {path.name}:{names[0]}"
        )
    one = configs[names.index(chosen)]
    if "data_files" not in one:
        return _named(path / str(one["data_dir"]), data)
    named: list[tuple[str, DataFile]] = []
    for split, pattern in _patterns(one["data_files"]):
        paths = _inside(path, pattern)
        files = [(split or file.path.name.split(".")[0], file) for file in map(known, paths) if file is not None]
        if not files:
            raise DataError(
                f"{data[:200]!r}: README.md names {pattern!r}, but there is no such file: fetch it, or give a file"
            )
        named += files
    if not named:
        return _named(path, data)
    if any(sides_of_names([name for name, _ in named])) and len(named) > 1:
        return _by_side(named, path.name)
    return combined([file for _, file in named], path.name, data)


def _inside(folder: Path, pattern: str) -> list[Path]:
    """The files of a clone that match a pattern of its README; ** beside other characters crosses folders too."""
    if not pattern or pattern.startswith("/") or ".." in pattern:
        return []
    parts = [
        part if part == "**" or "**" not in part else f"**/{part.replace('**', '*')}" for part in pattern.split("/")
    ]
    try:
        return sorted(folder.glob("/".join(parts)))
    except (ValueError, NotImplementedError):
        return []


def _configs(readme: Path) -> list[dict[str, Any]]:
    """The configs of a README that name files."""
    if not readme.is_file() or b"configs:" not in readme.read_bytes():
        return []
    from huggingface_hub.repocard import metadata_load

    try:
        found = (metadata_load(readme) or {}).get("configs")
    except Exception:
        # A README that cannot be parsed, by whatever cause, is one that names no files.
        return []
    configs = found if isinstance(found, list) else []
    return [one for one in configs if isinstance(one, dict) and "config_name" in one and one.keys() & _PLACES]


_PLACES = {"data_files", "data_dir"}


def _patterns(files: Any) -> list[tuple[str | None, str]]:
    """Split and path of each entry of `data_files`: a path, a list of paths, or of splits with their paths."""
    if isinstance(files, dict):
        files = [{"split": split, "path": path} for split, path in files.items()]
    found: list[tuple[str | None, str]] = []
    for entry in files if isinstance(files, list) else [files]:
        split, paths = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else (None, entry)
        found += [(None if split is None else str(split), str(one)) for one in _listed(paths) if one is not None]
    return found


def _listed(paths: Any) -> list[Any]:
    return paths if isinstance(paths, list) else [paths]
