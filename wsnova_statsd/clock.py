"""The process's clock thread, `wsnova-clock`: runs small jobs that are due, one after the other.

For what may take time and must not hold up a connection: batch sums of a sender, token refresh, samplers, alerts. The
thread starts with the first job and is a daemon; a forked child starts with none. `call_later` and `cancel` from any
thread; jobs run in the clock's thread, and what they raise is logged.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from . import process
from .redaction import log_fault

_log = logging.getLogger(__name__)


class Job:
    """One job to come. `cancel` before it begins keeps it from running."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], object]) -> None:
        self.work: Callable[[], object] | None = work

    def cancel(self) -> None:
        """Forget the job, and with it what it refers to."""
        self.work = None


class Clock:
    """A heap of jobs and the thread that runs them."""

    def __init__(self) -> None:
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the parent's jobs and thread are not here."""
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()  # guards the fields below; re-entrant, for what a signal's handler asks
        self._heap: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count()  # two jobs of one moment keep their order, and are never compared
        self._thread: threading.Thread | None = None
        self._number = 0  # of the thread that goes on

    def call_later(self, seconds: float, work: Callable[[], object]) -> Job:
        """Run `work` in the clock's thread after `seconds`."""
        if not process.ALIVE[0]:
            process.in_child()
        job = Job(work)
        with self._changed:
            heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._numbers), job))
            if self._thread is None or not self._thread.is_alive():
                self._start_locked()
            elif self._heap[0][2] is job:
                self._changed.notify()
        return job

    def _start_locked(self) -> None:
        """A signal's handler may do the same in the midst of it: the thread that was made last goes on."""
        self._number = number = self._number + 1
        thread = threading.Thread(target=self._run, args=(number,), name=process.thread_name("clock"), daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is ending, and so is what the job was for
            thread.start()
            if self._number == number:
                self._thread = thread

    def _run(self, number: int) -> None:
        changed = self._changed
        while True:
            with changed:
                while self._number == number and (not self._heap or self._heap[0][0] > time.monotonic()):
                    changed.wait(
                        min(self._heap[0][0] - time.monotonic(), threading.TIMEOUT_MAX) if self._heap else None
                    )
                if self._number != number:
                    return
                _, _, job = heapq.heappop(self._heap)
            work, job.work = job.work, None
            if work is not None:
                try:
                    work()
                except BaseException as error:  # SystemExit too: the jobs of others wait behind this one
                    log_fault(_log, error, "a job of the clock failed")
            del work, job  # an idle clock keeps nothing alive


CLOCK = Clock()
