"""Liveness: when a ping is due, which pong answers it, when the peer is given up. A plain object fed with time.

One caller at a time, the one that does the connection's I/O. Times are seconds of the monotonic clock; rtt is
nanoseconds. Pings carry a payload nobody can guess, so that an old or forged pong counts for nothing.
"""

from __future__ import annotations

import os
from typing import Final

_HEAD: Final = b"\x89\x88"  # a final ping frame's, masked, with eight bytes of payload (RFC 6455, section 5.2)


class Heartbeat:
    """The pings of one connection."""

    __slots__ = ("_interval", "_payload", "_sent_ns", "_timeout", "deadline", "next_ping")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._payload = b""
        self._sent_ns = 0
        self.next_ping = now + interval
        self.deadline: float | None = None  # by which the pong must be here

    @property
    def due(self) -> float:
        """When something is to be done next."""
        return self.next_ping if self.deadline is None else min(self.deadline, self.next_ping)

    def ping(self, now: float, now_ns: int) -> bytes | None:
        """The frame of a ping to send now, None if none is due or one is under way."""
        if now < self.next_ping:
            return None
        self.next_ping = now + self._interval
        if self.deadline is not None:  # one is under way; its deadline decides
            return None
        drawn = os.urandom(12)  # a masking key and a payload masked with it
        self._payload = (int.from_bytes(drawn[:4] * 2) ^ int.from_bytes(drawn[4:])).to_bytes(8)
        self._sent_ns = now_ns
        self.deadline = now + self._timeout
        return _HEAD + drawn

    def left(self, now_ns: int) -> None:
        """The ping went out; that may be later than it was due."""
        self._sent_ns = now_ns

    def pong(self, payload: bytes, now_ns: int) -> int | None:
        """The round trip time if this answers our ping, None for an unsolicited pong."""
        if self.deadline is None or payload != self._payload:
            return None
        self.deadline = None
        return now_ns - self._sent_ns

    def missed(self, now: float) -> bool:
        """True if the pong should have been here."""
        return self.deadline is not None and now >= self.deadline

    def suspend(self) -> None:
        """Nothing is read on purpose: a pong may be there and cannot be seen."""
        self.deadline = None
