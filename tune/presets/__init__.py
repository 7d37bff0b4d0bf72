"""Presets: searches ready to run, as the TOML files beside this one. Flags win over them as over any file."""

from importlib.resources import files
from pathlib import Path

from tune.errors import ConfigError


def preset_names() -> list[str]:
    """Names of all presets."""
    return sorted(entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name[-5:] == ".toml")


def preset_path(name: str) -> Path:
    """The file of a preset. ConfigError where there is none of that name."""
    if name not in preset_names():
        raise ConfigError([f"--preset: no preset {name!r}; known are {', '.join(preset_names())}"])
    return Path(str(files(__name__) / f"{name}.toml"))


def preset_purpose(name: str) -> str:
    """What a preset is for: the first line of its file."""
    return preset_path(name).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
