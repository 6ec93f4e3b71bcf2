"""The messages and heartbeats of a foreign client: their events, what is slow or stuck, and the one-second sums.

Threads: every method from any; each thread has its own recorders, and counts are appended in one step. The sums are
emitted on wsnova-clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from .. import events, process
from ..client.batch import MANY, Behind, ClockedBatch, Counts
from ..client.emitter import Emitter
from ..client.faults import Faults
from ..client.message_events import ERROR, OK, UNHEARD, Recorders, TypedMessages
from ..client.message_types import MessageTypes
from ..client.stuck import WATCHDOG, Hand
from ..link.flag import holding
from ..profiles import Profile
from ..telemetry import Bus
from .foreign_link import Link
from .given import Given

_alive = process.ALIVE
_clock = time.monotonic_ns
_wall = time.time_ns
_PATIENCE: Final = 0.2  # seconds to wait for another thread that emits sums
_RECEIVED: Final = ("", events.MESSAGE_RECEIVED, events.MESSAGE_PROCESS_STARTED, events.MESSAGE_PROCESS_COMPLETED)
_SENT: Final = ("", events.MESSAGE_SENT, "", "")


# A received message, from its arrival to the end of its processing: its opcode and payload, and its recorders.
Span = tuple[tuple[int, bytes], Recorders]


class _Here(threading.local):
    """The calling thread's recorders."""

    def __init__(self, make: Callable[[tuple[str, str, str, str]], TypedMessages]) -> None:
        self.received = make(_RECEIVED)
        self.sent = make(_SENT)


