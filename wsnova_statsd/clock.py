"""The process's clock thread, `wsnova-clock`: runs short jobs when they are due, one after another.

It is for work that takes no time and must not hold up a connection: batch sums of a sender, samples, periodic checks.
A job never waits; work that waits has its own thread. The thread is a daemon and starts with the first job; a forked
child starts without it. Call `call_later` and `cancel` from any thread, also from a signal handler or during garbage
collection. Jobs run in the clock's thread, and what they raise is logged.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

from . import process
from .redaction import log_fault

BEAT_NS: Final = 1_000_000_000
_APART_NS: Final = 1_000_000  # a float's rounding may make a timer for a beat fire slightly early
_log = logging.getLogger(__name__)


class Job:
    """One scheduled job. `cancel` before it begins keeps it from running."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], object]) -> None:
        self.work: Callable[[], object] | None = work

    def cancel(self) -> None:
        """Drop the job and what it refers to."""
        self.work = None


_Entry = tuple[float, int, Job]


class Clock:
    """A heap of jobs and the thread that runs them."""

    def __init__(self) -> None:
        self._reset()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the parent's jobs and thread do not exist here."""
        self._reset()

    def _reset(self) -> None:
        self._phase = os.getpid() * 618_033_989 % BEAT_NS  # so that the processes of a host do not all flush at once
        self._posts: deque[_Entry] = deque()  # from any thread, not in the heap yet
        self._heap: list[_Entry] = []  # used by the clock thread only
        self._numbers = itertools.count()  # keeps two jobs due at the same time in order, without comparing them
        self._thread: threading.Thread | None = None
        self._starting: dict[str, object] = {}  # the first caller to enter itself starts the thread
        self._wakes_at = -math.inf  # when the sleeping thread wakes by itself; -inf while it is awake
        self._sleep = threading.Lock()  # held; released to wake the thread
        self._sleep.acquire()

    def beat(self, now_ns: int) -> int:
        """The next beat, at least a millisecond from now. At each beat, once a second, this process emits all its batch
        sums; its reporters flush right after it. Times are those of time.monotonic_ns()."""
        return now_ns + _APART_NS + BEAT_NS - (now_ns + _APART_NS - self._phase) % BEAT_NS

    def call_later(self, seconds: float, work: Callable[[], object]) -> Job:
        """Run `work` in the clock's thread after `seconds`. Takes no lock once the thread runs."""
        if not process.ALIVE[0]:
            process.in_child()
        job, moment = Job(work), time.monotonic() + seconds
        self._posts.append((moment, next(self._numbers), job))
        self.start()
        if moment < self._wakes_at:
            try:
                self._sleep.release()
            except RuntimeError:  # woken already
                pass
        return job

    def start(self) -> None:
        """Start the thread, so that no later `call_later` needs to."""
        if self._thread is not None and self._thread.is_alive():
            return
        me = object()
        try:
            if self._starting.setdefault("by", me) is me:
                name = process.thread_name("clock")
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()  # last: if a signal handler raises before this line, no second thread results
        except RuntimeError as error:  # at interpreter exit; then the job has no purpose either
            if "shutdown" not in str(error):
                log_fault(_log, error, "cannot start the clock's thread; the next job tries again")
        finally:
            if self._starting.get("by") is me:
                self._starting.clear()

    def _run(self) -> None:
        posts, heap, sleep = self._posts, self._heap, self._sleep
        while True:
            while posts:
                heapq.heappush(heap, posts.popleft())
            now = time.monotonic()
            if heap and heap[0][0] <= now:
                _run_job(heapq.heappop(heap)[2])
                continue
            self._wakes_at = due = heap[0][0] if heap else math.inf
            if not posts:  # a job posted before the line above did not release the lock
                sleep.acquire(True, -1 if due == math.inf else min(due - now, threading.TIMEOUT_MAX))
            self._wakes_at = -math.inf


def _run_job(job: Job) -> None:
    """Run a job and drop it, so that an idle clock keeps nothing alive."""
    work, job.work = job.work, None
    if work is not None:
        try:
            work()
        except BaseException as error:  # SystemExit too: other jobs wait behind this one
            log_fault(_log, error, "a job on the clock thread failed")


def weakly(method: Callable[[], object]) -> Callable[[], None]:
    """The method without a reference that keeps its object alive: for callbacks that the whole process holds."""
    weak = weakref.WeakMethod(method)

    def call() -> None:
        alive = weak()
        if alive is not None:
            alive()

    return call


CLOCK = Clock()
