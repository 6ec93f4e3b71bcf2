"""The ownership of a connection: one thread at a time, and what happens to the others meanwhile."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

from tests.faults.interrupting import out_of_reach
from tests.support import until
from wsnova_statsd.client import ownership as ownership_module
from wsnova_statsd.client.ownership import THREAD, Ownership
from wsnova_statsd.errors import ConfigurationError
from wsnova_statsd.link import flag as flag_module


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership_module, "_SOON", 0.01)


def _ownership(closing: bool = False) -> Ownership:
    return Ownership(lambda: closing)


@contextmanager
def _owned(ownership: Ownership, until: float | None = None) -> Iterator[None]:
    hold = ownership.wish()
    try:
        ownership.take(hold, until)
        yield
    finally:
        hold.pop(THREAD, None)
        ownership.freed()


@contextmanager
def _held_elsewhere(ownership: Ownership) -> Iterator[Callable[[], None]]:
    """Another thread owns it, until the block ends or it is asked to release it."""
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with _owned(ownership):
            taken.set()
            leave.wait(10.0)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10.0)
    try:
        yield leave.set
    finally:
        leave.set()
        thread.join(10.0)


def test_the_thread_that_acquired_it_owns_it_until_the_block_ends() -> None:
    """Also if the block ends by an exception."""
    ownership = _ownership()
    assert not ownership.mine()
    with suppress(KeyError), _owned(ownership):
        assert ownership.mine()
        raise KeyError
    assert not ownership.mine()
    with _held_elsewhere(ownership):
        assert not ownership.mine()


def test_a_thread_that_owns_it_may_not_acquire_it_again() -> None:
    """It would wait for itself; and work that needs a free connection is not done."""
    ownership = _ownership()
    with _owned(ownership):
        with pytest.raises(ConfigurationError, match="in this thread"):
            ownership.wish()
        assert not ownership.if_free(lambda: pytest.fail("done"))
        assert ownership.mine()


def test_a_connection_that_another_thread_keeps_is_refused() -> None:
    """An error for a second loop; nothing happens if it was wanted only when free."""
    ownership = _ownership()
    with _held_elsewhere(ownership):
        with pytest.raises(ConfigurationError, match="another thread"), _owned(ownership):
            pass
        assert not ownership.if_free(lambda: pytest.fail("done"))
        assert not ownership.if_free(lambda: pytest.fail("done"), 0.01)
    done = list[bool]()
    assert ownership.if_free(lambda: done.append(ownership.mine()))
    assert (done, ownership.mine()) == ([True], False)


@pytest.mark.parametrize("why", ["closing", "standing in"])
def test_an_owner_that_is_about_to_release_it_is_waited_for(why: str) -> None:
    """The client is closing, or its link is made in a thread that ends then; at most until the given moment."""
    ownership = _ownership(closing=why == "closing")
    with _held_elsewhere(ownership) as let_go:
        if why == "standing in":
            ownership.stand_in()
        with pytest.raises(TimeoutError), _owned(ownership, time.monotonic()):
            pass
        let_go()
        with _owned(ownership):
            assert ownership.mine()


def test_a_waiting_thread_gets_it_as_soon_as_it_is_free() -> None:
    """And not only at the next check."""
    ownership = _ownership()
    got = list[bool]()
    with _held_elsewhere(ownership) as let_go:
        waiter = threading.Thread(target=lambda: got.append(ownership.if_free(lambda: None, 10.0)))
        waiter.start()
        assert until(lambda: len(ownership._freed._waiting) == 1)
        let_go()
        waiter.join(5.0)
    assert got == [True]


@pytest.mark.parametrize("way", ["held", "if_free"])
def test_an_exception_of_a_signals_handler_leaves_it_free(way: str) -> None:
    """At every line of acquiring and releasing it."""
    files = {ownership_module.__file__, flag_module.__file__}

    class Mine(BaseException):
        pass

    def use(ownership: Ownership) -> None:
        if way == "held":
            with _owned(ownership):
                pass
        else:
            ownership.if_free(lambda: None)

    for number in range(1000):
        ownership, left = _ownership(), [None] * number

        def trace(frame: FrameType, event: str, _argument: object, left: list[None] = left) -> Any:
            if frame.f_code.co_filename in files and event == "line":
                if not left and out_of_reach(frame):
                    return trace
                if not left:
                    sys.settrace(None)
                    raise Mine
                left.pop()
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            use(ownership)
        except Mine:
            pass
        else:
            break
        finally:
            sys.settrace(before)
        assert ownership.if_free(lambda: None)
    assert number > 10
