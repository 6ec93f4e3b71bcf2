"""A client's state, and the phase of its lifecycle. Any thread, also code of a signal's handler: no lock."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final

from ..link.flag import Changes


class State(Enum):
    """The state of a client."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # for a retry
    CLOSED = "closed"
    FORKED = "forked"


class Phase(IntEnum):
    """The phase of a lifecycle; it never goes back."""

    STARTING = 0  # the first link is being made
    RUNNING = 1  # the first link was made
    ENDED = 2
    FORKED = 3  # this process is a child of the one that started it


_ENDED: Final = Phase.ENDED  # an enum look-up costs as much as a call


class Progress:
    """The phase of a lifecycle. It only moves forward, even if threads and signal handlers change it at once."""

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
        """True if it has ended in this process."""
        return self.phase >= _ENDED

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is over; False after `timeout` seconds."""
        return self._changed.wait_for(lambda: self.over, timeout)
