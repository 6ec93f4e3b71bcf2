"""Who hears of a message: a recorder for each of its events, made once for each type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .. import events
from ..telemetry import EventSlot

TYPED: Final = (
    events.MESSAGE_DECODE_COMPLETED,
    events.MESSAGE_RECEIVED,
    events.MESSAGE_PROCESS_STARTED,
    events.MESSAGE_PROCESS_COMPLETED,
)


class Ears:
    """Who hears of messages of one type: `recorders` of the events of TYPED, None where nobody does. `slots` are those
    of TYPED."""

    __slots__ = ("kind", "recorders")

    def __init__(self, slots: Sequence[EventSlot], client_id: str, kind: str) -> None:
        typed = {"client_id": client_id, "type": kind}
        fine = {**typed, "result": "ok"}
        self.kind = kind
        decoded, received, started, completed = slots
        self.recorders = (  # a tuple: a hot path unpacks it faster than it looks up four attributes
            decoded.recorder(("duration", "size"), fine),
            received.recorder(("size", "system_time"), typed),
            started.recorder(("system_time",), typed),
            completed.recorder(("duration",), fine),
        )
