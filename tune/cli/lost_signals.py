"""Ctrl-C and SIGTERM that Python drops are raised again.

The interpreter runs a signal's handler between any two instructions. Within a `__del__` or the callback of a weak
reference, what it raises is printed and dropped. Each import has such a callback (`importlib._bootstrap`), so a command
that imports for seconds may miss a Ctrl-C.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tune.errors import Terminated

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_LATER_SECONDS = 0.01


@contextlib.contextmanager
def raised_again() -> Iterator[None]:
    """Within the context, send a signal again if what its handler raised was dropped."""
    before = sys.unraisablehook

    def hook(dropped: "UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        number = signal.SIGTERM if issubclass(dropped.exc_type, Terminated) else signal.SIGINT
        # Later and from another thread: until this returns, it would be dropped again.
        threading.Timer(_LATER_SECONDS, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
