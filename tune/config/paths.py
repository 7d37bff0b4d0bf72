"""Paths of this machine in what others will read: only the last part is kept."""

import html
import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePath

_PATH = re.compile(r"(?:(?<=^)|(?<=[=,]))(?:~[^/,]*|\.\.)?/[^,]*")
"""In a word of a command: an absolute path, or one above the current folder, but not that of an address."""
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda path: json.dumps(path)[1:-1],
    lambda path: json.dumps(path, ensure_ascii=False)[1:-1],
    lambda path: html.escape(path, quote=False),
    lambda path: html.escape(path, quote=False).replace("'", "&#39;").replace('"', "&#34;"),
)
"""How a path may stand in a text: as it is, in JSON, and in HTML."""


def without_paths(command: str) -> str:
    """Return a shell command with only the last part of every path outside the current folder."""
    words = [_PATH.sub(lambda found: PurePath(found[0]).name or "/", word) for word in _words(command)]
    return shlex.join(words)


def paths_in(command: str) -> list[str]:
    """Return the paths in a shell command that are outside the current folder, longest first."""
    found = {path for word in _words(command) for path in _PATH.findall(word) if PurePath(path).name}
    return sorted(found, key=lambda path: (-len(path), path))


def without_these(text: str, names: Mapping[str, str]) -> str:
    """Return a text with a name in place of each of these paths, also as JSON and HTML spell them.

    names: path -> what to write instead; longer paths go first. A path of one part (/data) stays: it says nothing about
    a person or a machine, and may be something else, such as a token of a vocabulary.
    """
    for path in sorted(filter(_private, names), key=len, reverse=True):
        # A shell writes a single quote inside quotes as '"'"'.
        quoted = {path: names[path], path.replace("'", "'\"'\"'"): names[path].replace("'", "'\"'\"'")}
        spellings = {spelled(one): spelled(name) for one, name in quoted.items() for spelled in _SPELLINGS}
        for found, name in spellings.items():
            if found in text:
                text = re.sub(rf"(?<![\w.]){re.escape(found)}(?!\w)", name.replace("\\", r"\\"), text)
    return text


def _private(path: str) -> bool:
    return len([part for part in PurePath(path).parts if part not in ("/", "~", "..", ".")]) > 1


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        # An open quote: not written by a shell.
        return command.split()
