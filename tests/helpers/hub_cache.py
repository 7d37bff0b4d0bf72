"""The hub's cache as huggingface_hub lays it out, filled with models from folders: the hub as it looks offline."""

import shutil
from collections.abc import Mapping
from pathlib import Path

OLD, NEW = "a" * 40, "b" * 40
"""Two commits."""


def fill_hub_cache(hub: Path, repository: str, commits: Mapping[str, Path], refs: Mapping[str, str]) -> Path:
    """Put a repository into the hub's cache; return its folder.

    commits: commit -> folder with the files at that commit. refs: branch or tag -> commit; main is the newest one.
    """
    folder = hub / f"models--{repository.replace('/', '--')}"
    for commit, files in commits.items():
        shutil.copytree(files, folder / "snapshots" / commit)
    for name, commit in refs.items():
        ref = folder / "refs" / name
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)
    return folder
