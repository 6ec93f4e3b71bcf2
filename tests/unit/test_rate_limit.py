"""The token bucket: exact rates on a fake clock, places kept in order, no token wasted."""

import sys
import threading
from types import FrameType
from typing import Any

import pytest

import wsnova_statsd as ws
from wsnova_statsd.client.rate_limit import TokenBucket
from wsnova_statsd.testing.clock import FakeClock


def test_a_burst_goes_at_once_and_the_next_waits_its_share() -> None:
    """With 4 a second and a burst of 3, three tokens are there, and the fourth in a quarter of a second."""
    clock = FakeClock()
    bucket = TokenBucket(ws.RateLimit(4, burst=3), clock())
    assert [bucket.take(clock()) for _ in range(4)] == [0.0, 0.0, 0.0, 0.25]


def test_every_waiting_sender_has_its_own_place() -> None:
    """Ten senders at one moment are spread over the coming seconds, in their order."""
    clock = FakeClock()
    bucket = TokenBucket(ws.RateLimit(2), clock())
    assert [bucket.take(clock()) for _ in range(10)] == [place / 2 for place in range(10)]


def test_the_rate_is_exact_over_a_long_time() -> None:
    """A sender that waits for the returned pause sends 1,000 messages in the time of 999 pauses."""
    clock = FakeClock()
    bucket = TokenBucket(ws.RateLimit(8), clock())
    for _ in range(1_000):
        clock.sleep(bucket.take(clock()))
    assert clock() == 1_000.0 + 999 / 8


def test_an_idle_client_saves_no_more_than_its_burst() -> None:
    """After an hour of silence there are as many tokens as at the start."""
    clock = FakeClock()
    bucket = TokenBucket(ws.RateLimit(10, burst=5), clock())
    clock.advance(3_600)
    assert [bucket.take(clock()) for _ in range(6)] == [0.0] * 5 + [0.1]


def test_a_refused_send_takes_nothing() -> None:
    """With wait=False the pause stays the same for any number of calls, and the token is there after it."""
    clock = FakeClock()
    bucket = TokenBucket(ws.RateLimit(4, wait=False), clock())
    assert bucket.take(clock()) == 0.0
    assert [bucket.take(clock()) for _ in range(5)] == [0.25] * 5
    clock.advance(0.25)
    assert bucket.take(clock()) == 0.0


def test_a_token_that_was_not_used_goes_to_the_next_sender() -> None:
    """A returned token moves the later senders forward."""
    clock = FakeClock()
    bucket = TokenBucket(ws.RateLimit(1), clock())
    assert [bucket.take(clock()), bucket.take(clock())] == [0.0, 1.0]
    bucket.give_back()
    assert bucket.take(clock()) == 1.0


def test_readings_of_the_clock_may_arrive_out_of_order() -> None:
    """Two threads that read the clock and then compete for the lock do not change the sum."""
    bucket = TokenBucket(ws.RateLimit(1, burst=2), 10.0)
    assert [bucket.take(12.0), bucket.take(11.0), bucket.take(12.0)] == [0.0, 1.0, 1.0]


def test_many_threads_get_as_many_places() -> None:
    """No two of 400 senders share a place, whichever thread they are in."""
    bucket, places = TokenBucket(ws.RateLimit(4), 0.0), list[float]()

    def send() -> None:
        for _ in range(50):
            places.append(bucket.take(0.0))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(places) == [place / 4 for place in range(400)]


@pytest.mark.parametrize("rate", [0, -1, True, "5", None, float("nan"), float("inf")])
def test_an_unusable_rate_is_refused_where_it_is_written(rate: Any) -> None:
    """Only a positive, finite number is a rate."""
    with pytest.raises(ws.errors.ConfigurationError, match="per_second"):
        ws.RateLimit(rate)


@pytest.mark.parametrize("options", [{"burst": 0}, {"burst": 1.5}, {"burst": True}, {"wait": "no"}])
def test_a_burst_is_a_whole_number_and_wait_a_boolean(options: dict[str, Any]) -> None:
    """The error names any other value."""
    with pytest.raises(ws.errors.ConfigurationError, match=next(iter(options))):
        ws.RateLimit(1, **options)


def test_a_client_accepts_only_a_rate_limit_object() -> None:
    """A bare number says neither burst nor unit."""
    with pytest.raises(ws.errors.ConfigurationError, match="rate_limit"):
        ws.Client("ws://localhost", rate_limit=5)  # type: ignore[arg-type]


def test_a_signals_handler_may_send_during_a_send() -> None:
    """It takes a token at every line of `take`: nothing hangs, and each token is taken once."""
    clock = FakeClock()
    bucket = TokenBucket(ws.RateLimit(1, burst=100), clock())
    taken = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal taken
        if frame.f_code is not TokenBucket.take.__code__:
            return None
        if event == "line" and taken < 50:
            sys.settrace(None)
            bucket.take(clock())
            taken += 1
            sys.settrace(trace)
        return trace

    before = sys.gettrace()

    def interrupted() -> None:
        for _ in range(10):
            sys.settrace(trace)
            try:
                bucket.take(clock())
            finally:
                sys.settrace(before)

    worker = threading.Thread(target=interrupted, daemon=True)
    worker.start()
    worker.join(10.0)
    assert not worker.is_alive()
    assert taken == 50
    assert [bucket.take(clock()) for _ in range(41)] == [0.0] * 40 + [1.0]
