"""Reads lines that are typed or piped in, and passes them on one by one until the end of the input.

`wsnova-listen-input`, a daemon thread, reads the descriptor itself: a thread that held the lock of sys.stdin would
block the exit. It waits for input with a limit, and does not read a terminal while another program is in its
foreground.
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
        """Start to read."""
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Stop reading, and wait up to `timeout` seconds until the current line is done."""
        self._stopping.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        """Runs in the thread; an unfinished last line counts, too."""
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
        """The input that has arrived, b'' at the end, None if there is nothing yet."""
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
    """False while another program is in the foreground of this program's terminal: reading would stop this program."""
    try:
        return not os.isatty(descriptor) or os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # not this program's terminal
        return True
