"""How a run that ended early is reported: its line on stderr, its exit code, and the reason in its JSON."""

from collections.abc import Callable
from dataclasses import dataclass

from tune.errors import PAUSED, TERMINATED, SearchPaused, Terminated

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


@dataclass(frozen=True)
class EarlyEnd:
    """line: for stderr, without a stop. code: exit code. reason: for JSON."""

    line: str
    code: int
    reason: str

    @classmethod
    def of(cls, error: KeyboardInterrupt | SearchPaused) -> "EarlyEnd":
        """Return how a run ended that raised this."""
        if isinstance(error, SearchPaused):
            return cls(f"paused: {error}", PAUSED, str(error))
        if isinstance(error, Terminated):
            return cls("terminated", TERMINATED, "by SIGTERM")
        return cls("interrupted", INTERRUPTED, "by Ctrl-C")


def last_words(
    close: Callable[[], None], ended: Callable[[KeyboardInterrupt | SearchPaused], int]
) -> Callable[[str], int]:
    """Return what to say if Ray dies, as `LocalBackend` takes it.

    It is called from another thread, as the main one may wait for Ray. close: ends the display. ended: says why the run
    has ended; returns the exit code.
    """

    def say(reason: str) -> int:
        close()
        return ended(SearchPaused(reason) if reason else Terminated())

    return say
