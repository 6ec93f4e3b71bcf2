"""Sends a message: encode, wait for the rate limit, frame and mask, write, count; and emits the events of that.

Runs in the caller's thread, one frame at a time under the link's `sending` lock. The recorders of a message's events
belong to a thread, and are created once for each type. The clock emits a sender's last sums, a second after they began.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from typing import Any, Final, NamedTuple, Protocol

from .. import events, process
from ..errors import EncodeError, NotConnected, RateLimited
from ..link.deflate import Deflate
from ..link.flag import Flag
from ..link.frames import BINARY, TEXT
from ..link.link import Link
from ..telemetry import EventSlot, Recorder
from .batch import MANY, ClockedBatch
from .emitter import Emitter
from .faults import Faults
from .message_types import UNKNOWN, MessageTypes
from .options import Options
from .rate_limit import TokenBucket

_PATIENCE: Final = 20.0  # seconds without progress, if no pings define how long a peer may be silent
_KEYS: Final = 1024
_MAX_KNOWN: Final = 200  # types whose recorders a thread keeps
_FINAL: Final = 0x80
_DEFLATED: Final = 0x40  # RSV1 (RFC 7692, section 6)
_SMALL: Final = 2048  # bytes of a payload up to which its multiplier is kept
_short, _medium, _long = (struct.Struct(form).pack for form in ("!BBI", "!BBHI", "!BBQI"))
_keys = struct.Struct(f"!{_KEYS}I").unpack
_AT_ONCE: Final = (False,)
_WAITING: Final = (True,)
_clock = time.monotonic_ns
_wall = time.time_ns


class _Keyring:
    """Masking keys that cannot be guessed (RFC 6455, section 5.3), drawn from the system many at a time. Any thread."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: do not reuse the parent's keys."""
        self.drawn.clear()

    def draw(self) -> int:
        """Return an unused key, and add more to `drawn`."""
        key, *more = _keys(os.urandom(4 * _KEYS))
        self.drawn += more
        return int(key)


_KEYRING: Final = _Keyring()
_drawn: Final = _KEYRING.drawn
_repeating: dict[int, int] = {}  # by words: the factor that repeats a key so many times


def _multiplier(words: int) -> int:
    ones = int.from_bytes(b"\0\0\0\1" * words)
    if words * 4 <= _SMALL:
        _repeating[words] = ones
    return ones


def data_frame(opcode: int, payload: bytes, deflate: Deflate | None = None) -> bytes:
    """One final, masked frame of a message, deflated if that is negotiated and shortens it (RFC 6455, section 5.2)."""
    first = _FINAL | opcode
    if deflate is not None and (short := deflate.deflate(payload)) is not None:
        first, payload = first | _DEFLATED, short
    size = len(payload)
    try:
        key = _drawn.pop()
    except IndexError:
        key = _KEYRING.draw()
    if size < 126:
        head = _short(first, 0x80 | size, key)
    elif size < 65536:
        head = _medium(first, 0xFE, size, key)
    else:
        head = _long(first, 0xFF, size, key)
    words = size + 3 >> 2
    mask = key * (_repeating.get(words) or _multiplier(words)) >> (-size & 3) * 8
    return head + (int.from_bytes(payload) ^ mask).to_bytes(size)


class Recorders(NamedTuple):
    """The recorders for messages of one type; None for an event without handlers."""

    kind: str
    started: Recorder | None
    completed: Recorder | None
    sent: Recorder | None


_UNHEARD: Final = Recorders("", None, None, None)


class _Known:
    """Recorders by the protocol's message type, and the version of the bus they belong to."""

    __slots__ = ("heard", "known", "slots", "untyped", "version")

    def __init__(self) -> None:
        self.version = -1
        self.heard = False
        self.slots: list[EventSlot] = []
        self.untyped = 1  # 1 if the profile leaves out the event that counts by type: the sums count then
        self.known: dict[Any, Recorders] = {}


