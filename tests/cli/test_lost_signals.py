"""A Ctrl-C or SIGTERM that arrives where Python drops exceptions ends the command all the same."""

import os
import signal
import time
import weakref

import pytest

from tune.cli.lost_signals import raised_again
from tune.errors import Terminated, terminate


class Something:
    """What a weak reference can be made to."""


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_in_the_callback_of_a_weak_reference_is_raised_again(
    number: signal.Signals, raised: type[KeyboardInterrupt]
) -> None:
    def callback(reference: object) -> None:
        os.kill(os.getpid(), number)

    handler = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}[number]
    something, before = Something(), signal.signal(number, handler)
    reference, passed = weakref.ref(something, callback), False
    try:
        with raised_again(), pytest.raises(raised):
            del something
            passed = True
            time.sleep(5)
    finally:
        signal.signal(number, before)
    assert passed and reference() is None, "dropped at first"
