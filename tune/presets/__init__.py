"""Ready-made searches: the TOML files in this folder.

Flags win over a preset as over any file. The first line of each file is a comment that says what it is for.
"""

from importlib.resources import files
from pathlib import Path

from tune.errors import ConfigError


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name[-5:] == ".toml")


def preset_path(name: str) -> Path:
    """Return the file of a preset. Raises ConfigError if there is no preset of that name."""
    if name not in preset_names():
        raise ConfigError([f"--preset: no preset {name!r}; choose from {', '.join(preset_names())}"])
    return Path(str(files(__name__) / f"{name}.toml"))


def preset_purpose(name: str) -> str:
    """Return what a preset is for: the first line of its file."""
    return preset_path(name).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
