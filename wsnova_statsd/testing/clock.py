"""A clock that moves only when a test advances it.

Threads: call every method from any thread. Never sleeps, never reads the real time.
"""

from __future__ import annotations

import threading
from typing import Final

_NANOSECONDS: Final = 1_000_000_000


class FakeClock:
    """Seconds for code that takes a clock and a sleep function: pass the object and its `sleep`.

    `start` is the first reading in seconds. Time is kept in whole nanoseconds, so a thousand steps of a tenth of a
    second are exactly a hundred seconds.
    """

    def __init__(self, start: float = 1_000.0) -> None:
        self._lock = threading.Lock()  # guards _now and _sleeps
        self._now = round(start * _NANOSECONDS)
        self._sleeps: list[float] = []

    def __call__(self) -> float:
        """The time in seconds, as `time.monotonic` returns it."""
        return self.ns() / _NANOSECONDS

    def __repr__(self) -> str:
        return f"FakeClock({self():.9f})"

    def ns(self) -> int:
        """The time in nanoseconds, as `time.monotonic_ns` returns it."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        """Advance by this many seconds. Raises ValueError for a negative number: a monotonic clock never goes back."""
        self._move(seconds, slept=False)

    def sleep(self, seconds: float) -> None:
        """Advance by this many seconds, record the call and return at once. Raises ValueError as `time.sleep` does."""
        self._move(seconds, slept=True)

    @property
    def sleeps(self) -> list[float]:
        """The arguments of every `sleep` so far, in order; a copy."""
        with self._lock:
            return list(self._sleeps)

    def _move(self, seconds: float, *, slept: bool) -> None:
        if not seconds >= 0:  # written so that it refuses NaN too
            raise ValueError(f"a fake clock can only advance by zero seconds or more, got {seconds!r}")
        with self._lock:
            self._now += round(seconds * _NANOSECONDS)
            if slept:
                self._sleeps.append(seconds)
