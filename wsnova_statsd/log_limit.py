"""At most one log record per minute for each kind of fault; a fault of another class or line is another kind.

Any thread, also code of a signal handler: no lock is taken. Two threads that ask at the same moment may both be
allowed, at the cost of one extra record.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable
from typing import Final

LOG_EVERY: Final = 60.0  # seconds
_MOST: Final = 1000  # kinds that are remembered; above that, those whose time is over are forgotten


class LogLimit:
    """Decides when a kind of fault may be logged again, `every` seconds after its last record. `clock` is monotonic."""

    __slots__ = ("_clock", "_every", "_until")

    def __init__(self, clock: Callable[[], float] = time.monotonic, every: float = LOG_EVERY) -> None:
        self._clock = clock
        self._every = every
        self._until: dict[tuple[Hashable, Hashable], float] = {}

    def due(self, kind: Hashable = None, error: BaseException | None = None) -> bool:
        """True if a record of this kind, and of this error's class and line, may be logged now; the next one is allowed
        after `every` seconds."""
        now, key = self._clock(), (kind, None if error is None else _raised(error))
        if now < self._until.get(key, now):
            return False
        if len(self._until) >= _MOST:
            self._until = {one: until for one, until in self._until.copy().items() if now < until}
        if len(self._until) >= _MOST and key not in self._until:
            return False  # a thousand kinds in one minute are enough
        self._until[key] = now + self._every
        return True

    def forget(self, kind: Hashable) -> None:
        """Allow the next fault of this kind to be logged at once, whatever its class and line."""
        for key in self._until.copy():
            if key[0] == kind:
                self._until.pop(key, None)


def _raised(error: BaseException) -> tuple[str, str, int]:
    """The name of an error's class, and the file and line that raised it."""
    name, file, line = "", "", 0
    with contextlib.suppress(Exception):  # an error whose own attributes raise
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        trace = error.__traceback__
        while trace is not None:
            file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
            trace = trace.tb_next
    return name, file, line
