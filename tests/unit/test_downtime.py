"""The time without a link, emitted piece by piece: the pieces add up exactly, also if several threads ask."""

import threading

import pytest

from wsnova_statsd.client.downtime import Downtime
from wsnova_statsd.testing.clock import FakeClock

S = 1_000_000_000


class Bench:
    """A downtime on a clock that stands still, and what it emitted, in seconds."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.reported: list[float] = []
        self.down = Downtime(self.emitted, lambda: round(self.clock() * S))

    def emitted(self, nanoseconds: int) -> None:
        self.reported.append(nanoseconds / S)

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)


def test_an_outage_is_emitted_while_it_lasts_and_at_its_end() -> None:
    """By each flush what came since the last one; nothing while there is a link, or twice."""
    bench = Bench()
    for seconds in (1, 1, 0.5):
        bench.down.begins()  # again is no other begin
        bench.wait(seconds)
        bench.down.emit()
    bench.wait(0.25)
    bench.down.ends()
    bench.down.ends()
    bench.wait(60)
    bench.down.emit()
    assert bench.reported == [1, 1, 0.5, 0.25]
    assert not bench.down.runs


def test_outages_without_a_flush_are_emitted_at_their_ends() -> None:
    bench = Bench()
    for _ in range(3):
        bench.down.begins()
        assert bench.down.runs
        bench.wait(0.1)
        bench.down.ends()
        bench.wait(5)
    assert bench.reported == pytest.approx([0.1, 0.1, 0.1])


def test_an_end_during_a_handler_is_emitted_by_the_interrupted_caller() -> None:
    """A handler of the event, or of a signal, may close the client."""
    bench = Bench()

    def close(nanoseconds: int) -> None:
        bench.emitted(nanoseconds)
        bench.wait(2)
        bench.down.ends()

    bench.down = Downtime(close, lambda: round(bench.clock() * S))
    bench.down.begins()
    bench.wait(1)
    bench.down.emit()
    assert sum(bench.reported) == 3


def test_a_handler_that_raises_delays_nothing_later() -> None:
    bench = Bench()

    def refuse(nanoseconds: int) -> None:
        bench.emitted(nanoseconds)
        raise KeyError

    bench.down = Downtime(refuse, lambda: round(bench.clock() * S))
    bench.down.begins()
    for _ in range(2):
        bench.wait(1)
        with pytest.raises(KeyError):
            bench.down.emit()
    assert bench.reported == [1, 1]


def test_threads_that_ask_at_once_emit_each_piece_once() -> None:
    """Four of them, while outages come and go: the sum is exact."""
    reported: list[int] = []
    ticks = iter(range(10**9))
    down, done = Downtime(reported.append, lambda: next(ticks)), threading.Event()

    def ask() -> None:
        while not done.is_set():
            down.emit()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        down.begins()
        down.ends()
    done.set()
    for thread in threads:
        thread.join()
    down.emit()
    assert sum(reported) == down._at[0]
    assert all(piece > 0 for piece in reported)
