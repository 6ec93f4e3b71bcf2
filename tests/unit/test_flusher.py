"""The flush thread survives exceptions, and a dead one is replaced."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from wsnova_statsd.reporters.flusher import Flusher

LONG = 10.0  # seconds; a deadline, not a duration


@pytest.fixture
def made() -> Iterator[Callable[..., Flusher]]:
    flushers: list[Flusher] = []

    def make(
        flush: Callable[[], object], urgent: Callable[[], object] = lambda: None, interval: float = 0.01
    ) -> Flusher:
        flushers.append(Flusher(interval, flush, urgent))
        flushers[-1].wanted = True
        flushers[-1].ensure()
        return flushers[-1]

    yield make
    for one in flushers:
        one.stop(time.monotonic() + LONG)


def _named() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wsnova-flush"]


@pytest.mark.parametrize("error", [ValueError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_flush_that_raises_does_not_stop_the_next_one(
    made: Callable[..., Flusher], error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Counted each time, named in the last error, logged with its traceback once a minute."""
    flushed, done = [0], threading.Event()

    def flush() -> None:
        flushed[0] += 1
        if flushed[0] <= 3:
            raise error("boom")
        done.set()

    with caplog.at_level(logging.ERROR):
        flusher = made(flush)
        assert done.wait(LONG)
    assert (flusher.errors, flusher.restarts) == (3, 0)
    assert flusher.last_error == f"{error.__name__}: boom"
    (record,) = caplog.records
    assert record.getMessage().startswith("the StatsD flush failed")
    assert record.exc_info is not None


def test_a_dead_thread_is_replaced_on_the_next_request() -> None:
    """For any cause of death; each is counted, and only one lives at a time."""
    before, flushed = len(_named()), threading.Event()
    flusher = Flusher(0.01, flushed.set, lambda: None)
    flusher.wanted = True
    flusher._thread = dead = threading.Thread(target=lambda: None)
    dead.start()
    dead.join()
    flusher.ensure()
    flusher.ensure()
    assert flushed.wait(LONG)
    assert len(_named()) == before + 1
    flusher.stop(time.monotonic() + LONG)
    assert flusher.restarts == 1


def test_what_is_urgent_does_not_wait_for_the_interval(made: Callable[..., Flusher]) -> None:
    """It is sent at once, without a flush."""
    urgent = threading.Event()
    flushed: list[int] = []
    flusher = made(lambda: flushed.append(1), urgent.set, interval=3600)
    for _ in range(3):
        urgent.clear()
        flusher.wake()
        assert urgent.wait(LONG)
    assert flushed == []


def test_it_ends_when_stopped_and_a_later_start_is_no_restart(made: Callable[..., Flusher]) -> None:
    """Within the deadline; a later start makes a new thread."""
    before = len(_named())
    flusher = made(lambda: None, interval=3600)
    assert len(_named()) == before + 1
    assert all(thread.daemon for thread in _named())
    flusher.stop(time.monotonic() + LONG)
    assert len(_named()) == before
    flusher.ensure()
    assert len(_named()) == before
    flusher.wanted = True
    flusher.ensure()
    assert len(_named()) == before + 1
    assert flusher.restarts == 0


def test_if_no_thread_can_start_nothing_raises(made: Callable[..., Flusher], monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit hook flushes then; once a thread can start again, it does."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    flushed = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        flusher = made(flushed.set)
        flusher.wake()
    assert not flushed.is_set()
    flusher.ensure()
    assert flushed.wait(LONG)
    assert flusher.restarts == 0
