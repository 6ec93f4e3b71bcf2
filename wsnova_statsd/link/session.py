"""One WebSocket connection as RFC 6455 sees it: bytes and time in; messages, control frames, notices and the end out.

Sans-I/O: no socket, no lock, no clock. `receive` takes what was read, `tick` the time; frames to send are kept in
`pongs_owed`, `ping_due` and `close_owed` until the link has written them and says so. `loss` is the reason of the end,
once there is one. Times are seconds of the monotonic clock, stamps and round trips are nanoseconds. One caller at a
time: the thread that reads the link; methods for the writing thread say so.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .frames import ABNORMAL, CLOSE, NO_STATUS, PING, PONG, FrameReader, Received, Violation, parse_close

LIFE: Final = 1024  # bytes of an unfinished frame, in either direction, that count as a sign of life
_PONGS: Final = 1000  # that may wait to be sent
_UNANSWERED: Final = 10  # pings whose late pong is still recognised
_OVERHEAD: Final = 100  # bytes of memory for a waiting message in addition to its payload
NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a link ended: one of a fixed set of reasons, free text, and whether it is a fault."""

    reason: str
    detail: str
    fault: bool = True


def cut(detail: str = "the server ended the connection without a close frame") -> Loss:
    """A connection that ended without a close frame (RFC 6455, section 7.1.5)."""
    return Loss(f"close_{ABNORMAL}", detail)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a session. Seconds, None for never; bytes."""

    ping_interval: float | None
    pong_timeout: float
    idle_timeout: float | None = None
    max_message_bytes: int = 16 * 2**20
    max_buffered_bytes: int = 64 * 2**20


class Session:
    """The state of one upgraded connection. `notices` are heartbeats and a full buffer, in order, to be emitted by the
    client."""

    __slots__ = (
        *("_deadline", "_idle_timeout", "_interval", "_last_byte", "_last_life", "_last_pong", "_life_mark", "_missed"),
        *("_next_ping", "_pings", "_timeout", "arrived", "arrived_bytes", "buffer", "close_owed", "close_sent", "due"),
        *("inbox", "last_message", "loss", "notices", "ping_due", "pongs_owed", "reader", "stirred", "unfinished"),
        *("verdict", "write_fault"),
    )

    def __init__(self, limits: Limits, now: float, inflate: Callable[[bytes], bytes | Violation] | None = None) -> None:
        self._interval = limits.ping_interval if limits.ping_interval is not None else NEVER
        self._timeout = limits.pong_timeout
        self._idle_timeout = limits.idle_timeout if limits.idle_timeout is not None else NEVER
        self.reader: FrameReader = FrameReader(limits.max_message_bytes, inflate, limits.max_buffered_bytes)
        self.inbox: deque[Received] = deque()  # received and not handed out yet
        self.buffer: BufferLimit = BufferLimit(self.inbox, limits.max_buffered_bytes)
        self.arrived: int = 0  # messages ever received
        self.arrived_bytes: int = 0  # bytes ever received
        self._last_byte = now  # of reads other than one usual message
        self.last_message: float = now  # when a whole data message last arrived
        self.stirred: bool = True  # there may be something to send, check or emit; the reader resets it
        self.unfinished: bool = False  # bytes of the last read are left: `receive` continues without new ones
        self.notices: list[tuple[str, int]] = []  # sent, received with its RTT, missed, full with its weight
        self.loss: Loss | None = None
        self.pongs_owed: deque[bytes] = deque(maxlen=_PONGS)  # payloads; only the latest is required (section 5.5.3)
        self.ping_due: bool = False
        self.close_owed: bytes | None = None
        self.close_sent = False
        self.write_fault: Loss | None = None  # a failed write: nothing may be sent any more
        self.verdict: Violation | None = None  # a violation that was read; acted upon after the messages before it
        self._pings: dict[bytes, float] = {}  # payloads without a pong, the oldest first, and when they were sent
        self._next_ping = now + self._interval
        self._deadline = NEVER  # until when the latest ping's pong must arrive
        self._missed = False  # the latest ping's pong is late, and that was noticed
        self._last_life = now
        self._life_mark = 0  # of arrived_bytes
        self._last_pong = now
        self.due: float = NEVER  # when `tick` is due; other threads may lower it
        self._plan()

    # -- bytes in -----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes | memoryview, now: float, stamp: int, bulk: list[bytes] | None = None) -> int:
        """Process a read. Messages go into the inbox; with `bulk`, the payloads of one kind, up to the first message of
        another kind, go there instead. Returns the opcode of the messages in `bulk`.

        A read that is one usual message (see FrameReader.single) may be handled by the link itself: it then increments
        `arrived` and `arrived_bytes` and sets `last_message`, to the same effect."""
        reader = self.reader
        kind, others = reader.usual, reader.others
        self.stirred = True
        if self.last_message > self._last_life:
            self._last_life, self._life_mark = self.last_message, self.arrived_bytes
        self._last_byte = now
        self.arrived_bytes += len(data)
        found = reader.feed(data, stamp, bulk)
        self.unfinished = reader.unfinished
        if bulk:
            self.arrived += len(bulk)
            self.last_message = now
        if bulk or found or reader.others != others or self.arrived_bytes - self._life_mark >= LIFE:
            self._last_life = now
            self._life_mark = self.arrived_bytes
        for one in found:
            if one[0] < CLOSE:
                self.inbox.append(one)
                self.arrived += 1
                self.last_message = now
            else:
                self._control(one[0], one[1], now)
        if reader.violation is not None:
            self.verdict = self.verdict or reader.violation
        return kind

    def _control(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == PING:
            self.pongs_owed.append(payload)
        elif opcode == PONG:
            self._pong(payload, now)
        else:
            self._closed(payload)

    @property
    def inflated_bytes(self) -> int:
        """By how many bytes inflated messages exceed what was read."""
        return self.reader.inflated_bytes

    def ended(self, fault: Loss | None = None) -> None:
        """Nothing more arrives: the stream has ended, or is broken by `fault`. A write that failed before is the
        reason."""
        if self.loss is None:
            self.loss = self.write_fault or fault or cut()
            self.judge()
            self.stirred = True

    def write_failed(self, fault: Loss) -> None:
        """Nothing more can be sent. What has arrived is read first, as the server may have sent a reason. Any
        thread."""
        if self.write_fault is None:
            self.write_fault = fault
        self.due = 0.0

    def _closed(self, payload: bytes) -> None:
        answer = parse_close(payload)
        if isinstance(answer, Violation):
            self.verdict = self.verdict or answer
            return
        code, reason = answer
        if self.close_sent:
            self.loss = Loss("local", reason, fault=False)
            return
        self.close_owed = b"" if code == NO_STATUS else code.to_bytes(2, "big")
        self.loss = Loss(f"close_{code}", reason)

    def judge(self) -> None:
        """Act upon a violation, if there was one; call after the messages before it, which may be answered."""
        if self.verdict is not None and (self.loss is None or self.loss.reason == f"close_{ABNORMAL}"):
            self.breach(self.verdict)

    def caught_up(self) -> None:
        """The owner is reading, and nothing waits."""
        if not self.inbox:
            if self.verdict is not None:
                self.judge()
            self.buffer.full = self.buffer.noticed = False

    def breach(self, violation: Violation) -> None:
        """The server broke the protocol: close with the code for it (section 7.1.7)."""
        self.verdict = violation
        self.close_owed = violation.code.to_bytes(2, "big")
        self.loss = Loss("protocol_error", violation.reason)

    # -- time in ------------------------------------------------------------------------------------------------------

    def judges(self, now: float) -> bool:
        """True if `tick` would check for silence now, and needs to know whether bytes wait to be read."""
        idle = self._idle_timeout != NEVER and now >= self._idle_at()
        return idle or now >= self._deadline or self.write_fault is not None

    def tick(self, now: float, *, dry: bool) -> None:
        """Ping if it is time. Check for silence, but only if nothing waits to be read (`dry`): a pong may be there.

        A sign of life is a whole frame, or 1 KiB of an unfinished one, within pong_timeout. A pong behind a large
        message or a busy feed does not end the link; silence and a trickle do. A missing pong is noticed in any case,
        once per ping.
        """
        if now >= self._deadline and (dry or now >= self._deadline + self._timeout):
            if not self._missed:
                self._missed = True
                if self._pings:  # otherwise the ping could not be sent
                    self.notices.append(("missed", 0))
            silent_at = max(self._last_life, self.last_message) + self._timeout
            if dry and now >= silent_at and self.loss is None:
                self.loss = Loss("ping_timeout", "no pong within pong_timeout")
            self._deadline = max(silent_at, now + 0.001)
        if dry and now >= self._idle_at() and self.loss is None:
            self.loss = Loss("idle", f"no message and no pong for {self._idle_timeout:g} s")
        if dry and self.write_fault is not None:
            self.ended()
        if now >= self._next_ping and self.loss is None and (self._deadline == NEVER or self._missed):
            self.ping_due = True
        self._plan()

    def _plan(self) -> None:
        due = self._deadline
        if not self.ping_due and self._next_ping < due and (due == NEVER or self._missed):
            due = self._next_ping
        if self._idle_timeout != NEVER:
            due = min(due, self._idle_at())
        self.due = due

    def _idle_at(self) -> float:
        """When the idle limit is reached, unless a message or a pong arrives."""
        return max(self.last_message, self._last_pong) + self._idle_timeout

    @property
    def last_byte(self) -> float:
        """When anything last arrived."""
        return max(self._last_byte, self.last_message)

    def suspend(self) -> None:
        """Reading is paused on purpose, so that an arrived pong cannot be seen."""
        self._pings.clear()
        self._deadline = NEVER
        self._plan()

    def moved(self, now: float) -> None:
        """The peer has read some of the sent data: a ping may still be queued behind the rest."""
        self._last_life = now

    # -- the heartbeat ------------------------------------------------------------------------------------------------

    def ping(self, now: float) -> bytes:
        """The payload of a ping that is about to be written; it is random, so that no old or forged pong counts. Called
        by the thread that writes."""
        payload = os.urandom(8)
        if len(self._pings) >= _UNANSWERED:
            self._pings.pop(next(iter(self._pings)), None)
        self._pings[payload] = now
        return payload

    def pinged(self, payload: bytes, now: float, *, written: bool) -> None:
        """The ping was written, or could not be sent: then the next attempt is for the same ping, and a peer that reads
        nothing has pong_timeout to show life. Called by the thread that writes."""
        if written:
            self.ping_due = False
            self._missed = False
            self._next_ping = now + self._interval
            self._deadline = now + self._timeout
            self.notices.append(("sent", 0))
            self.stirred = True
        else:
            self._pings.pop(payload, None)
            if self._deadline == NEVER:
                self._missed = False
                self._deadline = now + self._timeout
        self._plan()

    def _pong(self, payload: bytes, now: float) -> None:
        self._last_pong = now
        sent_at = self._pings.get(payload)
        if sent_at is None:  # unsolicited or forged: ignored
            return
        for earlier in list(self._pings):
            del self._pings[earlier]
            if earlier == payload:
                break
        if not self._pings:  # the pong of the latest ping, perhaps late
            self._deadline = NEVER
            self._plan()
        self.notices.append(("received", round((now - sent_at) * 1e9)))


class BufferLimit:
    """Limits an inbox to `limit` bytes while its owner is away. `full` stays set until half of the limit is free.

    The inbox is weighed only if it may have passed the limit, or may have shrunk enough: about once per sixteenth of
    the limit. A waiting message weighs more than its payload, so that a flood of empty ones is bounded too.
    """

    __slots__ = ("_at", "_count", "_inbox", "_limit", "full", "noticed", "weight")

    def __init__(self, inbox: deque[Received], limit: int) -> None:
        self._inbox = inbox
        self._limit = limit
        self.full: bool = False
        self.weight: int = 0  # of the inbox, when it was last weighed,
        self._count = 0  # the number of messages at that time,
        self._at = 0  # and the total that had arrived by then
        self.noticed: bool = False  # it was full since the owner last caught up

    def allows(self, messages: int, size: int) -> bool:
        """True if more may be read, after so many messages with `size` bytes in total since the link began."""
        total = size + _OVERHEAD * messages
        if self.full:
            if len(self._inbox) > self._count * 3 // 4:
                return False
            self.full = self.weigh(total) > self._limit // 2
        elif total - self._at + self.weight > self._limit:
            self.full = self.weigh(total) > self._limit - self._limit // 16
        return not self.full

    def weigh(self, total: int) -> int:
        """Weigh the inbox and return its weight."""
        waiting = list(self._inbox)
        self._count, self._at = len(waiting), total
        self.weight = sum(len(payload) for _, payload, _ in waiting) + _OVERHEAD * len(waiting)
        return self.weight

    def newly_full(self) -> bool:
        """True once when it is full, and not again before the owner has caught up."""
        newly = self.full and not self.noticed
        self.noticed = self.noticed or self.full
        return newly
