"""Work behind another thread's: in order, one call at a time, and no error is lost."""

import threading

import pytest

from tune.embed.behind import behind


def test_calls_run_in_order_beside_the_caller_and_are_done_at_the_end() -> None:
    done: list[int] = []
    go = threading.Event()

    def work(number: int) -> None:
        assert go.wait(10)
        assert threading.current_thread() is not threading.main_thread()
        done.append(number)

    with behind(work) as call:
        call(0)
        assert not done, "the caller goes on"
        go.set()
        for number in range(1, 5):
            call(number)
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("last", [True, False], ids=["in the last call", "in one before"])
def test_an_error_is_raised_and_nothing_runs_after_it(last: bool) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 1:
            raise OSError("disk full")
        done.append(number)

    with pytest.raises(OSError, match="disk full"), behind(work) as call:
        call(0)
        call(1)
        if not last:
            call(2)
    assert done == [0]


def test_what_is_on_its_way_is_done_if_the_caller_fails() -> None:
    done: list[int] = []
    with pytest.raises(ValueError, match="model"), behind(done.append) as call:
        call(0)
        raise ValueError("model")
    assert done == [0]
