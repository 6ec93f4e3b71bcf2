"""Sends a message: encode, wait for the rate limit, frame and mask, write, count; and the events of it.

Runs in the caller's thread, with one frame at a time under the link's `sending`. The recorders of a message's events
are a thread's, and made once for each type. A sender's last sums are emitted by the clock, a second after they began.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from .. import events, process
from ..clock import CLOCK
from ..errors import EncodeError, NotConnected, RateLimited
from ..telemetry import Recorder
from .batch import Batch, Counts
from .deflate import Deflate
from .emitter import Emitter
from .faults import Faults
from .flag import Flag
from .frames import BINARY, TEXT
from .link import Link
from .message_types import UNKNOWN, MessageTypes
from .options import Options
from .rate_limit import TokenBucket

_PATIENCE: Final = 20.0  # seconds without progress, where no pings say how long a peer may be silent
_KEYS: Final = 1024
_MAX_KNOWN: Final = 200  # types whose recorders a thread keeps
_FINAL: Final = 0x80
_DEFLATED: Final = 0x40  # RSV1 (RFC 7692, section 6)
_short, _medium, _long = (struct.Struct(form).pack for form in ("!BB4s", "!BBH4s", "!BBQ4s"))
_BLOCKING: Final = (True,)
_clock = time.monotonic_ns
_wall = time.time_ns


class _Keys:
    """Masking keys that cannot be guessed (RFC 6455, section 5.3), drawn from the system many at a time. Any thread."""

    def __init__(self) -> None:
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the parent's keys are the parent's."""
        self.drawn: list[bytes] = []

    def draw(self) -> bytes:
        """A key that was not used before, and more of them for `drawn`."""
        pool = os.urandom(4 * _KEYS)
        self.drawn += [pool[start : start + 4] for start in range(4, len(pool), 4)]
        return pool[:4]


_KEYRING: Final = _Keys()


def data_frame(opcode: int, payload: bytes, deflate: Deflate | None = None) -> bytes:
    """One final, masked frame of a message, deflated if that is agreed and shortens it (RFC 6455, section 5.2)."""
    first = _FINAL | opcode
    if deflate is not None and (short := deflate.deflate(payload)) is not None:
        first, payload = first | _DEFLATED, short
    size = len(payload)
    try:
        key = _KEYRING.drawn.pop()
    except IndexError:
        key = _KEYRING.draw()
    if size < 126:
        head = _short(first, 0x80 | size, key)
    elif size < 65536:
        head = _medium(first, 0xFE, size, key)
    else:
        head = _long(first, 0xFF, size, key)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "little")
    return head + (int.from_bytes(payload, "little") ^ mask).to_bytes(size, "little")


def _one(size: int, errors: int = 0) -> Iterator[Counts]:
    """One message, to be counted once."""
    return iter(((1, size, errors, 0, 0, 0),))


class Recorders(NamedTuple):
    """The recorders for messages of one type, None for an event without handlers."""

    kind: str
    started: Recorder | None
    completed: Recorder | None
    sent: Recorder | None


_UNHEARD: Final = Recorders("", None, None, None)


class _Heard(threading.local):
    """The calling thread's recorders by what a protocol calls a message, and the version of the bus they are for."""

    version = -1
    heard = False

    def __init__(self) -> None:
        self.known: dict[Any, Recorders] = {}


