"""Pictures of figures, and Vega as one script, made by processes of their own beside this one.

vl_convert holds Python's lock while it works, so threads would wait for each other. A process of its own imports
vl_convert alone, in milliseconds, and works on a core that this one leaves idle.
"""

import contextlib
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tune.machine import usable_cores

Picture = tuple[str, bytes]
"""SVG, and the same as PNG."""

_PROGRAM = str(Path(__file__).with_name("draw.py"))
_MOST_PROCESSES = 4
"""Each takes 0.3 s to start Vega, and 100 MB."""
_EXPORTS = "window.vegaEmbed = vegaEmbed;"
"""What the page uses of the bundled libraries."""
_SCALE = 2
"""Pixels of a PNG per unit of a figure."""


class _Drawing:
    """A process that does one thing and hands it over."""

    def __init__(self, order: object) -> None:
        # -P: the files beside the program are not modules for it to import.
        self._process = subprocess.Popen(
            [sys.executable, "-P", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        # If it is gone already, its exit code and what it said come with the result.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode())
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdin = None

    def result(self) -> Any:
        """Wait for what it made. Raises RuntimeError if it failed."""
        made, said = self._process.communicate()
        if self._process.returncode:
            reason = (said.decode(errors="replace").strip().splitlines() or [f"exit {self._process.returncode}"])[-1]
            raise RuntimeError(f"figures could not be drawn: {reason}")
        return pickle.loads(made)

    def end(self) -> None:
        """End the process, if it still runs."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def drawing(specs: Sequence[dict[str, Any]]) -> Iterator["Pictures"]:
    """Begin to draw Vega-Lite specifications, and go on beside what is done within the context."""
    pictures = Pictures(specs, min(usable_cores(), _MOST_PROCESSES, len(specs)))
    try:
        yield pictures
    finally:
        pictures.end()


class Pictures:
    """Pictures in the making. processes: how many draw them."""

    def __init__(self, specs: Sequence[dict[str, Any]], processes: int) -> None:
        self._count = len(specs)
        shares = [specs[place::processes] for place in range(processes)]
        self._drawings = [_Drawing({"scale": _SCALE, "specs": list(own)}) for own in shares]

    def drawn(self) -> list[Picture]:
        """Wait for the pictures; return them in the order of the specifications. Raises RuntimeError if that fails."""
        drawn: list[Picture] = [("", b"")] * self._count
        for place, process in enumerate(self._drawings):
            drawn[place :: len(self._drawings)] = process.result()
        return drawn

    def end(self) -> None:
        """End what still draws."""
        for process in self._drawings:
            process.end()


_ahead: list[_Drawing] = []
"""The process that makes the bundle, if one was started."""


@contextlib.contextmanager
def bundle_ahead() -> Iterator[None]:
    """Make the bundle beside what is done within the context, which asks for it later."""
    if not bundle.cache_info().currsize:
        _ahead.append(_Drawing({"bundle": _EXPORTS}))
    try:
        yield
    finally:
        while _ahead:
            _ahead.pop().end()


@cache
def bundle() -> str:
    """Return Vega and what it needs as one script, made once. Raises RuntimeError if that fails."""
    process = _ahead.pop() if _ahead else _Drawing({"bundle": _EXPORTS})
    made: str = process.result()
    return made.replace("</script", "<\\/script")
