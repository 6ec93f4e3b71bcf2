"""Where a client stands. Plain data."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a client stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # for a retry
    CLOSED = "closed"
    FORKED = "forked"
