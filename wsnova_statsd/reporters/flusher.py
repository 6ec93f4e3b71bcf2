"""`wsnova-flush`: the thread that flushes at every interval and sends what cannot wait. No exception ends it.

`ensure` starts it, or a new one if it has died; never on the hot path. It is a daemon, so it keeps no process alive. It
takes no lock, because a signal handler that interrupts any of these methods may make a new row, an event or a flush.
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

_AFTER_THE_BEAT: Final = 0.05  # seconds, for the threads of clients that emit their sums at the beat
_log = logging.getLogger(__name__)


class Flusher:
    """Calls `flush` every `interval` seconds, without drift, and `urgent` soon after `wake`. Call every method from any
    thread. A child makes a new Flusher."""

    def __init__(self, interval: float, flush: Callable[[], object], urgent: Callable[[], object]) -> None:
        self._interval = interval
        self._flush = flush
        self._urgent = urgent
        self.wanted: bool = False  # whether the thread should run; set before `ensure`
        self._wake: SimpleQueue[None] = SimpleQueue()  # the current thread's; a thread with another queue has to end
        self._thread: threading.Thread | None = None
        self._log_limit = LogLimit()
        self.errors: int = 0
        self.last_error: str | None = None
        self.restarts: int = 0

    def ensure(self) -> None:
        """Start the thread if it should run but does not. If two callers start one each, the first one ends."""
        if not self.wanted or (self._thread is not None and self._thread.is_alive()):
            return
        wake: SimpleQueue[None] = SimpleQueue()
        thread = threading.Thread(target=self._run, args=(wake,), name=process.thread_name("flush"), daemon=True)
        self._wake = wake
        try:
            thread.start()
        except RuntimeError:  # the interpreter is exiting, and its exit hook flushes; else the next call tries again
            return
        if self._wake is wake:
            self.restarts += self._thread is not None
            self._thread = thread

    def wake(self) -> None:
        """Have the thread send urgent messages now."""
        self._wake.put(None)

    def stop(self, deadline: float) -> None:
        """End the thread, after a flush in progress, and wait for it until the deadline, a time of time.monotonic()."""
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
                "the StatsD flush failed; the flush thread continues; errors like it are not logged again for %d s",
                LOG_EVERY,
            )


def _first_flush(interval: float) -> float:
    """The time of the first flush: within an interval, right after a beat, at which sums are emitted."""
    last = time.monotonic_ns() + round(interval * 1e9) - BEAT_NS
    return CLOCK.beat(last) / 1e9 + _AFTER_THE_BEAT


def _waited(wake: SimpleQueue[None], timeout: float) -> bool:
    """Wait to be woken; several wakes count as one. False after `timeout` seconds."""
    try:
        wake.get(timeout=max(0.0, timeout))
        for _ in range(wake.qsize()):
            wake.get_nowait()
    except Empty:
        return False
    return True
