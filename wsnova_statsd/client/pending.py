"""What clients have summed up and not emitted: message sums, and the time without a link. A reporter that is about to
flush has it emitted. A flush of its thread comes right after a beat, with which all sums left already but those of an
owner that is busy; any other one brings home what it can.

`emit_pending` from any thread; the events are emitted by wsnova-clock, where a slow handler holds up no flush for
longer than a moment.
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
_RUNNING: Final = Phase.RUNNING  # a look-up in an enum takes as long as a call


class Pending(Protocol):
    """What has sums."""

    def has_sums(self, by: float) -> bool:
        """Whether some are due by this time, on time.monotonic_ns()."""

    def emit_sums(self, by: float) -> None:
        """Emit those; on wsnova-clock."""


class OfLifecycle:
    """The sums of a client that was started."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def has_sums(self, by: float) -> bool:
        """Whether some are due by this time, on time.monotonic_ns()."""
        lifecycle = self._lifecycle
        if lifecycle.phase > _RUNNING:
            return False
        batch, sender = lifecycle.receiver.batch, lifecycle.sender
        return 0 < batch.due <= by or 0 < sender.due <= by or lifecycle.connection.downtime.runs

    def emit_sums(self, by: float) -> None:
        """Emit those. On wsnova-clock, beside the owner, who may emit the same sums: each count leaves once."""
        receiver, sender = self._lifecycle.receiver, self._lifecycle.sender
        if 0 < receiver.batch.due <= by:
            receiver.flush()
            if receiver.in_hand()[0]:  # the watchdog goes on while a handler runs
                receiver.batch.open(time.monotonic_ns())
        if 0 < sender.due <= by:
            sender.flush()
        self._lifecycle.connection.downtime.emit()


def emit_pending(clients: Iterable[Pending], *, overdue: bool) -> None:
    """Emit what these have pending, or only what is `overdue`; returns once that is done, or after a moment."""
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
