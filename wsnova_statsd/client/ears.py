"""Who hears of a message: a recorder for each of its events, made once for each type."""

from __future__ import annotations

from .. import events
from .emitter import Emitter


class Ears:
    """Who hears of messages of one type: a recorder per event, None where nobody does."""

    __slots__ = ("completed", "decoded", "kind", "received", "started")

    def __init__(self, emit: Emitter, client_id: str, kind: str) -> None:
        typed = {"client_id": client_id, "type": kind}
        fine = {**typed, "result": "ok"}
        self.kind = kind
        self.decoded = emit.slot(events.MESSAGE_DECODE_COMPLETED).recorder(("duration", "size"), fine)
        self.received = emit.slot(events.MESSAGE_RECEIVED).recorder(("size", "system_time"), typed)
        self.started = emit.slot(events.MESSAGE_PROCESS_STARTED).recorder(("system_time",), typed)
        self.completed = emit.slot(events.MESSAGE_PROCESS_COMPLETED).recorder(("duration",), fine)
