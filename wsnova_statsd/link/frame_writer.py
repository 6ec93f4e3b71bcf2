"""Writes frames to one connection: one frame at a time, and control frames never wait for a lock.

`sending` is held by the one thread, any thread, that writes a frame, and guards everything here. Control frames do not
wait for it: the thread that holds it sends them after its own frame. A signal's handler acquires the lock again in the
midst of its own thread's writing: `busy` shows that, and it is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ..errors import NotConnected
from .control import control_frame
from .flag import holding
from .frames import CLOSE, PING, PONG
from .session import NEVER, Loss, Session
from .transport import Transport, WriteFailed

AGAIN: Final = 0.1  # seconds until an unsent control frame is retried
_monotonic = time.monotonic


class FrameWriter:
    """The sending side of one connection: the messages of its callers, and the control frames that its session owes."""

    __slots__ = ("_rest", "_session", "_transport", "busy", "over", "retry_at", "sending", "sent", "unsent")

    def __init__(self, session: Session, transport: Transport) -> None:
        self.sending: threading.RLock = threading.RLock()
        self._session = session
        self._transport = transport
        self._rest = b""  # of a partly sent control frame; sent before anything else
        self.busy: bool = False  # the holder of `sending` is in the midst of a frame
        self.over: bool = False  # the link has ended: nothing more is sent
        self.retry_at: float = NEVER  # when an unsent control frame is retried
        self.sent: int = 0  # data frames that were sent
        self.unsent: int = 0  # bytes that the peer had not received at the last look

    def look(self) -> int:
        """The bytes that the peer has not received yet."""
        self.unsent = self._transport.unsent()
        return self.unsent

    def send(self, frame: bytes, patience: float, count: Callable[[Any], object] = bool, entry: object = None) -> None:
        """Write one data frame, and `count` its entry if it was sent, whatever is raised; the caller holds `sending`.
        Raises NotConnected: then nothing more can be sent, and what has arrived is still read."""
        session, transport, size, out = self._session, self._transport, len(frame), 0
        left: list[int] = []
        if self.busy:
            raise NotConnected("this thread is sending; a signal's handler cannot send at the same time")
        if session.close_sent or self.over or session.write_fault is not None:
            raise NotConnected("the connection is closing; pass wait= to wait for the next one")
        try:
            self.busy = True
            if self._rest:
                self._write(self._rest, patience)
            try:  # nearly always all is written at once. Unpacked: no signal's handler runs in between
                (out,) = map(transport.write, (frame,), transport.flags)
            except (OSError, ValueError):  # the next attempt raises again
                pass
            if out != size:
                left += [out] if out else []
                transport.send(frame, patience, left)
                out = size
            if session.pongs_owed or session.ping_due or session.close_owed is not None:
                self._send_owed(_monotonic())
        except WriteFailed as error:
            self._write_failed(error)
            raise NotConnected(str(error)) from error.__cause__
        except BaseException as error:  # a signal's handler may raise in the midst of a frame too
            out = sum(left) or out
            if (out or left) and out != size:
                self._write_failed(error)
            raise
        finally:
            try:
                if out == size:
                    self.sent += 1
                    count(entry)
            finally:
                self.busy = False

    def _write_failed(self, error: BaseException) -> None:
        loss = error.loss if isinstance(error, WriteFailed) else Loss("error", str(error) or type(error).__name__)
        self._session.write_failed(loss)
        self._transport.shutdown()  # half a frame may have been sent; wakes the reader, which reads what has arrived

    def send_owed(self, now: float) -> None:
        """Send what is owed, unless another frame is being sent: then its thread does."""
        session = self._session
        if not session.pongs_owed and session.close_owed is None and not session.ping_due and not self._rest:
            self.retry_at = NEVER
        elif not holding(self.sending, 0.0, lambda: self.send_owed_alone(now)):
            self._again(now)

    def _again(self, now: float) -> None:
        self.retry_at, self._session.stirred = now + AGAIN, True

    def send_owed_alone(self, now: float) -> bool:
        """Send what is owed, unless this is a signal's handler inside a frame: then that sender does. Holds
        `sending`."""
        if self.busy:
            return False
        try:
            self.busy = True
            self._send_owed(now)
        finally:
            self.busy = False
        return True

    def _send_owed(self, now: float) -> None:
        """Send what is owed, as far as possible without waiting. Holds `sending`; `busy` is set."""
        session, self.retry_at = self._session, NEVER
        if session.close_sent or self.over or session.write_fault is not None:
            session.pongs_owed.clear()
            session.close_owed, session.ping_due = None, False
            if not self._rest or self.over or session.write_fault is not None:
                return
        try:
            while session.pongs_owed and self._control(PONG, session.pongs_owed[0]):
                session.pongs_owed.popleft()
            if session.ping_due and not self._rest:
                ping = session.ping(now)
                session.pinged(ping, now, written=self._control(PING, ping))
                self.look()
            if session.close_owed is not None and self._control(CLOSE, session.close_owed):
                session.close_sent, session.close_owed = True, None
            if self._rest:
                self._write(self._rest)
        except WriteFailed as error:
            self._write_failed(error)
        if self._rest or session.ping_due or session.pongs_owed or session.close_owed is not None:
            self._again(now)

    def _control(self, opcode: int, payload: bytes) -> bool:
        """Send a control frame after the rest of the last one. True if it was begun. Holds `sending`; `busy` is set."""
        if self._rest:
            self._write(self._rest)
        return not self._rest and self._write(control_frame(opcode, payload))

    def _write(self, data: bytes, patience: float = 0.0) -> bool:
        """Write a control frame, or the rest of one: what is possible at once, or all of it with patience. Unsent bytes
        stay as rest, also if a signal's handler raises. False if nothing was begun."""
        left: list[int] = []
        begun: int | None = 0
        try:
            if patience:
                self._transport.send(data, patience, left)
            elif (begun := self._transport.send_now(data, left)) == 0:
                self._rest = data
        finally:
            if left:
                self._rest = data[sum(left) :]
        return begun is not None
