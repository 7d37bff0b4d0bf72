"""Pictures of figures, and Vega as one script, made by processes of their own beside this one.

vl_convert holds Python's lock while it works, so threads would wait for each other. A process of its own imports
vl_convert alone, in milliseconds, and works on a core that this one leaves idle.
"""

import contextlib
import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tune.errors import UserError
from tune.machine import usable_cores
from tune.report.drawing import check_drawing

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
    """A process that carries out one order at a time. ahead: whether it was started before there was any."""

    def __init__(self, *, ahead: bool = False) -> None:
        self.ahead = ahead
        # Not a pipe, which would fill up while nobody reads it.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- open as long as the process runs
        # -P: the files beside the program are not modules for it to import.
        self._process = subprocess.Popen(
            [sys.executable, "-P", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )
        self._open = False

    def order(self, order: dict[str, Any]) -> None:
        """Let it do something, after what was ordered before."""
        self.settle()
        assert self._process.stdin is not None
        # If it is gone already, its exit code and what it said come with the result.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        self._open = True

    def settle(self) -> Any:
        """Wait for what it makes, and return it; None if it has no order. Raises RuntimeError if it failed."""
        if not self._open:
            return None
        self._open = False
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            self._process.wait()
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else f"exit {self._process.returncode}"
            raise RuntimeError(f"figures could not be drawn: {reason}") from None

    def is_idle(self) -> bool:
        """Return whether it could take another order at once."""
        return not self._open and self._process.poll() is None

    def end(self) -> None:
        """End the process, if it still runs."""
        if self._said.closed:
            return
        self._process.kill()
        self._process.communicate()
        self._said.close()


_waiting: list[_Drawing] = []
"""Processes started ahead that have begun to start Vega."""
_bundling: list[_Drawing] = []
"""The process that makes the bundle, if one was started ahead."""


@contextlib.contextmanager
def drawing_ahead() -> Iterator[None]:
    """Start what pictures and the page take beside what is done within the context, which asks for them later.

    Nothing starts where figures cannot be drawn.
    """
    try:
        check_drawing()
    except UserError:
        yield
        return
    begun = [_Drawing(ahead=True) for _ in range(min(usable_cores(), _MOST_PROCESSES) - len(_waiting))]
    for process in begun:
        process.order({})
    _waiting.extend(begun)
    if not bundle.cache_info().currsize and not _bundling:
        _bundling.append(_Drawing())
        _bundling[0].order({"bundle": _EXPORTS})
        begun += _bundling
    try:
        yield
    finally:
        for process in begun:
            process.end()
            for started in (_waiting, _bundling):
                if process in started:
                    started.remove(process)


def wait_for_drawing() -> None:
    """Wait until nothing computes that was started ahead, so that it disturbs no measurement."""
    # What fails here fails again where it is asked for.
    with contextlib.suppress(RuntimeError):
        if _bundling:
            bundle()
        for process in _waiting:
            process.settle()


@contextlib.contextmanager
def drawing(specs: Sequence[dict[str, Any]]) -> Iterator["Pictures"]:
    """Begin to draw Vega-Lite specifications, and go on beside what is done within the context."""
    pictures = Pictures(specs, min(usable_cores(), _MOST_PROCESSES, len(specs)))
    try:
        yield pictures
    finally:
        pictures.end()


class Pictures:
    """Pictures in the making. processes: how many draw them; those that were started ahead come first."""

    def __init__(self, specs: Sequence[dict[str, Any]], processes: int) -> None:
        self._count = len(specs)
        self._drawings: list[_Drawing] = []
        for place in range(processes):
            self._drawings.append(_waiting.pop(0) if _waiting else _Drawing())
            self._drawings[-1].order({"scale": _SCALE, "specs": list(specs[place::processes])})

    def drawn(self) -> list[Picture]:
        """Wait for the pictures; return them in the order of the specifications. Raises RuntimeError if that fails."""
        drawn: list[Picture] = [("", b"")] * self._count
        for place, process in enumerate(self._drawings):
            drawn[place :: len(self._drawings)] = process.settle()
        return drawn

    def end(self) -> None:
        """End what still draws; processes that were started ahead wait for the next pictures."""
        for process in self._drawings:
            if process.ahead and process.is_idle():
                _waiting.append(process)
            else:
                process.end()
        self._drawings = []


@cache
def bundle() -> str:
    """Return Vega and what it needs as one script, made once. Raises RuntimeError if that fails."""
    if _bundling:
        process = _bundling.pop()
    else:
        process = _Drawing()
        process.order({"bundle": _EXPORTS})
    try:
        made: str = process.settle()
    finally:
        process.end()
    return made.replace("</script", "<\\/script")
