"""The heartbeat, fed with a fake clock: when to ping, what answers, when the peer is given up."""

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st
from wsnova_statsd.client.heartbeat import Heartbeat

from wsnova_statsd.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(start=100.0)


def _ping(heartbeat: Heartbeat, clock: FakeClock) -> bytes:
    frame = heartbeat.ping(clock(), clock.ns())
    assert frame is not None
    return _payload(frame)


def _payload(frame: bytes) -> bytes:
    assert frame[:2] == b"\x89\x88"  # final, a ping, masked, eight bytes (RFC 6455, section 5.2)
    return websocket.ABNF.mask(frame[2:6], frame[6:])


def test_the_first_ping_is_due_after_one_interval(clock: FakeClock) -> None:
    """Not a moment before, and at the very moment."""
    heartbeat = Heartbeat(5.0, 3.0, clock())
    assert heartbeat.due == 105.0
    clock.advance(4.999)
    assert heartbeat.ping(clock(), clock.ns()) is None
    clock.advance(0.001)
    assert heartbeat.ping(clock(), clock.ns())


def test_an_answer_gives_the_round_trip_and_the_rhythm_goes_on(clock: FakeClock) -> None:
    """The round trip time is exact, in nanoseconds; the next ping is due an interval after the last."""
    heartbeat = Heartbeat(5.0, 3.0, clock())
    clock.advance(5)
    payload = _ping(heartbeat, clock)
    clock.advance(0.25)
    assert heartbeat.pong(payload, clock.ns()) == 250_000_000
    assert heartbeat.deadline is None
    assert heartbeat.due == 110.0
    clock.advance(100)
    assert not heartbeat.missed(clock())


def test_the_peer_is_given_up_at_the_deadline(clock: FakeClock) -> None:
    """Interval plus timeout after the last sign of life, no earlier."""
    heartbeat = Heartbeat(5.0, 3.0, clock())
    assert not heartbeat.missed(clock() + 1000)  # nothing was asked yet
    clock.advance(5)
    _ping(heartbeat, clock)
    assert heartbeat.due == 108.0
    clock.advance(2.999)
    assert not heartbeat.missed(clock())
    clock.advance(0.001)
    assert heartbeat.missed(clock())


def test_a_pong_nobody_asked_for_counts_for_nothing(clock: FakeClock) -> None:
    """Unsolicited, forged, late and doubled pongs leave the deadline as it is."""
    heartbeat = Heartbeat(5.0, 3.0, clock())
    assert heartbeat.pong(b"", clock.ns()) is None
    clock.advance(5)
    first = _ping(heartbeat, clock)
    assert heartbeat.pong(b"forged..", clock.ns()) is None
    assert heartbeat.deadline == 108.0
    assert heartbeat.pong(first, clock.ns()) == 0
    assert heartbeat.pong(first, clock.ns()) is None
    clock.advance(5)
    _ping(heartbeat, clock)
    assert heartbeat.pong(first, clock.ns()) is None
    clock.advance(3)
    assert heartbeat.missed(clock())


def test_payloads_cannot_be_guessed(clock: FakeClock) -> None:
    """A thousand pings carry a thousand payloads of eight bytes."""
    heartbeat = Heartbeat(1.0, 1.0, clock())
    payloads = set()
    for _ in range(1_000):
        clock.advance(1)
        payload = _ping(heartbeat, clock)
        payloads.add(payload)
        assert heartbeat.pong(payload, clock.ns()) == 0
    assert len(payloads) == 1_000
    assert {len(payload) for payload in payloads} == {8}


def test_each_ping_has_a_masking_key_of_its_own(clock: FakeClock) -> None:
    """Drawn anew for every frame (RFC 6455, section 5.3)."""
    keys = set()
    for _ in range(100):
        frame = Heartbeat(0.0, 1.0, clock()).ping(clock(), clock.ns())
        assert frame is not None
        keys.add(frame[2:6])
    assert len(keys) == 100


def test_one_ping_at_a_time(clock: FakeClock) -> None:
    """No second ping goes out while the first waits, and its deadline holds, if the timeout is the longer one."""
    heartbeat = Heartbeat(1.0, 10.0, clock())
    clock.advance(1)
    payload = _ping(heartbeat, clock)
    for _ in range(5):
        clock.advance(1)
        assert heartbeat.ping(clock(), clock.ns()) is None
        assert heartbeat.due > clock()  # or its caller would spin
    assert heartbeat.deadline == 111.0
    assert heartbeat.pong(payload, clock.ns()) == 5_000_000_000
    clock.advance(1)
    assert _ping(heartbeat, clock) != payload


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=30))
def test_a_peer_that_answers_is_never_given_up_and_one_that_does_not_always_is(
    interval: float, timeout: float, steps: list[tuple[float, bool]]
) -> None:
    """Whatever the steps of time: missed means exactly that a ping is older than the timeout."""
    clock = FakeClock()
    heartbeat = Heartbeat(interval, timeout, clock())
    asked: tuple[bytes, float] | None = None
    for step, answers in steps:
        clock.advance(step)
        frame = heartbeat.ping(clock(), clock.ns())
        if frame is not None:
            assert asked is None
            asked = _payload(frame), clock()
        if asked is not None and answers:
            assert heartbeat.pong(asked[0], clock.ns()) is not None
            asked = None
        assert heartbeat.missed(clock()) == (asked is not None and clock() >= asked[1] + timeout)
