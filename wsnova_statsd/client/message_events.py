"""The events of one received message: its type, its decoding and processing, whether it was slow, what went wrong.

For each message type the recorders of its events are created once, so that nothing is built or looked up again for an
event, and nothing is done for an event without a handler. Recorders belong to a thread and to one version of the bus:
`attend` recreates them. Handlers on the bus change nothing else: an error in a message's type, age or filter does not
affect the message. Used in the owner's thread; `kind_of` in any.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .. import events
from ..checks import is_number
from ..errors import DecodeError
from ..link.frames import INVALID_DATA, TEXT, Received, Violation, is_text
from ..telemetry import Bus, EventSlot, Recorder
from .emitter import Emitter
from .faults import Faults
from .message_types import INVALID, UNKNOWN, MessageTypes
from .protocol import Protocol

OK: Final = "ok"
ERROR: Final = "error"
IGNORED: Final = "ignored"  # no function handles messages
NOTHING: Final = object()  # instead of a message that could not be decoded
BREACH: Final = object()  # the same, and nothing after it may be processed
_MAX_RAW: Final = 100  # characters of a remembered type,
_MAX_KNOWN: Final = 1000  # and how many are remembered: a server may send any number
_clock = time.monotonic_ns
_wall = time.time_ns


@dataclass(frozen=True, slots=True)
class Recorders:
    """The recorders for messages of one type; None for an event without handlers."""

    kind: str
    decoded: Recorder | None
    received: Recorder | None
    started: Recorder | None
    completed: Recorder | None


Read = tuple[Any, Recorders]  # a message and its recorders
UNHEARD: Final = Recorders("", None, None, None, None)
FAILED: Final = Recorders(INVALID, None, None, None, None)  # of a message that could not be decoded


class TypedMessages:
    """The events of one direction's messages by their type: the recorders of a thread, and the events of a message that
    was slow or failed. `typed` lists the events for the fields of Recorders, in their order; "" for none."""

    def __init__(
        self,
        slow_ns: int,
        emit: Emitter,
        faults: Faults,
        types: MessageTypes,
        type_of: Callable[[Any], Any],
        typed: tuple[str, str, str, str],
    ) -> None:
        self.emit = emit
        self.slow_ns = slow_ns
        self._client_id = emit.client_id
        self.bus: Bus = emit.bus
        self._faults = faults
        self._types = types
        self._type_of = type_of
        self._typed = typed
        self._muted = False
        # Recreated by `attend`, never in the midst of a message: pairs of events stay whole.
        self.version: int = -1
        self.thread: int | None = None
        self._slots: list[EventSlot] = []
        self._known: dict[str, Recorders] = {}
        self._periods = types.periods
        self._heard = False  # one of the typed events has handlers
        # 1 if the profile leaves out the event that counts messages by type, handlers or not: the sums count then
        self.untyped: int = 1

    # -- recorders ----------------------------------------------------------------------------------------------------

    def attend(self) -> bool:
        """Look up the recorders of the calling thread, if they may have changed; True if so."""
        if self.version == self.bus.version and self.thread == threading.get_ident():
            return False
        self.version = self.bus.version
        self.thread = threading.get_ident()
        self._slots = [self.emit.slot(event) if event else self.emit.silent for event in self._typed]
        self._heard = not self._muted and any(one.handlers for one in self._slots)
        self.untyped = int(self._slots[1] is self.emit.silent)
        self._known = {}
        return True

    def of(self, message: Any) -> Recorders:
        """The recorders for this message's type."""
        raw: Any = NOTHING
        try:
            return self._known[raw := self._type_of(message)] if self._heard else UNHEARD
        except Exception as error:
            return self._recorders(raw, error)

    def _recorders(self, raw: Any, error: Exception) -> Recorders:
        """The recorders of a type that is new. `raw` is NOTHING if the protocol raised this error instead of returning
        a type; then, and if it is no text or its own methods raise, the type is `unknown`."""
        try:
            if raw is NOTHING:
                raise error
            kind = self._types(raw)
        except Exception as fault:
            self._unreadable("message_type", fault)
            raw, kind = None, UNKNOWN
        self.tidy()
        typed = {"client_id": self._client_id, "type": kind}
        fine = {**typed, "result": OK}
        decoded, received, started, completed = self._slots
        made = Recorders(
            kind,
            decoded.recorder(("duration", "size"), fine),
            received.recorder(("size", "system_time"), typed),
            started.recorder(("system_time",), typed),
            completed.recorder(("duration",), fine),
        )
        if type(raw) is str and len(raw) < _MAX_RAW and len(self._known) < _MAX_KNOWN:
            self._known[raw] = made
        return made

    def tidy(self) -> None:
        """Every few minutes drop all recorders: types still in use get theirs again, the others expire."""
        self._types.tidy()
        if self._periods != self._types.periods:
            self._periods = self._types.periods
            self._known.clear()

    def _unreadable(self, hook: str, error: Exception) -> None:
        """A hook of the protocol raised, or returned an invalid value; the message is still delivered."""
        self._faults.log(f"the protocol's {hook} raised", error)
        self._faults.handled(self._faults.occurred(error, "protocol", "error"), "delivered")

    # -- processing ---------------------------------------------------------------------------------------------------

    def failed(self, message: Any, recorders: Recorders, took: int) -> None:
        """Emit that a message was processed in error: its handler raised."""
        self._processed(self._slots[3], message, recorders, took, ERROR)

    def ignored(self, message: Any, recorders: Recorders) -> None:
        """Emit the events of a message that has no handler."""
        if recorders.started is not None:
            recorders.started(_wall())
        self._processed(self._slots[3], message, recorders, 0, IGNORED)

    def slow(self, message: Any, recorders: Recorders, took: int, result: str = OK) -> None:
        """Emit that a message took longer than the profile's slow_after."""
        self._processed(self.emit.slot(events.MESSAGE_PROCESS_SLOW), message, recorders, took, result)

    def _processed(self, slot: EventSlot, message: Any, recorders: Recorders, took: int, result: str) -> None:
        if slot.handlers and not self._muted:
            kind = recorders.kind or self.kind_of(message)
            slot.emit({"duration": took}, {"client_id": self._client_id, "type": kind, "result": result})

    def raised(self, error: Exception) -> None:
        """The handler raised; the client continues."""
        self._faults.log("on_message raised", error)
        self._faults.handled(self._faults.occurred(error, "handler", "error"), "continued")

    def kind_of(self, message: Any) -> str:
        """Any thread: the type of a message."""
        try:
            return self._types(self._type_of(message))
        except Exception:  # `read` emits that, if events by type have handlers
            return UNKNOWN

    def forget(self) -> None:
        """The client is closed; a message in progress keeps its recorders, and no new types appear."""
        self._known.clear()

    def mute(self) -> None:
        """In a forked child: emit nothing more about the parent's connection."""
        self._muted = True
        self.version = -1


