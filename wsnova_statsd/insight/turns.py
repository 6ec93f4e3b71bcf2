"""Turns: pieces of work that run one at a time, even if a signal handler interrupts one of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final


class Turns:
    """Call `take(work)` from any thread. While a thread holds `lock`, the work of other threads waits."""

    __slots__ = ("_busy", "_work", "lock")

    def __init__(self) -> None:
        self.lock: Final = threading.RLock()  # guards what the work changes; the ends of the deque are atomic
        self._work: deque[Callable[[], object]] = deque()
        self._busy = False

    def take(self, work: Callable[[], object]) -> None:
        """Run a piece of work under the lock: now or, if this thread is in the midst of another piece, right after it.

        Waits for other threads, never for this one. Raises what the work raises.
        """
        with self.lock:
            self._work.append(work)
            while self._work and not self._busy:  # again, for work that was queued during the last line
                try:
                    self._busy = True
                    while self._work:
                        self._work.popleft()()
                finally:
                    self._busy = False
