"""SIGTERM and Ctrl-C for a command that runs until it is stopped: noted, and waited for, in the main thread.

A signal's handler only notes the signal; a second signal acts as if there were no handler. `wake` may be called from
any thread, also by code of a signal's handler: it takes no lock.
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
    """A context manager that notes both signals while it is active."""

    def __enter__(self) -> Signals:
        self._received: list[int] = []
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
        ends, self._reading, self._writing = (self._reading, self._writing), -1, -1  # a late `wake` has no descriptor
        for end in ends:
            os.close(end)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
        signal.signal(number, self._before[number])

    def wait(self, seconds: float) -> int | None:
        """Wait for a signal and return its number; None after so many seconds, or earlier if woken."""
        if not self._received and select.select([self._reading], [], [], max(0.0, seconds))[0]:
            os.read(self._reading, 1024)
        return self._received[0] if self._received else None

    def wake(self) -> None:
        """End a wait. Any thread."""
        with contextlib.suppress(OSError):  # full, so it is awake anyway; or closed
            os.write(self._writing, b"x")
