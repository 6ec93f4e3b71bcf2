"""Emits connection.* and heartbeat.*: retries, what a link saw, and its end.

Called by the owner; `seen` and `ended` also by the clock, for an owner that is away, and by a closing thread. One
thread at a time emits what a link saw, in order; a second thread leaves it to the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from .. import events
from ..errors import BufferFull
from ..link.flag import Turn
from ..link.link import Link
from ..link.session import Loss
from .emitter import Emitter
from .faults import Faults


class Ending(Protocol):
    """The facts of a connection for its end event. `end` returns True to the one caller that is to emit it."""

    @property
    def uri(self) -> str: ...

    @property
    def opened_ns(self) -> int: ...

    @property
    def last_byte(self) -> float: ...

    def end(self, who: object) -> bool: ...

    def unend(self, who: object) -> None: ...


class ConnectionEvents:
    """The events of one client's connections."""

    def __init__(self, emitter: Emitter, faults: Faults, max_buffered_bytes: int) -> None:
        self._emit = emitter
        self._faults = faults
        self._limit = max_buffered_bytes
        self._turn = Turn()  # of the thread that emits what a link saw

    def after_fork(self) -> None:
        """In a forked child: another thread of the parent may have held the turn."""
        self._turn = Turn()

    def started(self, uri: str, *, reconnect: bool) -> None:
        """connection.started."""
        self._emit(events.CONNECTION_STARTED, {"system_time": time.time_ns()}, uri=uri, reconnect=reconnect)

    def completed(self, announce: Callable[[], str], duration: int, *, reconnect: bool) -> None:
        """connection.completed; `duration` in nanoseconds. `announce` notes that it is emitted, and returns the URI: as
        the last step before, so that no signal's handler runs between the note and the event."""
        self._emit(events.CONNECTION_COMPLETED, {"duration": duration}, uri=announce(), reconnect=reconnect)

    def success(self, attempt: int, uri: str, duration: int) -> None:
        """connection.reconnect.success; `duration` in nanoseconds, from the loss."""
        self._emit(events.CONNECTION_RECONNECT_SUCCESS, {"attempt": attempt, "duration": duration}, uri=uri)

    def attempt(self, attempt: int, uri: str, waited: float, cause: str) -> None:
        """connection.reconnect.attempt; `waited` in seconds."""
        self._emit(
            events.CONNECTION_RECONNECT_ATTEMPT,
            {"attempt": attempt, "delay": round(waited * 1e9), "system_time": time.time_ns()},
            uri=uri,
            cause=cause,
        )

    def failed(self, attempt: int, uri: str, reason: str, duration: int, *, final: bool) -> None:
        """connection.reconnect.failed; `duration` in nanoseconds."""
        self._emit(
            events.CONNECTION_RECONNECT_FAILED,
            {"attempt": attempt, "duration": duration},
            uri=uri,
            reason=reason,
            final=final,
        )

    def seen(self, link: Link) -> None:
        """Emit what the link saw since the last call, in order; nothing once its end is emitted. Returns at once if
        another thread, or the code that this signal's handler interrupts, is emitting: that one emits ours too."""
        turn, me = self._turn, object()
        while link.session.notices and not link.ended:
            try:
                if not turn.take(me):
                    return
                while link.session.notices and not link.ended:
                    self._emit_notice(*link.session.notices.pop(0))
            finally:
                turn.give_back(me)

    def _emit_notice(self, word: str, number: int) -> None:
        if word == "received":
            self._emit(events.HEARTBEAT_RECEIVED, {"rtt": number})
        elif word == "full":
            error = BufferFull(
                f"{number} bytes wait for a handler, at max_buffered_bytes={self._limit}; reading is paused"
            )
            self._faults.handled(self._faults.occurred(error, "handler", "error"), "paused")
        else:
            event = events.HEARTBEAT_SENT if word == "sent" else events.HEARTBEAT_MISSED
            self._emit(event, {"system_time": time.time_ns()})

    def ended(self, link: Ending, loss: Loss) -> bool:
        """connection.disconnected, once per link whose completion was emitted, by the first thread: returns True to
        that one. If a signal's handler raises before that, the next thread emits it."""
        me, begun = object(), False
        try:
            if link.end(me):
                measured = {
                    "system_time": time.time_ns(),
                    "duration": time.monotonic_ns() - link.opened_ns,
                    "silent": round((time.monotonic() - link.last_byte) * 1e9),
                }
                named = {"uri": link.uri, "reason": loss.reason, "detail": loss.detail}
                begun = True
                self._emit(events.CONNECTION_DISCONNECTED, measured, **named)
            return begun
        except BaseException:
            if not begun:
                link.unend(me)
            raise
