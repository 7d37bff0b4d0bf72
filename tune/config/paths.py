"""Paths of this machine in what others will read: only the last part is kept."""

import re
import shlex
from collections.abc import Iterable
from pathlib import PurePath

_PATH = re.compile(r"(?:(?<=^)|(?<=[=,]))(?:~[^/,]*|\.\.)?/[^,]*")
"""In a word of a command: an absolute path, or one above the current folder, but not that of an address."""


def without_paths(command: str) -> str:
    """Return a shell command with only the last part of every path outside the current folder."""
    words = [_PATH.sub(lambda found: PurePath(found[0]).name or "/", word) for word in _words(command)]
    return shlex.join(words)


def paths_in(command: str) -> list[str]:
    """Return the paths in a shell command that are outside the current folder, longest first."""
    found = {path for word in _words(command) for path in _PATH.findall(word) if PurePath(path).name}
    return sorted(found, key=lambda path: (-len(path), path))


def without_these(text: str, paths: Iterable[str]) -> str:
    """Return a text with only the last part of each of these paths."""
    for path in paths:
        text = text.replace(path, PurePath(path).name)
    return text


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        # An open quote: not written by a shell.
        return command.split()