class ForeignMessages:
    """The messages that a foreign client reads and writes."""

    def __init__(self, given: Given, profile: Profile, client_id: str) -> None:
        self.given: Given = given
        self.profile = profile
        self.bus: Bus = given.on
        self.emit: Emitter = Emitter(self.bus, profile, client_id, given.tags or {})
        self.over: bool = False  # closed, or of a parent process
        self._faults = Faults(self.emit, client_id, profile.metadata_filter is not False, None)
        self._link: Link | None = None
        self._closing = False  # closes once the current message is processed
        self._types = MessageTypes()
        self._type_of = given.type_of()
        self._here = _Here(self._messages)
        self._received = ClockedBatch(self._flush_received)
        self._sent = ClockedBatch(self._flush_sent)
        self._flushing = threading.RLock()  # held while sums are emitted; re-entrant for a signal's handler
        self._behind = Behind()
        self._idle = 0  # ns that the reader waited for messages, since the last sums
        self._hand: Hand = (0, 0, None)
        self._number = 0  # of the current message
        self._pinged_ns = 0  # of a ping without a pong

    def _messages(self, typed: tuple[str, str, str, str]) -> TypedMessages:
        slow_ns = round(self.profile.slow_after * 1e9)
        return TypedMessages(slow_ns, self.emit, self._faults, self._types, self._name, typed)

    def _name(self, message: tuple[int, bytes]) -> Any:
        return self._type_of(message)

    def _finish(self) -> None:
        """It is closed, and no message is being processed."""

    def _gone(self) -> bool:
        if not _alive[0]:
            process.in_child()
        return self.over

    # -- messages -----------------------------------------------------------------------------------------------------

    def received(self, payload: bytes, opcode: int, waited: int = 0, size: int | None = None) -> Span:
        """A whole data message has arrived, in the thread that reads; `waited`: ns that it waited for the message,
        without the reading itself. `size`: bytes, for a payload that is not passed whole."""
        size = len(payload) if size is None else size
        message = (opcode, payload)
        if not _alive[0]:
            process.in_child()
        if self.over:
            return message, UNHEARD
        messages, batch = self._here.received, self._received
        if messages.version != self.bus.version and messages.attend():
            WATCHDOG.watch(self)
        if not batch.due:
            messages.tidy()
        recorders = messages.of(message)
        if recorders.received is not None:
            recorders.received(size, _wall())
        batch.counts.append((1, size, 0, 0, 0, 0, messages.untyped))
        if batch.due != batch.flushed_at:
            batch.plan()
        self._idle += waited
        link = self._link
        if link is not None:
            link.arrived_ns = _clock()
        return message, recorders

    def begin(self, span: Span) -> int:
        """Its processing begins, in the same thread; returns the time, ns of the monotonic clock."""
        message, recorders = span
        if recorders.started is not None:
            recorders.started(_wall())
        self._number += 1
        began = _clock()
        self._hand = (began, self._number, message)
        return began

    def processed(self, span: Span, took: int, *, failed: bool = False) -> None:
        """Its processing has ended, after `took` ns; `failed`: it raised."""
        messages, batch, (message, recorders) = self._here.received, self._received, span
        try:
            if not self.over:
                batch.counts.append((0, 0, int(failed), 1, took, took, 0))
                if batch.due != batch.flushed_at or len(batch.counts) >= MANY:
                    batch.plan()
            if failed:
                messages.failed(message, recorders, took)
            elif recorders.completed is not None:
                recorders.completed(took)
            if took > messages.slow_ns:
                messages.slow(message, recorders, took, ERROR if failed else OK)
        finally:
            # Last: another thread that closes the client meanwhile leaves the end to this one.
            self._hand = (0, 0, None)
            if self._closing:
                self._finish()

    def raised(self, error: Exception) -> None:
        """The handler of a message raised; the library continues."""
        if not self._gone():
            self._here.received.raised(error)

    def ignored(self, span: Span) -> None:
        """The message has no handler."""
        if not self.over:
            self._here.received.ignored(*span)

    @property
    def sending(self) -> Callable[[Counts], None]:
        """A function that counts a message as sent, to be called in the step that sends it: only appends its counts."""
        return self._sent.counts.append

    @property
    def counting(self) -> Callable[[Iterable[Counts]], None]:
        """The same for an iterable that sends as it is consumed."""
        return self._sent.counts.extend

    def sent(self, payload: bytes, opcode: int, size: int | None = None) -> None:
        """A data message was written and counted."""
        if self._gone():
            return
        messages = self._here.sent
        if messages.version != self.bus.version:
            messages.attend()
        recorders = messages.of((opcode, payload))
        if recorders.received is not None:
            recorders.received(len(payload) if size is None else size, _wall())
        elif messages.untyped:  # unknown when it was counted
            self._sent.counts.append((0, 0, 0, 0, 0, 0, 1))
        self._sent.plan()

    def unsent(self) -> None:
        """A data message could not be written."""
        if not self._gone():
            self._sent.count((1, 0, 1, 0, 0, 0, 0))

    def pinged(self) -> None:
        """A ping was written."""
        if self._gone():
            return
        self.missed()
        self._pinged_ns = _clock()
        self.emit(events.HEARTBEAT_SENT, {"system_time": _wall()})

    def ponged(self, rtt: int | None = None) -> None:
        """The pong to the last ping has arrived; `rtt` in ns, measured here if the library does not report it."""
        link = self._link
        if link is not None:
            link.arrived_ns = _clock()
        pinged, self._pinged_ns = self._pinged_ns, 0
        if pinged and not self._gone():
            self.emit(events.HEARTBEAT_RECEIVED, {"rtt": _clock() - pinged if rtt is None else rtt})

    def missed(self) -> None:
        """The last ping's pong did not arrive in time."""
        pinged, self._pinged_ns = self._pinged_ns, 0
        if pinged and not self._gone():
            self.emit(events.HEARTBEAT_MISSED, {"system_time": _wall()})

    # -- the watchdog for stuck handlers ------------------------------------------------------------------------------

    def in_hand(self) -> Hand:
        """Any thread: the message that is being processed."""
        return self._hand

    def kind_of(self, message: Any) -> str:
        """Any thread: the type of a message."""
        return self._here.received.kind_of(message)

    def look(self, now_ns: int) -> None:
        """wsnova-clock: nothing to do, because the clock emits all sums anyway."""

    # -- sums ---------------------------------------------------------------------------------------------------------

    def _flush_received(self) -> None:
        self._flush(self._emit_received)

    def _flush_sent(self) -> None:
        self._flush(self._emit_sent)

    def _flush(self, emit: Callable[[], bool]) -> None:
        """When this returns, sums that another thread has taken are emitted too: closing the client, or a flush at the
        end of the process, leaves nothing behind."""
        if not holding(self._flushing, _PATIENCE, emit):
            emit()

    def _emit_received(self) -> bool:
        sums, link = self._received.take(), self._link
        if sums is None:
            return True
        idle, self._idle = min(self._idle, sums["window"]), 0
        if link is not None:
            waiting, window = link.waiting(), sums["window"]
            late = self._behind.reckon(waiting, sums["total_size"], window - idle, window)
            sums |= {"waiting_bytes": waiting, "idle": idle, "behind": late}
        self.emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="received")
        if self._hand[0] and not self.over:  # messages that wait meanwhile are emitted too
            self._received.open(_clock())
            self._received.plan()
        return True

    def _emit_sent(self) -> bool:
        sums = self._sent.take()
        if sums is not None:
            self.emit(events.MESSAGE_BATCH_PROCESSED, sums, direction="sent")
        return True
