"""Exact sums of messages, once a second and direction: the guide's aggregation for high volume (best practice 2).

One writer at a time: the owner for what is received, the holder of the message lock for what is sent.
"""

from __future__ import annotations

import time
from typing import Any, Final

WINDOW_NS: Final = 1_000_000_000


class Batch:
    """Sums since the last flush. `due` is when they are to be told, on time.monotonic_ns(); 0 while there are none."""

    __slots__ = ("_began", "count", "due", "errors", "process_time", "process_time_max", "total_size")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.count = self.total_size = self.errors = self.process_time = self.process_time_max = 0
        self.due = self._began = 0

    def open(self, now_ns: int) -> None:
        """The first message is counted now; the sums are due a window later."""
        self._began = now_ns
        self.due = now_ns + WINDOW_NS

    def add(self, size: int, now_ns: int) -> None:
        """Count one message."""
        self.count += 1
        self.total_size += size
        if not self.due:
            self.open(now_ns)

    def take(self) -> dict[str, Any] | None:
        """The measurements of message.batch_processed, and start over; None if there was nothing."""
        if not self.due:
            return None
        sums = {
            "count": self.count,
            "total_size": self.total_size,
            "errors": self.errors,
            "process_time": self.process_time,
            "process_time_max": self.process_time_max,
            "window": time.monotonic_ns() - self._began,
        }
        self._clear()
        return sums
