"""The sums of a second: exact, and started over when they are taken."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsnova_statsd.client.batch import WINDOW_NS, Batch
from wsnova_statsd.events import CATALOGUE, MESSAGE_BATCH_PROCESSED
from wsnova_statsd.testing.clock import FakeClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr("wsnova_statsd.client.batch.time", SimpleNamespace(monotonic_ns=fake.ns))
    return fake


def test_nothing_is_told_of_nothing(clock: FakeClock) -> None:
    """Without traffic there is no batch and no moment at which one is due."""
    batch = Batch()
    assert batch.due == 0
    assert batch.take() is None


def test_a_batch_is_due_one_second_after_its_first_message(clock: FakeClock) -> None:
    """Later messages do not put it off."""
    batch = Batch()
    batch.add(10, clock.ns())
    due = clock.ns() + WINDOW_NS
    assert (batch.due, WINDOW_NS) == (due, 1_000_000_000)
    clock.advance(0.7)
    batch.add(20, clock.ns())
    assert batch.due == due


def test_the_sums_are_those_of_the_catalogue(clock: FakeClock) -> None:
    """Every measurement of the event is there and exact; the window is the time since the first message."""
    batch = Batch()
    batch.add(10, clock.ns())
    batch.process_time += 300
    batch.process_time_max = 300
    clock.advance(0.25)
    batch.add(0, clock.ns())
    batch.errors += 1
    sums = batch.take()
    assert sums == {
        "count": 2,
        "total_size": 10,
        "errors": 1,
        "process_time": 300,
        "process_time_max": 300,
        "window": 250_000_000,
    }
    assert set(sums) <= set(CATALOGUE[MESSAGE_BATCH_PROCESSED].measurements)


def test_taking_starts_over(clock: FakeClock) -> None:
    """What was told once is not told again, and the next window begins with the next message."""
    batch = Batch()
    batch.add(10, clock.ns())
    batch.errors, batch.process_time, batch.process_time_max = 1, 2, 3
    assert batch.take() is not None
    assert batch.take() is None
    clock.advance(5)
    batch.add(7, clock.ns())
    clock.advance(1)
    assert batch.take() == {
        "count": 1,
        "total_size": 7,
        "errors": 0,
        "process_time": 0,
        "process_time_max": 0,
        "window": 1_000_000_000,
    }


@given(st.lists(st.lists(st.integers(0, 2**40), max_size=8), max_size=8))
def test_no_message_is_lost_or_counted_twice(windows: list[list[int]]) -> None:
    """Over any number of windows the sums add up to the messages."""
    batch = Batch()
    taken = []
    for sizes in windows:
        for size in sizes:
            batch.add(size, 1)
        taken.append(batch.take())
    assert [None if sums is None else (sums["count"], sums["total_size"]) for sums in taken] == [
        (len(sizes), sum(sizes)) if sizes else None for sizes in windows
    ]
