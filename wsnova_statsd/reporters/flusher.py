"""`wsnova-flush`: the thread that flushes at every interval and ships what cannot wait. It cannot die of what it does.

`ensure` starts it, or another in place of a dead one; never on the hot path. A daemon: it holds no process up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from .. import process
from ..log_limit import LOG_EVERY, LogLimit
from ..redaction import log_fault

_log = logging.getLogger(__name__)


class Flusher:
    """Calls `flush` every `interval` seconds, without drift, and `urgent` soon after `wake`. Every method from any
    thread; a new one is made in a child."""

    def __init__(self, interval: float, flush: Callable[[], object], urgent: Callable[[], object]) -> None:
        self._interval = interval
        self._flush = flush
        self._urgent = urgent
        self.wanted = False  # whether the thread should run; set before `ensure`
        self._lock = threading.Lock()  # guards _thread and restarts
        self._wake = threading.Event()  # replaced with each thread, which lives as long as its own is the current one
        self._thread: threading.Thread | None = None
        self._log_limit = LogLimit()
        self.errors = 0
        self.last_error: str | None = None
        self.restarts = 0

    def ensure(self) -> None:
        """Start the thread if it should run and does not."""
        if not self.wanted or (self._thread is not None and self._thread.is_alive()):
            return
        with self._lock:
            if not self.wanted or (self._thread is not None and self._thread.is_alive()):
                return
            wake = threading.Event()
            thread = threading.Thread(target=self._run, args=(wake,), name=process.thread_name("flush"), daemon=True)
            self._wake, before = wake, self._wake
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, and its exit hook flushes; or the next call has more luck
                self._wake = before
                return
            self.restarts += self._thread is not None
            self._thread = thread

    def wake(self) -> None:
        """Something wants to leave at once."""
        self._wake.set()

    def stop(self, deadline: float) -> None:
        """End the thread, by the deadline on time.monotonic() or with the flush that it is in."""
        with self._lock:
            self.wanted = False
            thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, wake: threading.Event) -> None:
        due = time.monotonic() + self._interval
        while self.wanted and self._wake is wake:
            try:
                woken = wake.wait(max(0.0, due - time.monotonic()))
                wake.clear()
                now = time.monotonic()
                if not self.wanted:
                    break
                if now >= due:
                    due += self._interval * (1 + (now - due) // self._interval)
                    self._flush()
                elif woken:
                    self._urgent()
            except BaseException as error:  # SystemExit too: nobody has a reason to end this thread by raising in it
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self.errors += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if self._log_limit.due():
            log_fault(
                _log,
                error,
                "the StatsD flush failed, and goes on; further faults of it are not logged for %d s",
                LOG_EVERY,
            )
