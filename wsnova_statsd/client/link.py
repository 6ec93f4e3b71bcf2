"""A link: one connection from its upgrade to its end, and the messages that were read and not handled yet.

Threads: reading is for the owner (`fill`, `pump`), or the keeper for an owner that is away (`keep`); whoever does it
holds `reading`. `send` in any thread, kept apart by `sending`; `end` in any, once. The link does I/O and framing only:
it emits no event and calls no user code, so that the keeper can stand in; what it saw waits in `seen`.
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
    """One upgraded connection. `idle_limit`: seconds without data after which it counts as dead, None for never."""

    def __init__(
        self,
        transport: Transport,
        uri: str,
        max_message_bytes: int,
        heartbeat: Heartbeat,
        subprotocol: str | None = None,
        idle_limit: float | None = None,
    ) -> None:
        self.uri = uri
        self.subprotocol = subprotocol
        self.opened_ns = time.monotonic_ns()
        self.sending = threading.Lock()  # the message lock: one frame on its way at a time; guards _rest
        self.reading = threading.Lock()  # held by the thread that reads; guards the reader and the heartbeat
        self.inbox: deque[Received] = deque()  # appended under reading, taken by the owner
        self.arrived = 0  # messages ever put into the inbox
        self.arrived_bytes = 0  # bytes ever read
        self.seen: deque[tuple[str, int]] = deque()  # heartbeats to be told: event's last word, rtt in ns
        self.loss: Loss | None = None
        self.heartbeat = heartbeat
        self.left: float | None = time.monotonic()  # when the owner last stopped reading, None while it reads
        self.kept = False  # the keeper reads; written under reading
        self._transport = transport
        self._reader = FrameReader(max_message_bytes)
        self._idle_limit = idle_limit
        self._last_data = time.monotonic()
        self._owed: bytes | None = None  # the latest ping's payload that is not answered yet
        self._rest = b""  # of a control frame that did not go out whole; goes before anything else
        self._patience = _CONTROL_TIMEOUT
        self._ended = False
        self._ending = threading.Lock()  # guards _ended
        self._close_sent = False

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When the link wants attention without any data: a ping, a missing pong, the idle limit."""
        due = self.heartbeat.due
        return due if self._idle_limit is None else min(due, self._last_data + self._idle_limit)

    def fill(self, until: float | None) -> bool:
        """Owner: read until a message is in the inbox, or something was seen, or time.monotonic() is `until`, or the
        link is lost. True if the inbox has messages; `loss` is set once there is nothing more to come."""
        with self.reading:
            self.left, self.kept, self._patience = None, False, _CONTROL_TIMEOUT
            while not self.inbox and self.loss is None:
                now = time.monotonic()
                if not self._step(now):
                    if self.seen or self.loss is not None or (until is not None and now >= until):
                        break
                    self._transport.wait(max(0.0, (self.due if until is None else min(until, self.due)) - now))
            self.left = time.monotonic()
        return bool(self.inbox)

    def pump(self, until: float) -> None:
        """Owner, inside the user's code: read once more, whatever the inbox holds; waits until `until` at most."""
        with self.reading:
            self.kept, self._patience = False, _CONTROL_TIMEOUT
            now = time.monotonic()
            if not self._step(now) and self.loss is None and now < until:
                self._transport.wait(max(0.0, min(until, self.due) - now))
                self._step(time.monotonic())
            self.left = time.monotonic()

    def keep(self, *, read: bool) -> bool:
        """Keeper: one step without waiting for anything, if nobody else reads. True if there was data."""
        if not self.reading.acquire(blocking=False):
            return False
        try:
            if not self.kept:
                return False
            self._patience = 0.0
            if read:
                return self._step(time.monotonic())
            self.heartbeat.suspend()
            return False
        finally:
            self.reading.release()

    def adopt(self) -> bool:
        """Keeper: stand in for the owner from now on, until it reads again. False if it reads right now."""
        if not self.reading.acquire(blocking=False):
            return False
        self.kept = True
        self.reading.release()
        return True

    def _step(self, now: float) -> bool:
        """Ping if it is time, read once, judge silence. True if there was data. Holds `reading`."""
        heartbeat = self.heartbeat
        if now >= heartbeat.next_ping:
            self._ping(now)
        if self._owed is not None:
            self._answer()
        data = self._recv()
        if data:
            self._last_data = now
            self._take(data)
            return True
        if data is None:
            if heartbeat.missed(now):  # asked only when nothing was there: the pong may stand behind much data
                self.seen.append(("missed", 0))
                self.loss = Loss("ping_timeout", "no pong within pong_timeout")
            elif self._idle_limit is not None and now - self._last_data >= self._idle_limit:
                self.loss = Loss("idle", f"no data for {self._idle_limit:g} s")
        elif self.loss is None:
            self.loss = Loss(f"close_{ABNORMAL}", "the server ended the connection without a close frame")
        return False

    def _recv(self) -> bytes | None:
        try:
            return self._transport.recv()
        except (OSError, ValueError) as error:  # ValueError: another thread closed the descriptor
            if self.loss is None:
                self.loss = Loss("error", f"{type(error).__name__}: {error}")
            return b""

    def _take(self, data: bytes) -> None:
        arrived = time.time_ns()
        self.arrived_bytes += len(data)
        reader, inbox = self._reader, self.inbox
        for opcode, payload in reader.feed(data):
            if opcode < CLOSE:
                inbox.append((opcode, payload, arrived))
                self.arrived += 1
            elif opcode == PING:
                self._owed = payload
                self._answer()
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
        self.send_close(code if code != NO_STATUS else None, self._patience)
        self.loss = Loss(f"close_{code}", reason)

    def breach(self, violation: Violation) -> None:
        """The server broke the protocol: tell it, and end."""
        self.send_close(violation.code, self._patience)
        self.loss = Loss("protocol_error", violation.reason)

    def _ping(self, now: float) -> None:
        payload = self.heartbeat.ping(now, time.monotonic_ns())
        if payload is not None and self._control(PING, payload):
            self.seen.append(("sent", 0))

    def _answer(self) -> None:
        """Answer the latest ping; an older one needs no answer (RFC 6455, section 5.5.3)."""
        if self._owed is not None and self._control(PONG, self._owed):
            self._owed = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, timeout: float) -> None:
        """Write one formatted frame; the caller holds `sending`. A failure is fatal for the link, and raised."""
        assert self.sending.locked()
        if self._close_sent or self._ended:
            raise NotConnected("the connection is closing; wait for the next one with wait=")
        rest, self._rest = self._rest, b""
        try:
            self._transport.send(rest + data if rest else data, timeout)
        except NotConnected as error:
            self._broken(error)
            raise

    def _broken(self, error: NotConnected) -> None:
        if self.loss is None:
            self.loss = Loss("error", str(error))
        self._transport.shutdown()  # half a frame may be out; the reader finds the end of the stream

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Send a control frame if the way is free soon; a peer that takes nothing is found by its missing pongs."""
        patience = self._patience
        if not self.sending.acquire(timeout=patience):
            return False
        try:
            if patience:
                self.send(frame(opcode, payload), patience)
                return True
            return self._control_now(frame(opcode, payload))
        except NotConnected:
            return False
        finally:
            self.sending.release()

    def _control_now(self, data: bytes) -> bool:
        """Keeper: what does not go out at once stays as rest. True if the frame is on its way."""
        if self._close_sent or self._ended:
            return False
        try:
            if self._rest:
                self._rest = self._rest[self._transport.send_now(self._rest) :]
                if self._rest:
                    return False
            sent = self._transport.send_now(data)
            self._rest = data[sent:] if sent else b""
            return sent > 0
        except NotConnected as error:
            self._broken(error)
            return False

    def send_close(self, code: int | None, timeout: float = _CONTROL_TIMEOUT) -> None:
        """Send a close frame, once; nothing is sent after it (RFC 6455, section 5.5.1)."""
        if not self.sending.acquire(timeout=timeout):
            return
        data = frame(CLOSE, b"" if code is None else code.to_bytes(2, "big"))
        try:
            if self._close_sent or self._ended:
                return
            if timeout:
                self.send(data, timeout)
            else:
                self._control_now(data)
            self._close_sent = True
        except NotConnected:
            pass
        finally:
            self.sending.release()

    # -- the end ------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket's descriptor, for the keeper's selector; -1 once closed."""
        return self._transport.fileno()

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
        """Give the descriptor back; by the owner, or when there is none."""
        self._transport.shutdown()
        with self.reading, self.sending:
            self._transport.close()

    def abandon(self) -> None:
        """In a forked child: let go of the descriptor without a word; the connection is the parent's. Takes no lock."""
        self._ended = True
        self._transport.close()