class Linked(Protocol):
    """Where the link in use stands, None while there is none; `up` waits so many seconds for one, or raises
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
        self._heard = _Heard()
        self._batch = Batch()
        self._flushed_at = 0  # the end of the window that the clock was asked for last

    def send(self, message: Any, wait: float, *, urgent: bool = False) -> Link:
        """Encode and send; the link it went out on. Raises EncodeError, NotConnected, RateLimited.

        What is urgent waits for no rate limit: an application heartbeat that comes late costs the connection.
        """
        recorders = self._recorders(message)
        if recorders.started is not None:
            recorders.started(_wall())
        began = _clock()
        try:
            text, payload = self._encode(message)
        except Exception as error:
            raise self._unencodable(message, error, recorders, _clock() - began) from error
        if recorders.completed is not None:
            recorders.completed(_clock() - began, len(payload))
        return self._write(TEXT if text else BINARY, payload, recorders, wait, urgent=urgent)

    def send_text(self, text: str, wait: float) -> Link:
        """Send one text frame as it is, with the events of `send`. Raises EncodeError, NotConnected, RateLimited."""
        recorders = self._recorders_of("text")
        if recorders.started is not None:
            recorders.started(_wall())
        began = _clock()
        try:
            payload = text.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise self._unencodable(text, error, recorders, _clock() - began) from error
        if recorders.completed is not None:
            recorders.completed(_clock() - began, len(payload))
        return self._write(TEXT, payload, recorders, wait)

    def send_binary(self, data: bytes, wait: float) -> Link:
        """Send one binary frame as it is. Raises NotConnected, RateLimited."""
        return self._write(BINARY, data, self._recorders_of("binary"), wait)

    # -- recorders ----------------------------------------------------------------------------------------------------

    def _recorders(self, message: Any) -> Recorders:
        """Those of a message's type. All its events are emitted by what is seen before it: pairs stay whole."""
        here = self._heard
        if here.version != self._bus.version:
            self._attend(here)
        if not here.heard:
            return _UNHEARD
        try:
            raw = self._type_of(message)
            found = here.known.get(raw)
        except Exception:  # a protocol that cannot name what it may well encode
            raw, found = None, here.known.get(None)
        return found or self._made(here, raw)

    def _recorders_of(self, raw: Any) -> Recorders:
        here = self._heard
        if here.version != self._bus.version:
            self._attend(here)
        return (here.known.get(raw) or self._made(here, raw)) if here.heard else _UNHEARD

    def _attend(self, here: _Heard) -> None:
        here.version, here.known = self._bus.version, {}
        here.heard = any(self._emit.slot(event).handlers for event in _EVENTS)

    def _made(self, here: _Heard, raw: Any) -> Recorders:
        try:
            kind = self._types(raw)
        except Exception:  # a text with methods of its own
            raw, kind = None, UNKNOWN
        typed = {"client_id": self._client_id, "type": kind}
        started, completed, sent = (self._emit.slot(event) for event in _EVENTS)
        made = Recorders(
            kind,
            started.recorder(("system_time",), typed),
            completed.recorder(("duration", "size"), {**typed, "result": "ok"}),
            sent.recorder(("size", "system_time"), typed),
        )
        if len(here.known) < _MAX_KNOWN and (raw is None or (type(raw) is str and len(raw) < 100)):
            here.known[raw] = made
        return made

    def _unencodable(self, message: Any, error: Exception, recorders: Recorders, took: int) -> EncodeError:
        slot = self._emit.slot(events.MESSAGE_ENCODE_COMPLETED)
        if recorders.kind and slot.handlers:
            metadata = {"client_id": self._client_id, "type": recorders.kind, "result": "error"}
            slot.emit({"duration": took, "size": 0}, metadata)
        self._count(_one(0, errors=1))
        fault = EncodeError(f"a {type(message).__name__} cannot be encoded: {type(error).__name__}: {error}")
        self._faults.raised(fault, "encode", "error")
        return fault

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, opcode: int, payload: bytes, recorders: Recorders, wait: float, *, urgent: bool = False) -> Link:
        """Send one ready payload; the link it went out on. Raises NotConnected - a link that broke is over, and the
        owner emits why - and RateLimited."""
        link = self._connection.link
        if link is None or link.session.loss is not None:
            link = self._connection.up(wait)
        if self._bucket is not None and not urgent:
            until = time.monotonic() + wait
            self._take_turn(self._bucket)
            link = self._connection.up(max(0.0, until - time.monotonic()))
        frame = data_frame(opcode, payload, link.deflate)
        sent = _one(len(payload))
        free: list[bool] = []
        left: list[int] = []
        try:
            # Known in the step in which it is taken: it is given back wherever a signal's handler raises.
            free.extend(map(link.sending.acquire, _BLOCKING, (self._patience,)))
            if True not in free:
                raise NotConnected("another thread's message is stuck on its way out; nothing was sent")
            link.send(frame, self._patience, left)
            self._batch.add_once(sent)
        except NotConnected:
            self._count(_one(0, errors=1))
            raise
        except BaseException:  # a signal's handler: what is out counts, once
            if sum(left) == len(frame):
                self._count(sent)
            raise
        finally:
            if True in free:
                link.sending.release()
            if link.disposed:
                link.give_back()
        if self._batch.due != self._flushed_at:
            self._plan()
        if recorders.sent is not None:
            recorders.sent(len(payload), _wall())
        return link

    def _take_turn(self, bucket: TokenBucket) -> None:
        pause = bucket.take(time.monotonic())
        if not pause:
            return
        if self._limit is not None and not self._limit.wait:
            limited = RateLimited(f"the rate limit {self._limit} is used up; the next send may go in {pause:.3f} s")
            self._faults.raised(limited, "rate_limit", "warning")
            raise limited
        if self._connection.closing.wait(min(pause, threading.TIMEOUT_MAX)):
            bucket.give_back()
            raise NotConnected("the client was closed while a send waited for the rate limit")

    def _count(self, counts: Iterator[Counts]) -> None:
        """Count, and have the sums emitted in time. Set after the call: a timer too many does no harm, one that an
        interrupt prevented is made by the next message."""
        self._batch.add_once(counts)
        self._plan()

    def _plan(self) -> None:
        due = self._batch.due
        if due and due != self._flushed_at:
            CLOCK.call_later((due - _clock()) / 1e9, self.flush)
            self._flushed_at = due

    @property
    def due(self) -> int:
        """When the sums are to leave, on time.monotonic_ns(); 0 while there are none."""
        return self._batch.due

    def flush(self) -> None:
        """Emit the sums since they left last."""
        sums = self._batch.take()
        if sums is not None:
            self._emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="sent")


_EVENTS: Final = (events.MESSAGE_ENCODE_STARTED, events.MESSAGE_ENCODE_COMPLETED, events.MESSAGE_SENT)
