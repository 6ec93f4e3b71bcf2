"""Exact sums of messages, once a second and per direction: the guide's aggregation for high volume (best practice 2).

Counts are appended to a deque, which any thread and any signal's handler may do; the thread that emits the sums removes
them, so that each count is emitted once. No lock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ..clock import CLOCK
from ..link.flag import move

MANY: Final = 512  # waiting counts, which are then merged into one
# Messages, bytes, messages in error, timed messages, ns that they took, ns of the longest; messages received or sent
# for which the profile emits no event by type.
Counts = tuple[int, int, int, int, int, int, int]


class Batch:
    """What was counted since the last sums. `due` is when the next sums are due, on time.monotonic_ns(); 0 while there
    are none. Code that must count in a single step appends to `counts`, and calls `counted` soon after."""

    __slots__ = ("_began", "counts", "due")

    def __init__(self) -> None:
        self.counts: deque[Counts] = deque()
        self._began = 0
        self.due: int = 0

    def open(self, now_ns: int) -> bool:
        """A message is being processed: the sums are due with the next beat. True if that opens a window."""
        if self.due:
            return False
        self._began = now_ns
        self.due = CLOCK.beat(now_ns)
        return True

    def add(self, counts: Counts) -> None:
        """Count messages, in the open window or in a new one."""
        self.counts.append(counts)
        if not self.due or len(self.counts) >= MANY:
            self.counted()

    def counted(self) -> None:
        """Call after appending to `counts`: merges many counts into one, and opens a window with the first."""
        if len(self.counts) >= MANY:
            taken: list[Counts] = []
            try:
                move(self.counts, taken)
                taken[:] = [_sum(taken)]
            finally:  # also if a signal's handler raised
                self.counts.extend(taken)
        if not self.due and self.counts:  # last: the sums may have been emitted meanwhile, without these
            self.open(time.monotonic_ns())

    def take(self) -> dict[str, Any] | None:
        """The measurements of message.batch_processed, and close the window; None if none is open."""
        if not self.due:
            return None
        began, now_ns = self._began, time.monotonic_ns()
        taken: list[Counts] = []
        due, self.due = self.due, 0
        try:
            move(self.counts, taken)
            count, size, errors, timed, spent, longest, untyped = _sum(taken)
        except BaseException:  # a signal's handler raised: they are emitted next time
            self.counts.extend(taken)
            self.due = self.due or due
            raise
        return {
            "count": count,
            "total_size": size,
            "errors": errors,
            "processed": timed,
            "process_time": spent,
            "process_time_max": longest,
            "untyped": untyped,
            "window": now_ns - began,
        }


class ClockedBatch(Batch):
    """Sums that wsnova-clock emits by `flush` when they are due, because no other thread would."""

    __slots__ = ("_flush", "flushed_at")

    def __init__(self, flush: Callable[[], object]) -> None:
        super().__init__()
        self._flush = flush
        self.flushed_at: int = -1  # the end of the window for which the clock was last scheduled

    def count(self, counts: Counts) -> None:
        """Count messages, and schedule their emission."""
        self.counts.append(counts)
        if self.due != self.flushed_at or len(self.counts) >= MANY:
            self.plan()

    def plan(self) -> None:
        """Schedule the emission of the sums. `flushed_at` is set after the call: an extra timer does no harm, and one
        that an interrupt prevented is scheduled by the next message."""
        self.counted()
        due = self.due
        if due and due != self.flushed_at:
            CLOCK.call_later((due - time.monotonic_ns()) / 1e9, self._flush)
            self.flushed_at = due


class Behind:
    """How far a reader is behind its feed, in ns: the waiting bytes divided by its rate while busy."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: int = 0  # the last estimate

    def reckon(self, waiting: int, handled: int, busy: int, window: int) -> int:
        """Estimate at the end of a window: bytes waiting, bytes handled, ns busy, and ns of the window."""
        if not waiting:
            self.last = 0
        elif handled:
            self.last = waiting * busy // handled
        else:
            self.last += window
        return self.last


def _sum(taken: list[Counts]) -> Counts:
    if not taken:
        return 0, 0, 0, 0, 0, 0, 0
    count, size, errors, timed, spent, longest, untyped = zip(*taken, strict=True)
    return sum(count), sum(size), sum(errors), sum(timed), sum(spent), max(longest), sum(untyped)
