"""Where a client stands. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Where a client stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # for a retry
    CLOSED = "closed"
    FORKED = "forked"


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a link ended: a bounded reason, free text, and whether it is a fault."""

    reason: str
    detail: str
    fault: bool = True
