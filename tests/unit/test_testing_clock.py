"""The fake clock moves only when a test moves it, exactly, and remembers every sleep."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from wsnova_statsd.testing.clock import FakeClock


def test_it_starts_at_the_given_time_and_stands_still() -> None:
    """Two readings without a step between them are equal."""
    clock = FakeClock(start=5.0)
    assert (clock(), clock.ns()) == (5.0, 5_000_000_000)
    assert clock() == 5.0
    assert repr(clock) == "FakeClock(5.000000000)"


def test_steps_add_up_without_rounding() -> None:
    """A thousand tenths of a second are a hundred seconds to the nanosecond."""
    clock = FakeClock(start=0.0)
    for _ in range(1_000):
        clock.advance(0.1)
    assert clock.ns() == 100_000_000_000


def test_sleeping_moves_the_clock_and_is_remembered() -> None:
    """`sleep` returns at once, later, and `sleeps` lists the waits in order; `advance` is not among them."""
    clock = FakeClock()
    clock.sleep(0.25)
    clock.advance(10)
    clock.sleep(0)
    assert clock() == 1_010.25
    assert clock.sleeps == [0.25, 0]


def test_the_list_of_sleeps_is_a_copy() -> None:
    """Changing the list does not change the clock's memory."""
    clock = FakeClock()
    clock.sleeps.append(1.0)
    assert clock.sleeps == []


@pytest.mark.parametrize("seconds", [-0.001, -math.inf, math.nan])
def test_it_never_goes_back(seconds: float) -> None:
    """A negative step or wait raises ValueError, as does NaN, and changes nothing."""
    clock = FakeClock()
    with pytest.raises(ValueError, match="zero seconds or more"):
        clock.advance(seconds)
    with pytest.raises(ValueError, match="zero seconds or more"):
        clock.sleep(seconds)
    assert (clock(), clock.sleeps) == (1_000.0, [])


def test_steps_from_many_threads_are_all_counted() -> None:
    """No step is lost when eight threads move the clock at once."""
    clock = FakeClock(start=0.0)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4_000):
            pool.submit(clock.sleep, 0.001)
    assert clock.ns() == 4_000_000_000
    assert len(clock.sleeps) == 4_000
