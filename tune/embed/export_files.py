"""The directory of an exported model: which one a path means, its name, and its embedtune.json."""

import json
from pathlib import Path
from typing import Any

from tune.embed.adapted import ABOUT
from tune.errors import ModelError


def exported_in(path: Path) -> Path:
    """Return the export that a path means: itself, or the best/ of a results folder. Raises ModelError for neither."""
    if not (path / ABOUT).is_file() and (path / "best" / ABOUT).is_file():
        return path / "best"
    read_exported(path)
    return path


def read_exported(directory: Path) -> dict[str, Any]:
    """Read embedtune.json of an export. Raises ModelError if the directory is not an export, or it is damaged."""
    path = directory / ABOUT
    if not path.is_file():
        why = f"has no {ABOUT}" if directory.is_dir() else "does not exist"
        raise ModelError(f"{directory} is not an exported model ({why}); give results/NAME/best, or export one")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); export the model again") from None
    if not isinstance(about, dict) or not all(isinstance(about.get(key, ""), str) for key in ("prompt_a", "prompt_b")):
        raise ModelError(f"{path} was not written by an export; export the model again")
    return about


def export_name(directory: Path) -> str:
    """Return the name to show: of the search for its `best`, else of the directory."""
    path = directory.resolve()
    return path.parent.name if path.name == "best" and path.parent.name else path.name
