"""At most one log record for each kind of fault and minute.

Any thread, also code of a signal's handler: no lock is taken. Two threads that ask in the same moment may both be
allowed, which costs one record more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final

LOG_EVERY: Final = 60.0  # seconds
_MOST: Final = 1000  # kinds that are remembered; beyond, those whose time is over are forgotten


class LogLimit:
    """Decides when a kind of fault may be logged again, `every` seconds after its last record. `clock` is monotonic."""

    __slots__ = ("_clock", "_every", "_until")

    def __init__(self, clock: Callable[[], float] = time.monotonic, every: float = LOG_EVERY) -> None:
        self._clock = clock
        self._every = every
        self._until: dict[Hashable, float] = {}

    def due(self, kind: Hashable = None) -> bool:
        """True if a record of this kind may be written now; the next one may be after `every` seconds."""
        now = self._clock()
        if now < self._until.get(kind, now):
            return False
        if len(self._until) >= _MOST:
            self._until = {one: until for one, until in self._until.copy().items() if now < until}
        if len(self._until) >= _MOST and kind not in self._until:
            return False  # a thousand kinds in one minute say enough
        self._until[kind] = now + self._every
        return True

    def forget(self, kind: Hashable) -> None:
        """The next fault of this kind may be logged at once."""
        self._until.pop(kind, None)
