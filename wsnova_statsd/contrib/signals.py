"""SIGTERM and Ctrl-C for a command that runs until it is told to end: noted, and waited for, in the main thread.

A signal's handler only notes the signal; a second one acts as if there were no handler. `wake` may be called from any
thread, also by code of a signal's handler: it takes no lock.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType
from typing import Any, Final

_NOTED: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """A context manager; both signals are noted for as long as it lasts."""

    def __enter__(self) -> Signals:
        self._told: list[int] = []
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        self._woken = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._before: dict[int, Any] = {number: signal.signal(number, self._note) for number in _NOTED}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken)
        ends, self._reading, self._writing = (self._reading, self._writing), -1, -1  # a late `wake` writes nowhere
        for end in ends:
            os.close(end)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._told.append(number)
        signal.signal(number, self._before[number])

    def wait(self, seconds: float) -> int | None:
        """The number of the signal that came; None after so many seconds, or earlier if it was woken."""
        if not self._told and select.select([self._reading], [], [], max(0.0, seconds))[0]:
            os.read(self._reading, 1024)
        return self._told[0] if self._told else None

    def wake(self) -> None:
        """End a wait. Any thread."""
        with contextlib.suppress(OSError):  # full, so it is awake anyway; or over
            os.write(self._writing, b"x")
