"""Where a client stands. Plain data."""

from __future__ import annotations

from enum import Enum, IntEnum


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