class MessageEvents(TypedMessages):
    """The events of one client's received messages."""

    def __init__(
        self,
        protocol: Protocol,
        slow_ns: int,
        emit: Emitter,
        faults: Faults,
        types: MessageTypes,
    ) -> None:
        super().__init__(slow_ns, emit, faults, types, protocol.message_type, _TYPED)
        self.breach: Callable[[Violation], None] = lambda violation: None  # set by the receiver; ends the link
        self._decode_binary = protocol.decode
        self._decode_text = protocol.text_decoder()
        self._strict = protocol.text_errors == "strict"
        self._sent_at = protocol.sent_at if type(protocol).sent_at is not Protocol.sent_at else None
        has_heartbeats = type(protocol).heartbeat_answer is not Protocol.heartbeat_answer
        self._heartbeat = protocol.heartbeat_answer if has_heartbeats else None
        self.beat: Any = None  # the answer, if the last message was an application heartbeat
        self._aged: Recorder | None = None  # of the lag of each message
        self.lags: deque[int] = deque()  # ns, since the last sums
        # Recreated by `attend`.
        self.quiet: bool = False  # single messages emit nothing, and are only searched for answers
        self.timed: bool = False  # the sums, or the events of slow messages, have handlers
        self._begun: Recorder | None = None  # of the start of each decoding
        self.read: Callable[[Received], Read] = self._reader(None, heard=False)

    def attend(self) -> bool:
        """Look up the recorders of the calling thread, if they may have changed; True if so."""
        if not super().attend():
            return False
        slot, heard = self.emit.slot, self._heard
        started = slot(events.MESSAGE_DECODE_STARTED)
        begun = None if self._muted else started.recorder(("system_time", "size"), {"client_id": self._client_id})
        self.quiet = begun is None and not heard and self._sent_at is None and self._heartbeat is None
        self.timed = not self._muted and any(slot(event).handlers for event in _SUMMED)
        # In every profile, and not in the catalogue: hence the bus's own slot.
        age = self.emit.unlisted(events.MESSAGE_LAG) if self._sent_at is not None and not self._muted else None
        self._aged = None if age is None else age.recorder(("lag",), {"client_id": self._client_id, **_RECEIVED})
        self._begun = begun
        self.read = self._reader(begun, heard=heard)
        return True

    def _reader(self, begun: Recorder | None, *, heard: bool) -> Callable[[Received], Read]:
        """A function that decodes one message and emits that it was received; it returns NOTHING or BREACH if it
        cannot."""
        text, binary, type_of, known = self._decode_text, self._decode_binary, self._type_of, self._known
        sent_at, heartbeat = self._sent_at, self._heartbeat

        def read(received: Received) -> Read:
            opcode, payload, arrived = received
            size = len(payload)
            if begun is not None:
                begun(_wall(), size)
            began = _clock()
            try:
                message = text(payload) if opcode == TEXT else binary(payload)
            except Exception as error:  # user code, on a server's data
                return self._undecodable(error, received, began), FAILED
            ended = _clock()
            if heartbeat is not None:
                try:
                    self.beat = heartbeat(message)
                except Exception as error:
                    self.beat = None
                    self.misread(error)
            if sent_at is not None:
                self._lag(message)
            if not heard:
                return message, UNHEARD
            raw: Any = NOTHING
            try:
                recorders = known[raw := type_of(message)]
            except Exception as error:
                recorders = self._recorders(raw, error)
            if recorders.decoded is not None:
                recorders.decoded(ended - began, size)
            if recorders.received is not None:
                recorders.received(size, arrived)
            return message, recorders

        return read

    def answered(self, received: Received, message: Any, began: int, ended: int) -> int:
        """Emit all events of an answer that its thread has already decoded and taken; returns its processing time in
        ns."""
        size, now = len(received[1]), _wall()
        if self._begun is not None:
            self._begun(now - ended + began, size)
        if self._sent_at is not None:
            self._lag(message)
        recorders = self.of(message)
        if recorders.decoded is not None:
            recorders.decoded(ended - began, size)
        if recorders.received is not None:
            recorders.received(size, received[2])
        if recorders.started is not None:
            recorders.started(now)
        took = _clock() - ended
        if recorders.completed is not None:
            recorders.completed(took)
        return took

    def ahead(self, kind: int, payloads: list[bytes]) -> list[Any]:
        """Decode these messages, up to the first that cannot be decoded: that one is handled by itself."""
        decoded: list[Any] = []
        try:
            decoded.extend(map(self._decode_text if kind == TEXT else self._decode_binary, payloads))
        except Exception:  # the messages before it are in the list
            pass
        return decoded

    def misread(self, error: Exception) -> None:
        """The protocol raised instead of saying whether a message is an answer: the message is delivered."""
        self._faults.handled(self._faults.occurred(error, "decode", "warning"), "delivered")

    def _lag(self, message: Any) -> None:
        """Note the age of a message by the server's own time; a negative age counts as 0 ns."""
        assert self._sent_at is not None
        try:
            sent = self._sent_at(message)
            if sent is None:
                return
            if not is_number(sent):
                raise TypeError(
                    f"sent_at returned {type(sent).__name__} {sent!r:.50}, not seconds since the epoch, or None"
                )
            lag = max(0, time.time_ns() - round(sent * 1e9))
        except Exception as error:
            self._unreadable("sent_at", error)
            return
        self.lags.append(lag)
        if self._aged is not None:
            self._aged(lag)

    def _undecodable(self, error: Exception, received: Received, began: int) -> object:
        """Emit that a message cannot be decoded. Text that is not UTF-8, unless the protocol tolerates it, ends the
        link (RFC 6455, section 8.1)."""
        opcode, payload, arrived = received
        typed = {"client_id": self._client_id, "type": INVALID}
        if self._slots and not self._muted:
            self._slots[0].emit({"duration": _clock() - began, "size": len(payload)}, {**typed, "result": ERROR})
            self._slots[1].emit({"size": len(payload), "system_time": arrived}, typed)
        if opcode == TEXT and self._strict and not is_text(payload):
            self.breach(Violation(INVALID_DATA, "a text message is not UTF-8"))  # the loss of the link emits the fault
            return BREACH
        what = f"a message of {len(payload)} bytes cannot be decoded: {type(error).__name__}: {error}"
        wrapped = DecodeError(what)
        wrapped.__cause__ = error
        self._faults.handled(self._faults.occurred(wrapped, "decode", "warning"), "skipped")
        return NOTHING

    def taken_lags(self) -> dict[str, int]:
        """The sum and the maximum of the lags since the last call; empty if there are none."""
        lags: list[int] = []
        while self.lags:
            lags.append(self.lags.popleft())
        return {"lag": sum(lags), "lag_max": max(lags)} if lags else {}


_RECEIVED: Final = {"direction": "received"}
_TYPED: Final = (
    events.MESSAGE_DECODE_COMPLETED,
    events.MESSAGE_RECEIVED,
    events.MESSAGE_PROCESS_STARTED,
    events.MESSAGE_PROCESS_COMPLETED,
)
_SUMMED: Final = (events.MESSAGE_BATCH_PROCESSED, events.MESSAGE_PROCESS_SLOW, events.MESSAGE_PROCESS_STUCK)