class _Here(threading.local):
    """The calling thread's recorders, in one look-up, because each costs as much as a call."""

    def __init__(self) -> None:
        self.recorders = _Known()


class Linked(Protocol):
    """Holds the link in use, None while there is none; `up` waits up to so many seconds for one, or raises
    NotConnected."""

    closing: Flag

    @property
    def link(self) -> Link | None: ...

    def up(self, wait: float) -> Link: ...


class Sender:
    """The sending half of one client."""

    def __init__(
        self,
        options: Options,
        emit: Emitter,
        faults: Faults,
        types: MessageTypes,
        connection: Linked,
    ) -> None:
        profile = options.profile
        self._client_id = options.client_id
        self._encode = options.protocol.encoder()
        self._type_of = options.protocol.message_type
        self._patience = (profile.ping_interval or _PATIENCE) + profile.pong_timeout  # a peer stalled longer is dead
        self._emit = emit
        self._faults = faults
        self._types = types
        self._connection = connection
        limit = options.rate_limit
        self._limit = limit
        self._bucket = TokenBucket(limit, time.monotonic()) if limit is not None else None
        self._bus = emit.bus
        self._here = _Here()
        self._batch = ClockedBatch(self.flush)

    def send(self, message: Any, wait: float, *, urgent: bool = False) -> Link:
        """Encode and send; returns the link that was used. Raises EncodeError, NotConnected, RateLimited.

        An urgent message ignores the rate limit: a late answer to an application heartbeat costs the connection.
        """
        here = self._here.recorders
        if here.version != self._bus.version:
            self._attend(here)
        raw = None
        try:
            recorders = here.known[raw := self._type_of(message)] if here.heard else _UNHEARD
        except Exception:  # a new type; or the protocol cannot name what it may still encode
            recorders = self._recorders_of(raw)
        kind, started, completed, sent = recorders
        if started is not None:
            started(_wall())
        began = _clock()
        try:
            text, payload = self._encode(message)
        except Exception as error:
            raise self._unencodable(message, error, kind, _clock() - began) from error
        if completed is not None:
            completed(_clock() - began, len(payload))
        return self._write(TEXT if text else BINARY, payload, sent, wait, here.untyped, urgent)

    def send_text(self, text: str, wait: float) -> Link:
        """Send one text frame as it is, with the events of `send`. Raises EncodeError, NotConnected, RateLimited."""
        recorders = self._recorders_of("text")
        if recorders.started is not None:
            recorders.started(_wall())
        began = _clock()
        try:
            payload = text.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise self._unencodable(text, error, recorders.kind, _clock() - began) from error
        if recorders.completed is not None:
            recorders.completed(_clock() - began, len(payload))
        return self._write(TEXT, payload, recorders.sent, wait, self._here.recorders.untyped)

    def send_binary(self, data: bytes, wait: float) -> Link:
        """Send one binary frame as it is. Raises NotConnected, RateLimited."""
        sent = self._recorders_of("binary").sent
        return self._write(BINARY, data, sent, wait, self._here.recorders.untyped)

    # -- recorders ----------------------------------------------------------------------------------------------------

    def _recorders_of(self, raw: Any) -> Recorders:
        """The recorders of a type; `raw` is None if it is unknown. All events of a message use what is found before it
        is sent: pairs stay whole."""
        here = self._here.recorders
        if here.version != self._bus.version:
            self._attend(here)
        if not here.heard:
            return _UNHEARD
        try:
            return here.known[raw]
        except Exception:  # a new type; or not a str, or a subclass with its own methods
            return self._made(here, raw)

    def _attend(self, here: _Known) -> None:
        here.version, here.known = self._bus.version, {}
        here.slots = [self._emit.slot(event) for event in _EVENTS]
        here.heard = any(slot.handlers for slot in here.slots)
        here.untyped = int(here.slots[2] is self._emit.silent)

    def _made(self, here: _Known, raw: Any) -> Recorders:
        try:
            kind = self._types(raw)
        except Exception:  # a subclass of str with its own methods
            raw, kind = None, UNKNOWN
        typed = {"client_id": self._client_id, "type": kind}
        started, completed, sent = here.slots
        made = Recorders(
            kind,
            started.recorder(("system_time",), typed),
            completed.recorder(("duration", "size"), {**typed, "result": "ok"}),
            sent.recorder(("size", "system_time"), typed),
        )
        if len(here.known) < _MAX_KNOWN and (raw is None or (type(raw) is str and len(raw) < 100)):
            here.known[raw] = made
        return made

    def _unencodable(self, message: Any, error: Exception, kind: str, took: int) -> EncodeError:
        slot = self._emit.slot(events.MESSAGE_ENCODE_COMPLETED)
        if kind and slot.handlers:
            metadata = {"client_id": self._client_id, "type": kind, "result": "error"}
            slot.emit({"duration": took, "size": 0}, metadata)
        self._unsent()
        fault = EncodeError(f"a {type(message).__name__} cannot be encoded: {type(error).__name__}: {error}")
        self._faults.raised(fault, "encode", "error")
        return fault

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(
        self, opcode: int, payload: bytes, sent: Recorder | None, wait: float, untyped: int, urgent: bool = False
    ) -> Link:
        """Send one ready payload; returns the link that was used. Raises RateLimited and NotConnected: then a link that
        broke is over, and the owner emits why."""
        link = self._connection.link
        if link is None or link.session.loss is not None:
            link = self._connection.up(wait)
        if self._bucket is not None and not urgent:
            until = time.monotonic() + wait
            self._take_turn(self._bucket)
            link = self._connection.up(max(0.0, until - time.monotonic()))
        size, batch, patience, free = len(payload), self._batch, self._patience, False
        frame = data_frame(opcode, payload, link.deflate)
        try:
            # Unpacked: a signal's handler may run after a call, but not between this acquire and the assignment.
            (free,) = map(link.sending.acquire, _AT_ONCE)
            if not free:
                (free,) = map(link.sending.acquire, _WAITING, (patience,))
            if not free:
                raise NotConnected("another thread's message is stuck in the socket; nothing was sent")
            link.writer.send(frame, patience, batch.counts.append, (1, size, 0, 0, 0, 0, untyped))
            if batch.due != batch.flushed_at or len(batch.counts) >= MANY:
                batch.plan()
        except NotConnected:
            self._unsent()
            raise
        except BaseException:  # a signal's handler raised: what was sent is counted
            batch.plan()
            raise
        finally:
            if free:
                link.sending.release()
            if link.disposed:
                link.give_back()
        if sent is not None:
            sent(size, _wall())
        return link

    def _take_turn(self, bucket: TokenBucket) -> None:
        pause = bucket.take(time.monotonic())
        if not pause:
            return
        if self._limit is not None and not self._limit.wait:
            limited = RateLimited(f"the rate limit {self._limit} is used up; send again in {pause:.3f} s")
            self._faults.raised(limited, "rate_limit", "warning")
            raise limited
        if self._connection.closing.wait(min(pause, threading.TIMEOUT_MAX)):
            bucket.give_back()
            raise NotConnected("the client was closed while a send waited for the rate limit")

    def _unsent(self) -> None:
        """Count a message that failed."""
        self._batch.count((1, 0, 1, 0, 0, 0, 0))

    @property
    def due(self) -> int:
        """When the sums are due, on time.monotonic_ns(); 0 while there are none."""
        return self._batch.due

    def flush(self) -> None:
        """Emit the sums since the last flush."""
        sums = self._batch.take()
        if sums is not None:
            self._emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="sent")


_EVENTS: Final = (events.MESSAGE_ENCODE_STARTED, events.MESSAGE_ENCODE_COMPLETED, events.MESSAGE_SENT)
