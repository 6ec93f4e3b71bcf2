"""Waiting and taking turns without a lock, so that a signal's handler may do it in the midst of the same in its thread.

Each step that decides is one call of the interpreter: append, remove, `setdefault`, the release of a waiter's own lock.
They take next to no memory while no thread waits: a client has a few, and may be one of thousands. Any thread.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from itertools import repeat
from typing import TypeVar

_T = TypeVar("_T")


class Changes:
    """Wakes the threads that wait for a condition."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[threading.Lock] = []  # one for each thread that waits, which holds it until it is woken

    def announce(self) -> None:
        """Something has changed: wake every thread that waits."""
        for waiter in self._waiting.copy():
            try:
                waiter.release()
            except RuntimeError:  # woken already
                pass

    def wait_for(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Until the condition holds; False if it does not after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not holds():
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._sleep(holds, left)
        return True

    def _sleep(self, ends: Callable[[], bool], seconds: float | None) -> bool:
        """Until something is announced, unless it need not be waited for any more."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiting.append(waiter)  # before the second look: what changes after that look wakes the waiter
        try:
            return ends() or waiter.acquire(
                True, -1 if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX)
            )
        finally:
            self._waiting.remove(waiter)


class Flag(Changes):
    """What a threading.Event does: set or not; `wait` until it is."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        super().__init__()
        self._set = False

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake every thread that waits."""
        self._set = True
        if self._waiting:
            self.announce()

    def clear(self) -> None:
        """Take it back, but not from those that it woke."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is set; False after `timeout` seconds."""
        return self._set or self._sleep(self.is_set, timeout)


class Turn:
    """Held by one at a time, the first to take it. Its holder is known from the step in which it is taken, so that
    it can be given back whatever interrupts its holder."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, Hashable] = {}

    def take(self, who: Hashable) -> bool:
        """Take it, if it is free. True if `who` holds it, also from before."""
        return self._held.setdefault("by", who) == who

    def holder(self) -> Hashable:
        """Its holder, or None."""
        return self._held.get("by")

    def give_back(self, who: Hashable) -> bool:
        """Let the next one have it; False, and nothing happens, if another one does."""
        if self._held.get("by") != who:
            return False
        self._held.pop("by", None)
        return True


def move(source: deque[_T], target: list[_T] | deque[_T]) -> None:
    """What stands in `source` to the end of `target`, in one step: what a signal's handler raises comes before it or
    after it."""
    with contextlib.suppress(IndexError):  # a signal's handler, or another thread, has taken some first
        target.extend(map(deque.popleft, repeat(source, len(source))))


def holding(lock: threading.RLock, timeout: float, work: Callable[[], bool]) -> bool:
    """Do this with the lock, if it comes free in time, and return what it does. That the lock was taken is known in the
    step that takes it: it is given back wherever a signal's handler raises."""
    free: list[bool] = []
    try:
        free.extend(map(lock.acquire, (True,), (timeout,)))
        return True in free and work()
    finally:
        if True in free:
            lock.release()
