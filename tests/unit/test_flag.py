"""The flag: what a threading.Event does, and next to nothing while nobody waits."""

import threading
import tracemalloc

from tests.support import until
from wsnova_statsd.client.flag import Flag


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


def test_all_who_wait_are_woken_even_if_it_is_cleared_at_once() -> None:
    """A redial's wake-up is cleared before its sleeper had its turn, perhaps."""
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


def test_no_wake_up_is_lost_between_a_look_and_a_wait() -> None:
    """Two threads hand two flags to and fro: one lost wake-up would cost ten seconds."""
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


def test_one_that_nobody_waits_for_takes_little_memory() -> None:
    """A tenth of an event's 1.1 KB, also after somebody has waited."""
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
