"""A link at its edges: what a signal's handler interrupts, what was left half read. Its transport is a script."""

import time
from typing import Any

import pytest
from wsnova_statsd.client.heartbeat import Heartbeat

from wsnova_statsd.client.frames import TEXT, Violation
from wsnova_statsd.client.link import Link
from wsnova_statsd.testing.tcp import server_frame


class _Reads:
    """A transport that has these reads to give at once; more is there than its descriptor shows, as with TLS."""

    deflate = None
    drained = False

    def __init__(self, *reads: bytes) -> None:
        self._reads = list(reads)
        self.over = False

    def recv(self, most: int = 0) -> bytes | None:
        return self._reads.pop(0) if self._reads else None

    def wait(self, _timeout: float) -> bool:
        return False

    def pending(self) -> bool:
        return False

    def send(self, _data: bytes, _timeout: float) -> None:
        raise KeyboardInterrupt

    def shutdown(self) -> None:
        self.over = True


def _link(transport: Any) -> Link:
    return Link(transport, "ws://feed.example", 1000, Heartbeat(60.0, 60.0, time.monotonic()))


class _Interrupted:
    controls = 0

    def feed(self, *_given: object) -> list[Any]:
        raise KeyboardInterrupt


def test_a_link_that_was_interrupted_with_half_a_read_in_hand_is_over() -> None:
    """What follows would be taken for the beginning of a frame."""
    transport = _Reads(server_frame(TEXT, b"one"), b"two")
    link = _link(transport)
    link._reader = _Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        link.fill(None)
    assert link.loss is not None
    assert link.loss.detail == "KeyboardInterrupt"
    assert transport.over
    assert link.left is not None


def test_an_owner_that_is_interrupted_over_a_breach_reads_no_more_and_the_keeper_sees_it() -> None:
    """The close frame's way out is where a signal comes; its peer would else never be answered again."""
    link = _link(_Reads())
    link._verdict = Violation(1002, "bad")
    with pytest.raises(KeyboardInterrupt):
        link.fill(None)
    assert link.left is not None


def test_what_a_waiting_callback_left_half_read_is_read_without_waiting() -> None:
    """Its bytes are in OpenSSL, where no poll sees them."""
    whole = server_frame(TEXT, b"message")
    transport = _Reads()
    link = _link(transport)
    link.read_on(None)
    assert not link.inbox  # nothing there
    transport._reads = [whole[:4], whole[4:]]
    link.pump(time.monotonic())
    assert not link.inbox
    assert link.fill(time.monotonic())
    assert [payload for _, payload, _ in link.inbox] == [b"message"]


def test_an_owner_reads_nothing_in_bulk_that_would_overtake_what_the_keeper_has_just_read() -> None:
    """The inbox was empty when it looked; the keeper, which it finds reading in its place, is relieved."""
    link = _link(_Reads(server_frame(TEXT, b"first"), server_frame(TEXT, b"second")))
    bulk: list[bytes] = []
    assert link.adopt()
    assert link.keep()
    assert link.read_on(bulk)[1] == 0
    assert [payload for _, payload, _ in link.inbox] == [b"first"]
    assert not bulk
    assert not link.keep()
    link.inbox.clear()
    assert link.read_on(bulk) == (TEXT, 6)
    assert bulk == [b"second"]
