"""A threading.Event that takes next to no memory while nobody waits: a client has four, and may be one of thousands.

`set`, `clear` and `wait` in any thread. It has no lock, so that a signal's handler may set what it interrupts.
"""

from __future__ import annotations

import threading


class Flag:
    """Set or not; `wait` until it is."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[threading.Event] = []  # one for each thread that waits

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake whoever waits."""
        self._set = True
        for event in self._waiting.copy():
            event.set()

    def clear(self) -> None:
        """Take it back, but not from those that it woke."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is set; False after `timeout` seconds."""
        if self._set:
            return True
        event = threading.Event()
        self._waiting.append(event)  # before the second look: what is set after that look wakes the event
        try:
            return self._set or event.wait(timeout)
        finally:
            self._waiting.remove(event)
