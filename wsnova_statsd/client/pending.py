"""Sums that clients have not emitted yet: message sums, and the time without a link. A reporter that is about to flush
has them emitted. A flush of the reporter's own thread comes right after a beat, which already emitted all sums except
those of a busy owner; any other flush fetches what it can.

`emit_pending` runs in any thread; the events are emitted by wsnova-clock, so that a slow handler delays a flush only
briefly.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from ..clock import CLOCK
from .lifecycle import Lifecycle
from .state import Phase

_MOMENT: Final = 0.2  # seconds that a flush waits
_RUNNING: Final = Phase.RUNNING  # an enum look-up costs as much as a call


class Pending(Protocol):
    """An object with sums."""

    def has_sums(self, by: float) -> bool:
        """True if there are sums due by this time, on time.monotonic_ns()."""

    def emit_sums(self, by: float) -> None:
        """Emit them; on wsnova-clock."""


class OfLifecycle:
    """The sums of a started client."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def has_sums(self, by: float) -> bool:
        """True if there are sums due by this time, on time.monotonic_ns()."""
        lifecycle = self._lifecycle
        if lifecycle.phase > _RUNNING:
            return False
        batch, sender = lifecycle.receiver.batch, lifecycle.sender
        return 0 < batch.due <= by or 0 < sender.due <= by or lifecycle.connection.downtime.runs

    def emit_sums(self, by: float) -> None:
        """Emit them. On wsnova-clock, while the owner may emit the same sums: each count is emitted once."""
        receiver, sender = self._lifecycle.receiver, self._lifecycle.sender
        if 0 < receiver.batch.due <= by:
            receiver.flush()
            if receiver.in_hand()[0]:  # the watchdog continues while a handler runs
                receiver.batch.open(time.monotonic_ns())
        if 0 < sender.due <= by:
            sender.flush()
        self._lifecycle.connection.downtime.emit()


def emit_pending(clients: Iterable[Pending], *, overdue: bool) -> None:
    """Emit the pending sums of these clients, or only `overdue` ones; returns when that is done, or after 0.2 s."""
    by = time.monotonic_ns() if overdue else math.inf
    pending = [one for one in clients if one.has_sums(by)]
    if not pending:
        return
    emitted: SimpleQueue[None] = SimpleQueue()

    def emit() -> None:
        try:
            for one in pending:
                one.emit_sums(by)
        finally:
            emitted.put(None)

    CLOCK.call_later(0.0, emit)
    with contextlib.suppress(Empty):
        emitted.get(timeout=_MOMENT)
