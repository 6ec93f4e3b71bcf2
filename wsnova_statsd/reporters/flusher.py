"""`wsnova-flush`: the thread that flushes at every interval and ships what cannot wait. It cannot die of what it does.

`ensure` starts it, or another in place of a dead one; never on the hot path. A daemon: it holds no process up. No lock:
a new row, an event or a flush may come from code of a signal's handler that interrupts any of these methods.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from .. import process
from ..clock import BEAT_NS, CLOCK
from ..log_limit import LOG_EVERY, LogLimit
from ..redaction import log_fault

_AFTER_THE_BEAT: Final = 0.05  # seconds, for owners that emit their sums then
_log = logging.getLogger(__name__)


class Flusher:
    """Calls `flush` every `interval` seconds, without drift, and `urgent` soon after `wake`. Every method from any
    thread; a new one is made in a child."""

    def __init__(self, interval: float, flush: Callable[[], object], urgent: Callable[[], object]) -> None:
        self._interval = interval
        self._flush = flush
        self._urgent = urgent
        self.wanted: bool = False  # whether the thread should run; set before `ensure`
        self._wake: SimpleQueue[None] = SimpleQueue()  # of the current thread; another one has to end
        self._thread: threading.Thread | None = None
        self._log_limit = LogLimit()
        self.errors: int = 0
        self.last_error: str | None = None
        self.restarts: int = 0

    def ensure(self) -> None:
        """Start the thread if it should run and does not. If two start one at once, the first one ends."""
        if not self.wanted or (self._thread is not None and self._thread.is_alive()):
            return
        wake: SimpleQueue[None] = SimpleQueue()
        thread = threading.Thread(target=self._run, args=(wake,), name=process.thread_name("flush"), daemon=True)
        self._wake = wake
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, and its exit hook flushes; or the next call has more luck
            return
        if self._wake is wake:
            self.restarts += self._thread is not None
            self._thread = thread

    def wake(self) -> None:
        """Something wants to leave at once."""
        self._wake.put(None)

    def stop(self, deadline: float) -> None:
        """End the thread, by the deadline on time.monotonic() or with the flush that it is in."""
        self.wanted = False
        thread, self._thread = self._thread, None
        self._wake.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, wake: SimpleQueue[None]) -> None:
        due = _first_flush(self._interval)
        while self.wanted and self._wake is wake:
            try:
                woken = _waited(wake, due - time.monotonic())
                now = time.monotonic()
                if not self.wanted or self._wake is not wake:
                    break
                if now >= due:
                    due += self._interval * (1 + (now - due) // self._interval)
                    self._flush()
                elif woken:
                    self._urgent()
            except BaseException as error:  # SystemExit too: it must not end this thread
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self.errors += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if self._log_limit.due(error=error):
            log_fault(
                _log,
                error,
                "the StatsD flush failed, and goes on; further faults of it are not logged for %d s",
                LOG_EVERY,
            )


def _first_flush(interval: float) -> float:
    """Within an interval, and right after a beat, with which sums leave; on time.monotonic()."""
    last = time.monotonic_ns() + round(interval * 1e9) - BEAT_NS
    return CLOCK.beat(last) / 1e9 + _AFTER_THE_BEAT


def _waited(wake: SimpleQueue[None], timeout: float) -> bool:
    """Wait to be woken, once for all who did; False after `timeout` seconds."""
    try:
        wake.get(timeout=max(0.0, timeout))
        for _ in range(wake.qsize()):
            wake.get_nowait()
    except Empty:
        return False
    return True
