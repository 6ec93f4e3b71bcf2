"""A link: one connection from its upgrade to its end, and the messages that were read and not handled yet.

Threads: reading is for the owner (`fill`, `pump`), or the keeper for an owner that is away (`keep`); whoever does it
holds `reading`. `send` in any thread, kept apart by `sending`; `end` in any, once. The link does I/O and framing only:
it emits no event and calls no user code, so that the keeper can stand in; what it saw waits in `seen`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ..errors import NotConnected
from .deflate import Inflater
from .frames import ABNORMAL, CLOSE, NO_STATUS, PING, PONG, FrameReader, Received, Violation, parse_close
from .heartbeat import Heartbeat
from .room import Room
from .state import Loss
from .transport import FLOOD, READ, Transport, frame

_CONTROL_TIMEOUT: Final = 1.0  # seconds: for a close frame to leave, for other control frames to get their turn
_JUST_NOW: Final = 0.001
_AGAIN: Final = 0.1  # seconds until an owner tries again to send a control frame that did not go out


class Link:
    """One upgraded connection. `idle_limit`: seconds without data after which it counts as dead, None for never.
    `max_buffered_bytes` bounds what is read for an owner that is away."""

    __slots__ = (
        *("_close_sent", "_dry", "_ending", "_idle_limit", "_last_data", "_owed", "_patience", "_ping_owed", "_reader"),
        *("_rest", "_room", "_tells_heartbeats", "_transport", "_unsent", "_verdict", "arrived", "arrived_bytes"),
        *("deflate", "ended", "heartbeat", "in_hand", "inbox", "kept", "left", "loss", "opened_ns"),
        *("reading", "seen", "sending", "subprotocol", "uri"),
    )

    def __init__(
        self,
        transport: Transport,
        uri: str,
        max_message_bytes: int,
        heartbeat: Heartbeat,
        subprotocol: str | None = None,
        idle_limit: float | None = None,
        max_buffered_bytes: int = 64 * 2**20,
        tells_heartbeats: Callable[[], bool] = lambda: True,
    ) -> None:
        self.uri = uri
        self.subprotocol = subprotocol
        self.opened_ns = time.monotonic_ns()
        self.sending = threading.Lock()  # the message lock: one frame on its way at a time; guards _rest
        self.reading = threading.Lock()  # held by the thread that reads; guards the reader and the heartbeat
        # Appended under reading, taken by the owner; a Received's stamp is its arrival in ns since the epoch.
        self.inbox: deque[Received] = deque()
        self.in_hand = False  # the owner took some out, and deals with them
        self.arrived = 0  # messages ever put into the inbox
        self.arrived_bytes = 0  # bytes ever read
        self.seen: list[tuple[str, int]] = []  # to be told: a heartbeat event's last word and its rtt, or `full`
        self.loss: Loss | None = None
        self.heartbeat = heartbeat
        self.left: float | None = time.monotonic()  # when the owner last stopped reading, None while it reads
        self.kept = False  # the keeper reads; written under reading
        self._transport = transport
        self.deflate = deflate = transport.deflate
        inflate = Inflater(deflate, max_message_bytes).inflate if deflate is not None else None
        self._reader = FrameReader(max_message_bytes, inflate)
        self._idle_limit = idle_limit
        self._last_data = time.monotonic()
        self._owed: bytes | None = None  # the latest ping's payload that is not answered yet
        self._ping_owed: bytes | None = None  # the frame of a ping that was due and could not go out yet
        self._verdict: Violation | None = None  # a breach that was read
        self._unsent = False  # one of these two, or a rest, waits for its way
        self._rest = b""  # of a control frame that did not go out whole; goes before anything else
        self._room = Room(self.inbox, max_buffered_bytes)
        self._patience = _CONTROL_TIMEOUT
        self._dry = 0.0  # when `read_on` found nothing
        self._tells_heartbeats = tells_heartbeats
        self.ended = False  # and somebody tells so
        self._ending = threading.Lock()  # guards ended
        self._close_sent = False

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When the link wants attention without any data: a ping, a missing pong, the idle limit."""
        due = self.heartbeat.due
        return due if self._idle_limit is None else min(due, self._last_data + self._idle_limit)

    def attention(self, now: float) -> bool:
        """Keeper: whether the link wants a step although no data came."""
        return self._unsent or now >= self.due

    def fill(self, until: float | None) -> bool:
        """Owner: read until a message is in the inbox, or something was seen, or time.monotonic() is `until`, or the
        link is lost. True if the inbox has messages; `loss` is set once there is nothing more to come."""
        with self.reading:
            self.left, self.kept, self.in_hand, self._patience = None, False, False, _CONTROL_TIMEOUT
            try:
                if not self.inbox:
                    self._room.caught_up()
                    self._judge()
                ready = time.monotonic() - self._dry > _JUST_NOW  # recv first: it is there more often than not
                while not self.inbox and self.loss is None:
                    now = time.monotonic()
                    if self._step(now, ready):
                        ready = not self._transport.drained
                    elif self.seen or self.loss is not None or (until is not None and now >= until):
                        break
                    else:
                        ready = self._wait(now, until)
            finally:  # also when a signal's handler raised: the keeper must see that nobody reads
                self.left = time.monotonic()
        return bool(self.inbox)

    def read_on(self, bulk: list[bytes] | None) -> tuple[int, int]:
        """Owner, who has dealt with all messages: read once more without waiting, unless something is to be told. What
        may go into `bulk` (see FrameReader) does; returns its opcode, and the bytes of all that did."""
        reader = self._reader
        with self.reading:
            self.kept, self.left = False, (now := time.monotonic())  # the owner is away for no time
            kind, before = reader.usual, reader.bulk_bytes
            if not self.inbox and not self.seen and self.loss is None:  # the keeper may just have read what comes first
                self.in_hand = bulk is not None
                if not self._step(now, bulk=bulk):
                    self._dry = now
                self.in_hand = bool(bulk)
        return kind, reader.bulk_bytes - before

    def _wait(self, now: float, until: float | None) -> bool:
        """Until something is there or due. False if nothing is there."""
        due = min(self.due, now + _AGAIN) if self._unsent else self.due
        end = due if until is None else min(until, due)
        return self._transport.wait(max(0.0, end - now))

    def inherit(self, unread: list[Received]) -> None:
        """Owner, before anybody reads: what the last link received comes first."""
        self.inbox.extend(unread)
        unread.clear()
        self._room.weigh(0)

    def pump(self, until: float) -> None:
        """Owner, inside the user's code: read once more, whatever the inbox holds; waits until `until` at most."""
        with self.reading:
            self.kept, self._dry, self._patience = False, 0.0, _CONTROL_TIMEOUT
            now = time.monotonic()
            if self._verdict is not None and self.loss is None:
                self.breach(self._verdict)  # what is waited for cannot come
            elif not self._has_room():
                self._speak(now)
                time.sleep(max(0.0, min(until - now, _AGAIN)))
            elif not self._step(now) and self.loss is None and now < until:
                self._wait(now, until)
                self._step(time.monotonic())
            self.left = time.monotonic()

    def keep(self) -> bool:
        """Keeper: one step without waiting for anything, if nobody else reads. True if there was data."""
        if not self.reading.acquire(blocking=False):
            return False
        try:
            if not self.kept:
                return False
            self._patience, now = 0.0, time.monotonic()
            if not self._has_room():
                self._speak(now)
                self.heartbeat.suspend()  # a pong may be there, and is not read on purpose
                return False
            found = self._step(now)
            while found and self._transport.pending() and self._step(now):
                pass
            return found
        finally:
            self.reading.release()

    @property
    def full(self) -> bool:
        """Too much waits for an absent owner: nothing is read."""
        return self._room.full

    def _has_room(self) -> bool:
        """Whether more may be read for an absent owner; told once. Holds `reading`."""
        if self._room.left(self.arrived, self.arrived_bytes + self._reader.inflated_bytes):
            return True
        if self._room.news():
            self.seen.append(("full", self._room.weight))
        return False

    def adopt(self) -> bool:
        """Keeper: stand in for the owner from now on, until it reads again. False if it reads right now."""
        if not self.reading.acquire(blocking=False):
            return False
        self.kept = True
        self.reading.release()
        return True

    def _step(self, now: float, ready: bool = True, bulk: list[bytes] | None = None) -> bool:
        """Ping if it is time, read once unless nothing is there, judge silence. True if there was data. Holds
        `reading`."""
        heartbeat = self.heartbeat
        if self._unsent or now >= heartbeat.next_ping:
            self._speak(now)
        data = self._recv(READ if bulk is None else FLOOD) if ready else None
        if data:
            try:
                self._take(data, now, bulk)
            except BaseException as error:  # a signal's handler: what follows may begin in the midst of a frame
                self._broken(error)
                raise
            return True
        if data is None:
            if heartbeat.missed(now):  # asked only when nothing was there: the pong may stand behind much data
                self._saw("missed")
                self.loss = Loss("ping_timeout", "no pong within pong_timeout")
            elif self._idle_limit is not None and now - self._last_data >= self._idle_limit:
                self.loss = Loss("idle", f"no data for {self._idle_limit:g} s")
        elif self.loss is None:
            self.loss = Loss(f"close_{ABNORMAL}", "the server ended the connection without a close frame")
            if self._verdict is not None:
                self.breach(self._verdict)
        return False

    def _recv(self, most: int) -> bytes | None:
        try:
            return self._transport.recv(most)
        except (OSError, ValueError) as error:  # ValueError: another thread closed the descriptor
            if self.loss is None:
                self.loss = Loss("error", f"{type(error).__name__}: {error}")
            return b""

    def _take(self, data: bytes, now: float, bulk: list[bytes] | None) -> None:
        self.arrived_bytes += len(data)
        reader, controls = self._reader, self._reader.controls
        found = reader.feed(data, time.time_ns(), bulk)
        messages = found if reader.controls == controls else [one for one in found if self._is_message(one, now)]
        self.inbox.extend(messages)
        self.arrived += len(messages) + (len(bulk) if bulk else 0)
        if messages or bulk or not found:
            self._last_data = now  # a pong proves that the server lives, not that the feed does
        if reader.violation is not None:
            self._judge(reader.violation)

    def _judge(self, verdict: Violation | None = None) -> None:
        """Act upon a breach, once the messages that came before it are dealt with: they may still be answered."""
        self._verdict = self._verdict or verdict
        if self._verdict is not None and self.loss is None and not self.inbox and not self.in_hand:
            self.breach(self._verdict)

    def _is_message(self, found: Received, now: float) -> bool:
        """False for a control frame, which is dealt with."""
        opcode, payload, _ = found
        if opcode < CLOSE:
            return True
        if opcode == PING:
            self._owed, self._unsent = payload, True
            self._speak(now)
        elif opcode == PONG:
            rtt = self.heartbeat.pong(payload, time.monotonic_ns())
            if rtt is not None:
                self._saw("received", rtt)
        else:
            self._closed(payload)
        return False

    def _closed(self, payload: bytes) -> None:
        answer = parse_close(payload)
        if isinstance(answer, Violation):
            self._judge(answer)
            return
        code, reason = answer
        if self._close_sent:
            self.loss = Loss("local", reason, fault=False)
            return
        self.send_close(code if code != NO_STATUS else None, self._patience)
        self.loss = Loss(f"close_{code}", reason)

    def breach(self, violation: Violation) -> None:
        """The server broke the protocol: tell it, and end."""
        self._verdict = violation
        self.send_close(violation.code, self._patience)
        self.loss = Loss("protocol_error", violation.reason)

    def _saw(self, heartbeat: str, rtt: int = 0) -> None:
        if self._tells_heartbeats():  # else the owner is not called out of its wait for nothing
            self.seen.append((heartbeat, rtt))

    def _speak(self, now: float) -> None:
        """Send what is due and owed. What does not go out now is tried again at the next step; the pong's deadline runs
        from when the ping was due, which is how a peer that takes nothing is found. Holds `reading`."""
        if self._close_sent:
            self._owed = self._ping_owed = None
        elif now >= self.heartbeat.next_ping:
            self._ping_owed = self.heartbeat.ping(now, time.monotonic_ns()) or self._ping_owed
        if self._ping_owed is not None and self._control(self._ping_owed):
            self._ping_owed = None
            self.heartbeat.left(time.monotonic_ns())
            self._saw("sent")
        if self._owed is not None and self._control(frame(PONG, self._owed)):  # the latest will do (5.5.3)
            self._owed = None
        if self._rest:
            self._control(b"")
        self._unsent = bool(self._rest) or self._owed is not None or self._ping_owed is not None

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, timeout: float) -> None:
        """Write one formatted frame; the caller holds `sending`. A failure is fatal for the link, and raised."""
        assert self.sending.locked()
        if self._close_sent or self.ended:
            raise NotConnected("the connection is closing; wait for the next one with wait=")
        rest, self._rest = self._rest, b""
        try:
            self._transport.send(rest + data if rest else data, timeout)
        except BaseException as error:  # a signal's handler may raise in the midst of a frame too
            self._broken(error)
            raise

    def _broken(self, error: BaseException) -> None:
        if self.loss is None:
            self.loss = Loss("error", str(error) or type(error).__name__)
        self._transport.shutdown()  # half a frame may be out; the reader finds the end of the stream

    def _control(self, data: bytes) -> bool:
        """Send a control frame, or with none the rest of the last, if no other thread's message is in the way for long.
        Never waits for the peer. True if the frame is on its way."""
        if not self.sending.acquire(True, self._patience):
            return False
        try:
            return self._control_now(data)
        finally:
            self.sending.release()

    def _control_now(self, data: bytes) -> bool:
        """What does not go out at once stays as rest, if it was begun. Holds `sending`."""
        try:
            if self._rest and not self.ended:
                self._rest = self._rest[self._transport.send_now(self._rest) or 0 :]
            if self._rest or self._close_sent or self.ended:
                return False
            sent = self._transport.send_now(data) if data else 0
            if sent is None:
                return False
            self._rest = data[sent:]
            return True
        except NotConnected as error:
            self._broken(error)
            return False

    def send_close(self, code: int | None, timeout: float = _CONTROL_TIMEOUT) -> None:
        """Send a close frame, once; nothing is sent after it (RFC 6455, section 5.5.1)."""
        if not self.sending.acquire(timeout=timeout):
            return
        data = frame(CLOSE, b"" if code is None else code.to_bytes(2, "big"))
        try:
            if self._close_sent or self.ended:
                return
            if timeout:
                self.send(data, timeout)
            elif not self._control_now(data):
                self._rest += data
            self._close_sent = True
        except NotConnected:
            pass
        finally:
            self.sending.release()

    # -- the end ------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket's descriptor, for the keeper's selector; -1 once closed."""
        return self._transport.fileno()

    def option(self, level: int, name: int, size: int) -> bytes:
        return self._transport.option(level, name, size)  # any thread; OSError once closed

    def shutdown(self) -> None:
        """End both directions now; whoever reads or writes is woken."""
        self._transport.shutdown()

    def end(self) -> bool:
        """True for the one caller that is to tell of the link's end."""
        with self._ending:
            first, self.ended = not self.ended, True
            return first

    def dispose(self) -> None:
        """Give the descriptor back; by the owner, or when there is none. What a signal's handler interrupts may read or
        write just now, and does not go on before this returns: then the descriptor goes with the link."""
        if self._verdict is not None:
            self._transport.linger()
        self._transport.shutdown()
        reading = self.reading.acquire(timeout=_AGAIN)
        try:
            if reading and self.sending.acquire(timeout=_AGAIN):
                try:
                    self._transport.close()
                finally:
                    self.sending.release()
        finally:
            if reading:
                self.reading.release()

    def abandon(self) -> None:
        """In a forked child: let go of the descriptor without a word; the connection is the parent's. Takes no lock."""
        self.ended = True
        self._transport.close()
