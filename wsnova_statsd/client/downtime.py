"""How long a client has had no link, emitted as telemetry.connection.down, piece by piece, during an outage.

`begins` and `ends` are called by the thread that emits that a client started, connected, lost its link or is closed;
`emit` by those and before a flush. No lock: one thread at a time emits, and also emits what others leave to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..link.flag import Turn


class Downtime:
    """The time without a link of one started client. `emit_down` takes nanoseconds, `clock` returns them."""

    __slots__ = ("_at", "_clock", "_emit_down", "_emitted", "_turn")

    def __init__(self, emit_down: Callable[[int], object], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._emit_down = emit_down
        self._clock = clock
        self._at: tuple[int, int | None] = 0, None  # ns of past outages, and since when the current one lasts
        self._emitted = 0  # ns; only for the thread that has the turn
        self._turn = Turn()

    @property
    def runs(self) -> bool:
        """True while there is no link."""
        return self._at[1] is not None

    @property
    def since(self) -> int | None:
        """When the link was lost, in ns of the clock; None while there is one."""
        return self._at[1]

    def begins(self) -> None:
        """There is no link from now on."""
        past, since = self._at
        if since is None:
            self._at = past, self._clock()

    def ends(self) -> None:
        """There is a link, or the client is closed."""
        past, since = self._at
        if since is not None:
            self._at = past + self._clock() - since, None
            self.emit()

    def emit(self) -> None:
        """Emit what was not emitted yet. Returns at once if another thread, or the code that this signal's handler
        interrupts, is emitting: that one also emits the rest of an outage that has ended."""
        again = True
        while again:
            me = object()
            try:
                if not self._turn.take(me):
                    return
                past, since = self._at
                gained = past - self._emitted + (0 if since is None else self._clock() - since)
                self._emitted += gained
                if gained:
                    self._emit_down(gained)
            finally:
                self._turn.give_back(me)
            again = self._at != (past, since)
