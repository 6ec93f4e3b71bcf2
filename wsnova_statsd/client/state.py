"""Where a client stands, and how far it has come. Any thread, also code of a signal's handler: no lock."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

from ..link.flag import Changes


class State(Enum):
    """Where a client stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # for a retry
    CLOSED = "closed"
    FORKED = "forked"


class Phase(IntEnum):
    """How far a lifecycle has come; it never goes back."""

    STARTING = 0  # the first link is being made
    RUNNING = 1  # it was made
    ENDED = 2
    FORKED = 3  # this process is a child of the one that started it


_ENDED: Final = Phase.ENDED  # a look-up in an enum takes as long as a call


class Progress:
    """The phase of a lifecycle. It moves forward only, whichever threads and signal handlers reach one at once."""

    def __init__(self) -> None:
        self.phase: Phase = Phase.STARTING
        self._reached = [Phase.STARTING]  # only appended to
        self._changed = Changes()  # of the phase

    def _reach(self, phase: Phase) -> None:
        self._reached.append(phase)
        while self.phase is not (furthest := max(self._reached)):  # again, if another thread went further meanwhile
            self.phase = furthest
        self._changed.announce()

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it in this process."""
        return self.phase >= _ENDED

    def wait(self, timeout: float | None) -> bool:
        """Until it is over; False after `timeout` seconds."""
        return self._changed.wait_for(lambda: self.over, timeout)
