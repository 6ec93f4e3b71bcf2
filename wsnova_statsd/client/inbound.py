"""What is known and told of received messages: who hears of them, what they came to. `Runs` hands them out.

Runs in the owner's thread only. Per message type the events' recorders are made once (`Ears`), so that nothing is
built or looked up for an event again, nor done for one that nobody hears. The monotonic clock is read once per step;
wall time is that reading plus an offset taken every second.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .. import events
from ..errors import DecodeError
from ..telemetry import EventSlot, Recorder
from .batch import Batch
from .ears import TYPED, Ears
from .emitter import Emitter
from .faults import Faults
from .frames import INVALID_DATA, TEXT, Received, Violation, is_text
from .options import Options
from .protocol import Protocol
from .requests import Requests
from .stuck import WATCHDOG, Hand
from .types import INVALID, MessageTypes

NOTHING: Final = object()  # a message that could not be read
_SOME: Final = 1000
OK: Final = "ok"
ERROR: Final = "error"
_MAX_EARS: Final = 1000  # raw types remembered; what a server sends has no bound
_clock = time.monotonic_ns


class Inbound:
    """The receiving half of one client."""

    def __init__(
        self,
        options: Options,
        emit: Emitter,
        faults: Faults,
        types: MessageTypes,
        requests: Requests,
        answer: Callable[[Any], bool],
        breach: Callable[[Violation], None],
    ) -> None:
        self.client_id = options.client_id
        self.emit = emit
        self.batch = Batch()
        self.bus = emit.bus
        self.handler = options.on_message
        self.decode_binary = options.protocol.decode
        self.decode_text = options.protocol.text_decoder()
        self.type_of = options.protocol.message_type
        self._types = types
        self._faults = faults
        self.requests = requests
        self._answer = answer
        self.has_heartbeats = type(options.protocol).heartbeat_answer is not Protocol.heartbeat_answer
        self._breach = breach
        self.slow_ns = round(options.profile.slow_after * 1e9)
        self._muted = False
        # Made anew when a handler came or went, when other events leave, or when another thread owns the connection:
        # recorders are a thread's. All events of a message are told by what was made before it: pairs stay whole.
        self.version = -1
        self._slots: list[EventSlot] = []  # of TYPED
        self.wall = 0  # from monotonic to wall time, ns
        self._thread: int | None = None
        self.begun: Recorder | None = None  # of message.decode.started, which knows no type yet
        self.heard = False  # some event of each message
        self.quiet = False  # nothing is told of each message, or looked for in it but answers
        self.timed = False  # the sums are heard of, or that one was slow
        self.ears: dict[str, Ears] = {}
        self._periods = types.periods
        # The message that is being dealt with, and what is known of it; an idle client keeps none alive.
        self._message: Any = None
        self._hearing: Ears | None = None
        self._size = self._decoded_ns = self._began_ns = 0  # the last: when it was handed out, 0 while none is
        self.hand: Callable[[], Hand] | None = None  # of whoever hands out many, and keeps its own account

    def listen(self) -> None:
        """See who hears what, for the calling thread."""
        self.version = self.bus.version
        self.wall = time.time_ns() - _clock()
        self._hearing = None
        self._thread = threading.get_ident()
        self.ears = {}
        self._slots = [self.emit.slot(event) for event in TYPED]
        self.heard = not self._muted and any(slot.handlers for slot in self._slots)
        started = self.emit.slot(events.MESSAGE_DECODE_STARTED)
        self.begun = None if self._muted else started.recorder(("system_time", "size"), {"client_id": self.client_id})
        self.quiet = self.begun is None and not self.heard and not self.has_heartbeats
        self.timed = not self._muted and any(self.emit.slot(event).handlers for event in _SUMMED)
        WATCHDOG.watch(self)

    def attend(self) -> None:
        """See who hears what, if that may have changed."""
        if self.version != self.bus.version:
            self.listen()

    def owned(self) -> None:
        """The calling thread owns the connection from now on."""
        if self._thread != threading.get_ident():
            self.version = -1

    def decode(self, received: Received) -> Any:
        """The message, told as received; NOTHING if the protocol cannot read it (told as an error, and counted)."""
        self.attend()
        opcode, payload, arrived = received
        self._size = size = len(payload)
        began = _clock()
        if self.begun is not None:
            self.begun(began + self.wall, size)
            began = _clock()
        try:
            message = self.decode_text(payload) if opcode == TEXT else self.decode_binary(payload)
            if self.heard:
                raw = self.type_of(message)
                try:
                    hearing = self.ears[raw]
                except (KeyError, TypeError):
                    hearing = self.new_ears(raw)
                self._decoded_ns = ended = _clock()
                tell_decoded, tell_received, _, _ = hearing.recorders
                if tell_decoded is not None:
                    tell_decoded(ended - began, size)
                if tell_received is not None:
                    tell_received(size, arrived)
                self._hearing = hearing
        except Exception as error:  # the protocol may be the user's, and the data is the server's
            self.undecodable(error, received, began)
            return NOTHING
        self._message = message
        return message

    def new_ears(self, raw: object) -> Ears:
        self._tidy()
        ears = Ears(self._slots, self.client_id, self._types(raw))
        if isinstance(raw, str) and len(raw) < _MAX_RAW and len(self.ears) < _MAX_EARS:
            self.ears[raw] = ears
        return ears

    def _tidy(self) -> None:
        """Every few minutes let go of all recorders: types that still come up get theirs again, the others expire."""
        self._types.tidy()
        if self._periods != self._types.periods:
            self._periods = self._types.periods
            self.ears.clear()  # the loop that reads it goes on with it

    def undecodable(self, error: Exception, received: Received, began: int) -> bool:
        """Tell of a message that cannot be read. True if that ends the link: nothing behind it may be processed."""
        opcode, payload, arrived = received
        size, now = len(payload), _clock()
        typed = {"client_id": self.client_id, "type": INVALID}
        if self.heard:
            self._slots[0].emit({"duration": now - began, "size": size}, {**typed, "result": ERROR})
            self._slots[1].emit({"size": size, "system_time": arrived}, typed)
        self.batch.errors += 1
        self._count(size, now)
        if opcode == TEXT and not is_text(payload):  # RFC 6455, section 8.1; the loss of the link tells of the fault
            self._breach(Violation(INVALID_DATA, "a text message is not UTF-8"))
            return True
        wrapped = DecodeError(f"a message of {size} bytes cannot be decoded: {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        self._faults.handled(self._faults.occurred(wrapped, "decode", "warning"), "skipped")
        return False

    def take(self, message: Any, hearing: Ears | None, size: int, decoded_ns: int, began_ns: int = 0) -> None:
        """What is known of a message that others decoded, and perhaps handed out."""
        self._message, self._hearing, self._size = message, hearing, size
        self._decoded_ns, self._began_ns = decoded_ns, began_ns

    def consumed(self, message: Any, received: Received) -> bool:
        """True if the message is a reply, an ack or an application heartbeat: dealt with here, delivered to nobody."""
        if not self.requests.active and not self.has_heartbeats:
            return False
        try:
            mine = self.requests.active and self.requests.offer(message, received, owner=True)
            if not mine and not (self.has_heartbeats and self._answer(message)):
                return False
        except Exception as error:  # the protocol's reading of a hostile message
            self._faults.handled(self._faults.occurred(error, "decode", "warning"), "delivered")
            return False
        self.begin()
        self.finish(OK)
        return True

    def clear_answers(self, inbox: deque[Received]) -> None:
        """Deal with answers that stand before any other message, some at a time; their threads have them already."""
        for _ in range(_SOME):
            if not inbox or not self.requests.met(inbox[0]):
                return
            received = inbox.popleft()
            message = self.decode(received)
            if message is not NOTHING:
                self.consumed(message, received)

    def begin(self) -> None:
        """The decoded message is about to be handed out."""
        tell_started = self._hearing.recorders[2] if self._hearing is not None else None
        if tell_started is not None:
            tell_started(self._decoded_ns + self.wall)
        self._began_ns = _clock()

    def in_hand(self) -> Hand:
        """Any thread: the message that is handed out right now."""
        hand = self.hand
        return hand() if hand is not None else (self._began_ns, 0, self._message)

    def finish(self, result: str) -> None:
        """The message that was handed out is dealt with."""
        ended = _clock()
        duration = ended - self._began_ns
        self._began_ns = 0
        hearing = self._hearing
        if hearing is not None:
            if result is not OK:
                self._tell_processed(self._slots[3], duration, result)
            elif (tell_completed := hearing.recorders[3]) is not None:
                tell_completed(duration)
        if duration > self.slow_ns:
            self.tell_slow(duration, result)
        self._message = self._hearing = None
        self.add(1, self._size, duration, duration)
        if result is ERROR:
            self.batch.errors += 1
        if ended >= self.batch.due:
            self.window(ended)

    def tell_slow(self, duration: int, result: str) -> None:
        self._tell_processed(self.emit.slot(events.MESSAGE_PROCESS_SLOW), duration, result)

    def _tell_processed(self, slot: EventSlot, duration: int, result: str) -> None:
        if slot.handlers and not self._muted:
            slot.emit({"duration": duration}, {"client_id": self.client_id, "type": self._kind(), "result": result})

    def _kind(self) -> str:
        return self._hearing.kind if self._hearing is not None else self.kind_of(self._message)

    def kind_of(self, message: Any) -> str:
        """Any thread: the type of a message."""
        try:
            return self._types(self.type_of(message))
        except Exception:  # decode tells of it where types are heard of; here only a slow message asks
            return INVALID

    def skip_timing(self) -> None:
        """The message was handed out by receive(): counted, not timed as processing."""
        self._message = self._hearing = None
        self._count(self._size, _clock())

    def raised(self, error: Exception) -> None:
        self._faults.log("on_message raised", error)
        self._faults.handled(self._faults.occurred(error, "handler", "error"), "continued")

    def count_run(self, count: int, size: int, spent: float, longest: float, last: Any, fault: bool) -> None:
        """Count messages that were handed out one after the other, `spent` seconds for all. Only the last may have been
        slow, or have raised."""
        longest_ns = round(longest * 1e9)
        self.add(count, size, round(spent * 1e9), longest_ns)
        self.batch.errors += fault
        if longest_ns > self.slow_ns:
            self._message, self._hearing = last, None
            self.tell_slow(longest_ns, ERROR if fault else OK)
            self._message = None
        self.window(_clock())

    def add(self, count: int, size: int, spent_ns: int, longest_ns: int) -> None:
        batch = self.batch
        if count and not batch.due:  # the first of a second; or they were told in the midst, by whoever closed
            batch.open(_clock() - spent_ns)
        batch.count += count
        batch.total_size += size
        batch.process_time += spent_ns
        batch.process_time_max = max(batch.process_time_max, longest_ns)

    def _count(self, size: int, now_ns: int) -> None:
        self.batch.count += 1
        self.batch.total_size += size
        if now_ns >= self.batch.due:
            self.window(now_ns)

    def window(self, now_ns: int) -> None:
        """The first message of a second, or the first after it."""
        if not self.batch.due:
            self.batch.open(now_ns)
        elif now_ns >= self.batch.due:
            self.flush()

    def flush(self) -> None:
        """Tell the sums of the last second."""
        self._tidy()
        self.wall = time.time_ns() - _clock()
        sums = self.batch.take()
        if sums is not None:
            self.emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="received")

    def forget(self) -> None:
        """The client is closed, in the midst of a message perhaps, which is told yet: no more types come up."""
        self.ears.clear()

    def mute(self) -> None:
        """In a forked child: nothing is told of the parent's connection any more."""
        self._muted = True
        self._hearing = None
        self.version = -1


_SUMMED: Final = (events.MESSAGE_BATCH_PROCESSED, events.MESSAGE_PROCESS_SLOW, events.MESSAGE_PROCESS_STUCK)
_MAX_RAW: Final = 100
