"""Exact sums of messages, once a second and direction: the guide's aggregation for high volume (best practice 2).

What is counted is appended to a deque, which any thread and any signal's handler may do; the thread that emits the sums
takes what is there, so that each count leaves once. No lock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ..clock import CLOCK
from ..link.flag import move

MANY: Final = 512  # counts that wait; they are made one then
# Messages, bytes, messages in error, messages that were timed, ns that they took, ns of the longest; messages
# received or sent of which the profile lets out no event of their own.
Counts = tuple[int, int, int, int, int, int, int]


class Batch:
    """What was counted since the sums left last. `due` is when they are to leave next, on time.monotonic_ns(); 0 while
    there are none. Who must count in a single step appends to `counts`, and calls `counted` in time."""

    __slots__ = ("_began", "counts", "due")

    def __init__(self) -> None:
        self.counts: deque[Counts] = deque()
        self._began = 0
        self.due: int = 0

    def open(self, now_ns: int) -> bool:
        """A message is under way: the sums are due with the next beat. True if that begins a window."""
        if self.due:
            return False
        self._began = now_ns
        self.due = CLOCK.beat(now_ns)
        return True

    def add(self, counts: Counts) -> None:
        """Count messages, in the window that is open, or that this begins."""
        self.counts.append(counts)
        if not self.due or len(self.counts) >= MANY:
            self.counted()

    def counted(self) -> None:
        """Messages were counted: many become one, and a window begins with the first."""
        if len(self.counts) >= MANY:
            taken: list[Counts] = []
            try:
                move(self.counts, taken)
                taken[:] = [_sum(taken)]
            finally:  # also if a signal's handler raised
                self.counts.extend(taken)
        if not self.due and self.counts:  # last: the sums may have left meanwhile, without these
            self.open(time.monotonic_ns())

    def take(self) -> dict[str, Any] | None:
        """The measurements of message.batch_processed, and a new window; None while none is open."""
        if not self.due:
            return None
        began, now_ns = self._began, time.monotonic_ns()
        taken: list[Counts] = []
        due, self.due = self.due, 0
        try:
            move(self.counts, taken)
            count, size, errors, timed, spent, longest, untyped = _sum(taken)
        except BaseException:  # a signal's handler raised: they leave next time
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
    """Sums that wsnova-clock emits when they are due, by `flush`: those of messages that no thread waits for."""

    __slots__ = ("_flush", "flushed_at")

    def __init__(self, flush: Callable[[], object]) -> None:
        super().__init__()
        self._flush = flush
        self.flushed_at: int = -1  # the end of the window that the clock was asked for last

    def count(self, counts: Counts) -> None:
        """Count messages, and have them emitted in time."""
        self.counts.append(counts)
        if self.due != self.flushed_at or len(self.counts) >= MANY:
            self.plan()

    def plan(self) -> None:
        """Have the sums emitted in time. Set after the call: a timer too many does no harm, one that an interrupt
        prevented is made by the next message."""
        self.counted()
        due = self.due
        if due and due != self.flushed_at:
            CLOCK.call_later((due - time.monotonic_ns()) / 1e9, self._flush)
            self.flushed_at = due


class Behind:
    """How far a reader is behind its feed, in ns: what waits, by what it handles while it does not wait for input."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: int = 0  # as it was reckoned last

    def reckon(self, waiting: int, handled: int, busy: int, window: int) -> int:
        """At the end of a window of so many ns, of which it was busy for some: bytes that wait, and that it handled."""
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
