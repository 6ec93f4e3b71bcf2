"""What is done to send a message: encode, format, write, count. It emits the events of sending.

Runs in the caller's thread; one frame at a time under the link's message lock, which also guards the sums. A sender's
last sums are told by the clock, a second after they began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .. import events
from ..clock import CLOCK
from ..errors import EncodeError, NotConnected, RateLimited
from ..telemetry import EventSlot
from .batch import WINDOW_NS, Batch
from .emitter import Emitter
from .faults import Faults
from .flag import Flag
from .frames import BINARY, TEXT
from .link import Link
from .options import Options
from .rate_limit import TokenBucket
from .transport import frame
from .types import MessageTypes

_clock = time.monotonic_ns
_OK: Final = "ok"
# The bus's version; whether anybody hears of message.sent, encode.started and encode.completed; the slots of these.
_Heard = tuple[int, bool, EventSlot, EventSlot, EventSlot]


class Outbound:
    """The sending half of one client. `up(wait)` gives the link to send on, or raises NotConnected."""

    def __init__(
        self,
        options: Options,
        emit: Emitter,
        faults: Faults,
        types: MessageTypes,
        up: Callable[[float], Link],
        closing: Flag,
    ) -> None:
        self._client_id = options.client_id
        self._protocol = options.protocol
        self._timeout = options.profile.ping_interval + options.profile.pong_timeout  # a peer stalled longer is dead
        self._emit = emit
        self._faults = faults
        self._types = types
        self._up = up
        limit = options.rate_limit
        self._limit = limit
        self._bucket = TokenBucket(limit, time.monotonic()) if limit is not None else None
        self._closing = closing
        self._bus = emit.bus
        self._heard = self._listen()
        self._batch = Batch()
        self._counting = threading.Lock()  # guards _batch

    def send(self, message: Any, wait: float, *, urgent: bool = False) -> Link:
        """Encode and send; the link it went out on. Raises EncodeError, NotConnected, RateLimited.

        What is urgent waits for no rate limit: an application heartbeat that comes late costs the connection.
        """
        heard = self._who_hears()
        kind = self._type(message) if heard[1] else ""
        opcode, payload = self._encode(message, kind, heard)
        return self.write(opcode, payload, kind, wait, heard, urgent=urgent)

    def send_text(self, text: str, wait: float) -> Link:
        """Send one text frame as it is. Raises EncodeError, NotConnected, RateLimited."""
        try:
            payload = text.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise EncodeError(f"a {type(text).__name__} cannot be sent as text: {error}") from error
        return self.write(TEXT, payload, "text", wait)

    def _who_hears(self) -> _Heard:
        """All events of a message are told by what is seen before it: pairs stay whole."""
        heard = self._heard
        return heard if heard[0] == self._bus.version else self._listen()

    def _listen(self) -> _Heard:
        """See anew. The version stands with the slots: a thread that comes late replaces no newer ones for good."""
        version, slot = self._bus.version, self._emit.slot
        sent, started = slot(events.MESSAGE_SENT), slot(events.MESSAGE_ENCODE_STARTED)
        completed = slot(events.MESSAGE_ENCODE_COMPLETED)
        anybody = bool(sent.handlers or started.handlers or completed.handlers)
        self._heard = heard = (version, anybody, sent, started, completed)
        return heard

    def _type(self, message: Any) -> str:
        try:
            return self._types(self._protocol.message_type(message))
        except Exception:  # a protocol that cannot name what it may well encode
            return self._types(None)

    def _encode(self, message: Any, kind: str, heard: _Heard) -> tuple[int, bytes]:
        _, _, _, started, completed = heard
        if kind and started.handlers:
            started.emit({"system_time": time.time_ns()}, {"client_id": self._client_id, "type": kind})
        began = _clock()
        try:
            encoded = self._protocol.encode(message)
            if isinstance(encoded, str):
                opcode, payload = TEXT, encoded.encode()
            elif isinstance(encoded, bytes | bytearray | memoryview):
                opcode, payload = BINARY, bytes(encoded)
            else:  # bytes(10**9) would be a gigabyte
                raise TypeError(f"the protocol's encode gave {type(encoded).__name__}, not str or bytes")
        except Exception as error:
            self._encoded(completed, _clock() - began, 0, kind, "error")
            self._count(0, error=True)
            fault = EncodeError(f"a {type(message).__name__} cannot be encoded: {type(error).__name__}: {error}")
            self._faults.occurred(fault, "encode", "error")
            raise fault from error
        self._encoded(completed, _clock() - began, len(payload), kind, _OK)
        return opcode, payload

    def _encoded(self, completed: EventSlot, duration: int, size: int, kind: str, result: str) -> None:
        if kind and completed.handlers:
            metadata = {"client_id": self._client_id, "type": kind, "result": result}
            completed.emit({"duration": duration, "size": size}, metadata)

    def write(
        self,
        opcode: int,
        payload: bytes,
        kind: str,
        wait: float,
        heard: _Heard | None = None,
        *,
        urgent: bool = False,
    ) -> Link:
        """Send one ready payload; the link it went out on. `kind` is empty where nobody heard before it was encoded.
        Raises NotConnected - a link that broke is over, and the owner tells why - and RateLimited."""
        until = time.monotonic() + wait
        link = self._up(wait)
        if self._bucket is not None and not urgent:
            self._take_turn(self._bucket)
            link = self._up(max(0.0, until - time.monotonic()))
        data = frame(opcode, payload, link.deflate)
        if not link.sending.acquire(timeout=self._timeout):
            raise NotConnected("another thread's message is stuck on its way out; nothing was sent")
        try:
            link.send(data, self._timeout)
        except NotConnected:
            self._count(0, error=True)
            raise
        finally:
            link.sending.release()
        sent = (heard or self._who_hears())[2]
        if kind and sent.handlers:
            metadata = {"client_id": self._client_id, "type": kind}
            sent.emit({"size": len(payload), "system_time": time.time_ns()}, metadata)
        self._count(len(payload))
        return link

    def _take_turn(self, bucket: TokenBucket) -> None:
        pause = bucket.take(time.monotonic())
        if not pause:
            return
        if self._limit is not None and not self._limit.wait:
            limited = RateLimited(f"the rate limit {self._limit} is used up; the next send may go in {pause:.3f} s")
            self._faults.handled(self._faults.occurred(limited, "rate_limit", "warning"), "raised")
            raise limited
        if self._closing.wait(min(pause, threading.TIMEOUT_MAX)):
            bucket.give_back()
            raise NotConnected("the client was closed while a send waited for the rate limit")

    def _count(self, size: int, *, error: bool = False) -> None:
        with self._counting:
            batch = self._batch
            first = not batch.due
            batch.add(size, _clock())
            batch.errors += error
        if first:
            CLOCK.call_later(WINDOW_NS / 1e9, self.flush)

    def flush(self) -> None:
        """Tell the sums of the last second."""
        with self._counting:
            sums = self._batch.take()
        if sums is not None:
            self._emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="sent")
