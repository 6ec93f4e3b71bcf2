"""The flag: what a threading.Event does, at next to no cost while no thread waits."""

import sys
import threading
import tracemalloc
from types import FrameType
from typing import Any

from tests.support import until
from wsnova_statsd.link import flag as flag_module
from wsnova_statsd.link.flag import Changes, Flag, Turn


def test_it_is_set_until_it_is_cleared() -> None:
    """A wait for what is set ends at once, and one for what is not at its timeout."""
    flag = Flag()
    assert not flag.is_set()
    assert not flag.wait(0.0)
    flag.set()
    assert flag.is_set()
    assert flag.wait()
    flag.clear()
    assert not flag.is_set()
    assert not flag.wait(0.0)


def test_all_waiting_threads_are_woken_even_if_it_is_cleared_at_once() -> None:
    """A redial's wake-up may be cleared before its sleeper runs."""
    flag, woken = Flag(), list[bool]()
    threads = [threading.Thread(target=lambda: woken.append(flag.wait(10.0))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert until(lambda: len(flag._waiting) == len(threads), 10.0)
    flag.set()
    flag.clear()
    for thread in threads:
        thread.join(10.0)
    assert woken == [True] * len(threads)
    assert not flag._waiting


def test_no_wake_up_is_lost_between_a_check_and_a_wait() -> None:
    """Two threads pass two flags to and fro: one lost wake-up would cost ten seconds."""
    ping, pong, rounds = Flag(), Flag(), 2_000

    def answer() -> None:
        for _ in range(rounds):
            assert ping.wait(10.0)
            ping.clear()
            pong.set()

    thread = threading.Thread(target=answer)
    thread.start()
    for _ in range(rounds):
        ping.set()
        assert pong.wait(10.0)
        pong.clear()
    thread.join(10.0)
    assert not thread.is_alive()


def test_a_flag_without_a_waiting_thread_takes_little_memory() -> None:
    """A tenth of an event's 1.1 KB, also after a thread has waited."""
    tracemalloc.start()
    try:
        flags = [Flag() for _ in range(100)]
        for flag in flags:
            flag.wait(0.0)
            flag.set()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(flags) < 200


def test_a_flag_may_be_set_during_a_wait_for_it() -> None:
    """By a signal's handler, in the same thread and at every line: it is woken, and nothing hangs."""
    for number in range(100):
        flag, lines = Flag(), list[int]()

        def trace(frame: FrameType, event: str, _argument: object, lines: list[int] = lines, flag: Flag = flag) -> Any:
            if frame.f_code.co_filename == flag_module.__file__ and event == "line":
                lines.append(frame.f_lineno)
                if len(lines) > number:  # noqa: B023
                    sys.settrace(None)
                    flag.set()
                    return None
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            flag.wait(10.0 if number < 5 else 0.0)
        finally:
            sys.settrace(before)
        if len(lines) <= number:
            break
        assert flag.is_set()
        assert not flag._waiting
    assert number > 5


def test_changes_wake_a_thread_that_waits_for_a_condition() -> None:
    """True once it holds, however often other changes were announced; False at the timeout."""
    changes, things, got = Changes(), list[int](), list[bool]()
    waiter = threading.Thread(target=lambda: got.append(changes.wait_for(lambda: len(things) == 3, 10.0)))
    waiter.start()
    for number in range(3):
        assert until(lambda: len(changes._waiting) == 1)
        things.append(number)
        changes.announce()
    waiter.join(10.0)
    assert got == [True]
    assert not changes.wait_for(lambda: False, 0.0)
    assert changes.wait_for(lambda: True, 0.0)


def test_a_turn_has_one_holder_until_it_is_released() -> None:
    """Its holder may take it again; another thread cannot release it."""
    turn = Turn()
    assert (turn.holder(), turn.take("a"), turn.take("b"), turn.take("a")) == (None, True, False, True)
    turn.give_back("b")
    assert turn.holder() == "a"
    turn.give_back("a")
    assert (turn.holder(), turn.take("b")) == (None, True)


def test_of_many_threads_one_takes_the_turn() -> None:
    """In each of a thousand rounds."""
    turns = [Turn() for _ in range(1000)]
    begin, won = threading.Barrier(4), list[int]()

    def race(me: int) -> None:
        begin.wait(10.0)
        won.extend(number for number, turn in enumerate(turns) if turn.take(me))

    threads = [threading.Thread(target=race, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert sorted(won) == list(range(1000))
