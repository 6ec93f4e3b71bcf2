"""How much may wait for an owner that is away. A plain object; one caller at a time, the one that reads the link.

The inbox is weighed only if it may have passed the limit, or may have shrunk enough: about once per sixteenth of the
limit, not once per read. A waiting message weighs more than its payload, so that a flood of empty ones is bounded too.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_OVERHEAD: Final = 100  # bytes of memory for a waiting message beside its payload


class Room:
    """The room in one link's inbox, `limit` bytes. `full` stays until half of it is free."""

    __slots__ = ("_at", "_count", "_inbox", "_limit", "_told", "full", "weight")

    def __init__(self, inbox: deque[tuple[int, bytes, int]], limit: int) -> None:
        self._inbox = inbox
        self._limit = limit
        self.full = False
        self.weight = 0  # when it was weighed last,
        self._count = 0  # of how many messages,
        self._at = 0  # and what had arrived by then
        self._told = False

    def left(self, messages: int, size: int) -> bool:
        """Whether more may be read, after so many messages of `size` bytes in all since the link began."""
        total = size + _OVERHEAD * messages
        if self.full:
            if len(self._inbox) > self._count * 3 // 4:
                return False
            self.full = self.weigh(total) > self._limit // 2
        elif total - self._at + self.weight > self._limit:
            self.full = self.weigh(total) > self._limit - self._limit // 16
        return not self.full

    def weigh(self, total: int) -> int:
        """The weight of what waits."""
        waiting = list(self._inbox)
        self._count, self._at = len(waiting), total
        self.weight = sum(len(payload) for _, payload, _ in waiting) + _OVERHEAD * len(waiting)
        return self.weight

    def news(self) -> bool:
        """True once per absence, when it is full: not again before the owner has caught up."""
        news = self.full and not self._told
        self._told = self._told or self.full
        return news

    def caught_up(self) -> None:
        """The owner reads, and nothing waits."""
        self.full = self._told = False
