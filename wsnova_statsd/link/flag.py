"""Waiting and turns without a lock, so that a signal's handler may use them while it interrupts the same operation.

Each step that decides is one interpreter call: append, remove, `setdefault`, the release of a waiter's own lock. They
use almost no memory while no thread waits: a client has several, and there may be thousands of clients. Any thread.
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
        self._waiting: list[threading.Lock] = []  # one for each waiting thread, which blocks on it until woken

    def announce(self) -> None:
        """Something has changed: wake every thread that waits."""
        for waiter in self._waiting.copy():
            try:
                waiter.release()
            except RuntimeError:  # woken already
                pass

    def wait_for(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until the condition holds; False if it does not within `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not holds():
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._sleep(holds, left)
        return True

    def _sleep(self, ends: Callable[[], bool], seconds: float | None) -> bool:
        """Sleep until something is announced, unless the condition already holds."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiting.append(waiter)  # before the second check: a change after that check wakes the waiter
        try:
            return ends() or waiter.acquire(
                True, -1 if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX)
            )
        finally:
            self._waiting.remove(waiter)


class Flag(Changes):
    """Like threading.Event: `set` it, `wait` until it is set."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        super().__init__()
        self._set = False

    def is_set(self) -> bool:
        """True if it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake every thread that waits."""
        self._set = True
        if self._waiting:
            self.announce()

    def clear(self) -> None:
        """Reset it; threads that it woke stay awake."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; False after `timeout` seconds."""
        return self._set or self._sleep(self.is_set, timeout)


class Turn:
    """Held by one caller at a time, the first to take it. The step that takes it records its holder, so that it can be
    given back wherever the holder is interrupted."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, Hashable] = {}

    def take(self, who: Hashable) -> bool:
        """Take it, if it is free. True if `who` holds it now, or held it before."""
        return self._held.setdefault("by", who) == who

    def holder(self) -> Hashable:
        """Its holder, or None."""
        return self._held.get("by")

    def give_back(self, who: Hashable) -> bool:
        """Release it; False, and nothing happens, if another holder has it."""
        if self._held.get("by") != who:
            return False
        self._held.pop("by", None)
        return True


def move(source: deque[_T], target: list[_T] | deque[_T]) -> None:
    """Move the items of `source` to the end of `target`, in one step: a signal's handler that raises does so before or
    after it."""
    with contextlib.suppress(IndexError):  # a signal's handler or another thread has taken some first
        target.extend(map(deque.popleft, repeat(source, len(source))))


def holding(lock: threading.RLock, timeout: float, work: Callable[[], bool]) -> bool:
    """Do this with the lock, if it is free in time, and return its result. The step that acquires the lock records it:
    the lock is released wherever a signal's handler raises."""
    free: list[bool] = []
    try:
        free.extend(map(lock.acquire, (True,), (timeout,)))
        return True in free and work()
    finally:
        if True in free:
            lock.release()
