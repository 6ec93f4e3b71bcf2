"""Lines that are typed or piped in, handed on one by one until the end of the input.

`wsnova-listen-input`, a daemon, reads the descriptor itself: a thread that held the lock of sys.stdin could not be left
behind at exit. It waits for input with a limit, and does not read a terminal that another program has in front.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Final, TextIO

_LOOK_EVERY: Final = 0.5  # seconds
_READ: Final = 65_536


class TypedLines:
    """Calls `take` with each line, without its end, as bytes; then `over`. Both are called in the thread."""

    def __init__(self, source: TextIO | None, take: Callable[[bytes], object], over: Callable[[], object]) -> None:
        self._descriptor = None if source is None else source.fileno()  # None: the program has no input
        self._take = take
        self._over = over
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wsnova-listen-input", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Read no more, and wait until the line in hand is done with, if that is soon."""
        self._stopping.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        """In the thread; a line that the end of the input cuts off is one, too."""
        rest = b""
        while not self._stopping.is_set():
            data = self._read()
            if data is None:
                continue
            *lines, rest = (rest + data).split(b"\n") if data else ([rest] if rest else []) + [b""]
            for line in lines:
                self._take(line.removesuffix(b"\r"))
                if self._stopping.is_set():
                    return
            if not data:
                self._over()
                return

    def _read(self) -> bytes | None:
        """What there is, b'' at the end, None if there is nothing yet."""
        descriptor = self._descriptor
        if descriptor is None:
            return b""
        try:
            if not _in_front(descriptor):
                self._stopping.wait(_LOOK_EVERY)
                return None
            if not select.select([descriptor], [], [], _LOOK_EVERY)[0]:
                return None
            return os.read(descriptor, _READ)
        except BlockingIOError:
            return None
        except (OSError, ValueError):  # closed, or a terminal that has gone
            return b""


def _in_front(descriptor: int) -> bool:
    """False for this program's own terminal while another one is in front: to read it would stop this program."""
    try:
        return not os.isatty(descriptor) or os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # not its own
        return True
