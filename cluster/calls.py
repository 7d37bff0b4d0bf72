"""What Modal says of a call: over, running, or unknown.

Unknown is what an error of Modal's control plane leaves: a call that nobody could be asked about may well be running.
It is waited out, with growing pauses; it never counts as ended, and nothing is spawned on its account.
"""

import builtins
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import grpclib
import modal
from grpclib.exceptions import StreamTerminatedError
from h2.exceptions import ProtocolError
from modal import exception as errors

from tune.errors import SearchPaused

logger = logging.getLogger(__name__)

CallState = Literal["over", "running", "unknown"]
T = TypeVar("T")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 120.0
"""Seconds between two attempts to reach Modal: the first pause, doubled each time, and the longest."""

_ANSWERS = (
    errors.FunctionTimeoutError,
    errors.OutputExpiredError,
    errors.NotFoundError,
    errors.RemoteError,
    errors.InternalFailure,
    errors.ExecutionError,
    errors.DeserializationError,
)
"""Modal's own errors that tell how a call has ended: it has an output, or no longer has one."""
_OF_MODAL = (errors.Error, grpclib.GRPCError, StreamTerminatedError, ProtocolError, OSError)
_PASSING = (
    errors.ServiceError,
    errors.InternalError,
    errors.ConnectionError,
    errors.ResourceExhaustedError,
    errors.AuthError,
    errors.PermissionDeniedError,
    StreamTerminatedError,
    ProtocolError,
    builtins.ConnectionError,
    socket.gaierror,
)
"""Errors of the control plane or of the way to it. The client itself tries four times within a second."""


@dataclass(frozen=True)
class Answer:
    """What Modal says of a call. result: what it returned. error: what it raised, or what asking raised."""

    state: CallState
    result: Any = None
    error: BaseException | None = None

    @property
    def returned(self) -> bool:
        """Whether the call has ended with a result."""
        return self.state == "over" and self.error is None


def ask(call: str, wait: float = 0.0) -> Answer:
    """Ask Modal about a call; wait up to `wait` seconds for its end."""
    try:
        return Answer("over", modal.FunctionCall.from_id(call).get(timeout=wait))
    except (Exception, errors.InputCancellation) as error:
        return Answer(state_of(error), error=error)


def call_state(call: str) -> CallState:
    """Return whether a call is over, in any way, still runs, or could not be asked about.

    A call that Modal no longer knows is over.
    """
    return ask(call).state


def state_of(error: BaseException) -> CallState:
    """Return what an exception of `FunctionCall.get(timeout=...)` says of the call.

    The builtin TimeoutError means "no result yet"; a call that exceeded its own timeout raises Modal's. Our functions
    raise none of the errors that stand for unknown (`as_own`).
    """
    if isinstance(error, builtins.TimeoutError):
        return "running"
    if isinstance(error, _OF_MODAL) and not isinstance(error, _ANSWERS):
        return "unknown"
    return "over"


def passes(error: BaseException) -> bool:
    """Return whether an error is one of the control plane, or of the way to it, so that trying again may help."""
    return isinstance(error, _PASSING)


def described(error: BaseException | None) -> str:
    """Return an error as one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class Pauses:
    """Growing pauses between attempts to reach Modal, in seconds."""

    def __init__(self, longest: float = LONGEST_PAUSE) -> None:
        self._longest = longest
        self._next = FIRST_PAUSE

    def next(self) -> float:
        """Return the next pause: twice the one before."""
        pause, self._next = self._next, min(2 * self._next, self._longest)
        return pause

    def reset(self) -> None:
        """Begin again with the first, since Modal has answered."""
        self._next = FIRST_PAUSE


def patiently(
    work: Callable[[], T],
    seconds: float,
    say: Callable[[BaseException], None] | None = None,
    stop: threading.Event | None = None,
) -> T:
    """Return `work()`, repeated for up to `seconds` while Modal cannot be reached; then raise the last error.

    say: called with the first error. stop: ends the repeating. An error that trying again cannot help is raised at
    once.
    """
    pauses, deadline, stop = Pauses(), time.monotonic() + seconds, stop or threading.Event()
    while True:
        try:
            return work()
        except Exception as error:
            left = deadline - time.monotonic()
            if not passes(error) or left <= 0 or stop.is_set():
                raise
            if say is not None:
                say(error)
                say = None
            logger.info("Modal cannot be reached, will try again: %s", described(error))
        stop.wait(min(pauses.next(), left))


def result_of(call: str) -> Any:
    """Wait for the end of a call, through any outage; return its result, or raise what it raised."""
    pauses = Pauses()
    while (answer := ask(call, wait=30.0)).state != "over":
        if answer.state == "unknown":
            time.sleep(pauses.next())
        else:
            pauses.reset()
    if answer.error is not None:
        raise answer.error
    return answer.result


@contextlib.contextmanager
def as_own() -> Iterator[None]:
    """Raise RuntimeError in place of an error that a caller would take for one of Modal's control plane.

    Modal hands a caller what a function raised: TimeoutError would mean "no result yet", ServiceError "unknown".
    """
    try:
        yield
    except _OF_MODAL as error:
        raise RuntimeError(described(error)) from error


@contextlib.contextmanager
def pausing_unreachable() -> Iterator[None]:
    """Raise SearchPaused in place of an error of the control plane: nothing is wrong with the search."""
    try:
        yield
    except Exception as error:
        if not passes(error):
            raise
        raise SearchPaused(f"Modal cannot be reached ({described(error)})") from error


__all__ = [
    "Answer",
    "CallState",
    "Pauses",
    "as_own",
    "ask",
    "call_state",
    "described",
    "passes",
    "patiently",
    "pausing_unreachable",
    "result_of",
    "state_of",
]
