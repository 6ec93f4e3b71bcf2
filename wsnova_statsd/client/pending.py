"""What clients have summed up and not emitted: message sums, and the time without a link. A reporter that is about to
flush has it emitted, so that nothing is kept back for another second.

`emit_pending` from any thread; the events are emitted by wsnova-clock, where a slow handler holds up no flush for
longer than a moment.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Final

from ..clock import CLOCK
from .lifecycle import Lifecycle
from .state import Phase

_MOMENT: Final = 0.2  # seconds that a flush waits
_RUNNING: Final = Phase.RUNNING  # a look-up in an enum takes as long as a call


def emit_pending(lifecycles: Iterable[Lifecycle]) -> None:
    """Emit what these clients have pending; returns once that is done, or after a moment."""
    pending = [one for one in lifecycles if one.phase <= _RUNNING and _has_sums(one)]
    if not pending:
        return
    emitted: SimpleQueue[None] = SimpleQueue()

    def emit() -> None:
        try:
            for lifecycle in pending:
                _emit(lifecycle)
        finally:
            emitted.put(None)

    CLOCK.call_later(0.0, emit)
    with contextlib.suppress(Empty):
        emitted.get(timeout=_MOMENT)


def _has_sums(lifecycle: Lifecycle) -> bool:
    return lifecycle.receiver.batch.due > 0 or lifecycle.sender.has_sums or lifecycle.connection.downtime.runs


def _emit(lifecycle: Lifecycle) -> None:
    """wsnova-clock, beside the owner, who may emit the same sums: each count leaves once."""
    receiver = lifecycle.receiver
    receiver.flush()
    if receiver.in_hand()[0]:  # the watchdog goes on while a handler runs
        receiver.batch.open(time.monotonic_ns())
    lifecycle.sender.flush()
    lifecycle.connection.downtime.emit()
