"""A link: one connection from its upgrade to its end, and the messages that were read and not handled yet.

Threads: `fill` and what it calls in the one thread that reads; `send` in any, kept apart by `sending`; `end` in any,
once. The link does I/O and framing only: it emits no event and calls no user code, so that another thread can stand in
for the owner; what it saw waits in `seen`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from ..errors import NotConnected
from .frames import ABNORMAL, CLOSE, NO_STATUS, PING, PONG, FrameReader, Violation, parse_close
from .heartbeat import Heartbeat
from .transport import Transport, frame

_CONTROL_TIMEOUT: Final = 1.0  # seconds for a pong, a ping or a close frame to leave
Received = tuple[int, bytes, int]  # opcode, payload, arrival in ns since the epoch


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a link ended: a bounded reason, free text, and whether it is a fault."""

    reason: str
    detail: str
    fault: bool = True


class Link:
    """One upgraded connection."""

    def __init__(
        self, transport: Transport, uri: str, max_message_bytes: int, heartbeat: Heartbeat, subprotocol: str | None
    ) -> None:
        self.uri = uri
        self.subprotocol = subprotocol
        self.opened_ns = time.monotonic_ns()
        self.sending = threading.Lock()  # the message lock: one frame on its way at a time
        self.inbox: deque[Received] = deque()
        self.seen: deque[tuple[str, int]] = deque()  # heartbeats to be told: event's last word, rtt in ns
        self.loss: Loss | None = None
        self.heartbeat = heartbeat
        self._transport = transport
        self._reader = FrameReader(max_message_bytes)
        self._ended = False
        self._ending = threading.Lock()  # guards _ended
        self._close_sent = False

    # -- reading ------------------------------------------------------------------------------------------------------

    def fill(self, until: float | None) -> bool:
        """Read until a message is in the inbox, or something was seen, or time.monotonic() is `until`, or the link is
        lost. True if the inbox has messages; `loss` is set once there is nothing more to come."""
        heartbeat = self.heartbeat
        while not self.inbox and self.loss is None:
            now = time.monotonic()
            if now >= heartbeat.next_ping:
                self._ping(now)
            data = self._recv()
            if data:
                self._take(data)
            elif data is None:
                if heartbeat.missed(now):  # asked only when nothing was there: the pong may stand behind much data
                    self.seen.append(("missed", 0))
                    self.loss = Loss("ping_timeout", "no pong within pong_timeout")
                if self.seen or self.loss is not None or (until is not None and now >= until):
                    break
                self._transport.wait(max(0.0, (heartbeat.due if until is None else min(until, heartbeat.due)) - now))
            elif self.loss is None:
                self.loss = Loss(f"close_{ABNORMAL}", "the server ended the connection without a close frame")
        return bool(self.inbox)

    def _recv(self) -> bytes | None:
        try:
            return self._transport.recv()
        except (OSError, ValueError) as error:  # ValueError: another thread closed the descriptor
            self.loss = Loss("error", f"{type(error).__name__}: {error}")
            return b""

    def _take(self, data: bytes) -> None:
        arrived = time.time_ns()
        reader, inbox = self._reader, self.inbox
        for opcode, payload in reader.feed(data):
            if opcode < CLOSE:
                inbox.append((opcode, payload, arrived))
            elif opcode == PING:
                self._control(PONG, payload)
            elif opcode == PONG:
                rtt = self.heartbeat.pong(payload, time.monotonic_ns())
                if rtt is not None:
                    self.seen.append(("received", rtt))
            else:
                self._closed(payload)
        if reader.violation is not None and self.loss is None:
            self.breach(reader.violation)

    def _closed(self, payload: bytes) -> None:
        answer = parse_close(payload)
        if isinstance(answer, Violation):
            self.breach(answer)
            return
        code, reason = answer
        if self._close_sent:
            self.loss = Loss("local", reason, fault=False)
            return
        self.send_close(code if code != NO_STATUS else None)
        self.loss = Loss(f"close_{code}", reason)

    def breach(self, violation: Violation) -> None:
        """The server broke the protocol: tell it, and end."""
        self.send_close(violation.code)
        self.loss = Loss("protocol_error", violation.reason)

    def _ping(self, now: float) -> None:
        payload = self.heartbeat.ping(now, time.monotonic_ns())
        if payload is not None and self._control(PING, payload):
            self.seen.append(("sent", 0))

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, timeout: float) -> None:
        """Write one formatted frame; the caller holds `sending`. A failure is fatal for the link, and raised."""
        assert self.sending.locked()
        if self._close_sent or self._ended:
            raise NotConnected("the connection is closing; wait for the next one with wait=")
        try:
            self._transport.send(data, timeout)
        except NotConnected as error:
            if self.loss is None:
                self.loss = Loss("error", str(error))
            self._transport.shutdown()  # half a frame may be out; the reader finds the end of the stream
            raise

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Send a control frame if the way is free soon; a peer that takes nothing is found by its missing pongs."""
        if not self.sending.acquire(timeout=_CONTROL_TIMEOUT):
            return False
        try:
            self.send(frame(opcode, payload), _CONTROL_TIMEOUT)
        except NotConnected:
            return False
        finally:
            self.sending.release()
        return True

    def send_close(self, code: int | None, timeout: float = _CONTROL_TIMEOUT) -> None:
        """Send a close frame, once; nothing is sent after it (RFC 6455, section 5.5.1)."""
        if not self.sending.acquire(timeout=timeout):
            return
        try:
            if not self._close_sent and not self._ended:
                self.send(frame(CLOSE, b"" if code is None else code.to_bytes(2, "big")), timeout)
                self._close_sent = True
        except NotConnected:
            pass
        finally:
            self.sending.release()

    # -- the end ------------------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """End both directions now; whoever reads or writes is woken."""
        self._transport.shutdown()

    def end(self) -> bool:
        """True for the one caller that is to tell of the link's end."""
        with self._ending:
            if self._ended:
                return False
            self._ended = True
            return True

    def dispose(self) -> None:
        """Give the descriptor back; by the thread that reads, or when none does."""
        self._transport.shutdown()
        with self.sending:
            self._transport.close()
