"""Ownership of a connection: the one thread that reads it, decodes, handles and emits.

Any thread may ask. Taking the ownership is one step, and releasing it is another: `hold.pop(THREAD, None)`, a single
interpreter call that stands in a `finally` and enters no method of ours, where a signal's handler could raise. A
signal's handler may ask in the midst of either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ..errors import ConfigurationError
from ..link.flag import Changes

THREAD: Final = "thread"
STANDS_IN: Final = "stands in"
_NEXT: Final = "next"
_SOON: Final = 0.2  # seconds to wait for an owner that is not about to release it
# Belongs to a thread that wants the ownership or has it; once released, it links to the next hold.
Hold = dict[str, Any]


class Ownership:
    """The ownership of one connection. `closing` returns whether its owner is about to release it."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        self._closing = closing
        self._last: Hold = {}
        self._freed = Changes()
        self.freed: Callable[[], None] = self._freed.announce  # it was released: waiting threads look at once
        self.wanted: list[object] = []  # threads that wait to become the owner

    def mine(self) -> bool:
        """True in the owner's thread."""
        return bool(self._latest().get(THREAD) == threading.get_ident())

    def wish(self) -> Hold:
        """A hold for this thread to `take`; release it by `hold.pop(THREAD, None)` and `freed`. Raises
        ConfigurationError if this thread is the owner already."""
        if self.mine():
            raise ConfigurationError("this client is already being iterated in this thread; leave that loop first")
        return {THREAD: threading.get_ident()}

    def if_free(self, work: Callable[[], object], wait: float = 0.0) -> bool:
        """Do this as the owner. False, and nothing is done, if another thread is the owner for `wait` seconds."""
        if self.mine():
            return False
        hold = self.wish()
        try:
            if not self._take(hold, wait):
                return False
            work()
        finally:
            hold.pop(THREAD, None)
            self.freed()
        return True

    def enter(self, hold: Hold) -> bool:
        """Become the owner, if there is none, until `hold.pop(THREAD, None)` and `freed`. With STANDS_IN in the hold,
        only for a while: at most until another thread has `wanted` it."""
        latest = self._last
        if THREAD in latest or _NEXT in latest or latest.setdefault(_NEXT, hold) is not hold:
            return self._try(hold)
        self._last = hold
        return True

    @property
    def standing_in(self) -> bool:
        """True if the owner will release it once there is a link, or an answer."""
        latest = self._latest()
        return THREAD in latest and STANDS_IN in latest

    def have_stand_in(self, work: Callable[[], object], name: str) -> None:
        """Have a thread of this name do this as the owner, unless one does. Raises RuntimeError if it cannot start."""
        if not self.standing_in:
            threading.Thread(target=self.if_free, args=(work,), name=name, daemon=True).start()

    def stand_in(self) -> None:
        """The owner will release it once there is a link."""
        self._latest()[STANDS_IN] = True

    def take(self, hold: Hold, until: float | None = None) -> None:
        """Become the owner. Raises ConfigurationError if another thread remains the owner, TimeoutError at `until`
        (time.monotonic())."""
        me = object()
        try:
            self.wanted.append(me)
            self._wait_for_turn(hold, until)
        finally:
            if me in self.wanted:
                self.wanted.remove(me)

    def _wait_for_turn(self, hold: Hold, until: float | None) -> None:
        while True:
            passing = self.standing_in or self._closing()
            if self._take(hold, _SOON):
                return
            if not passing and not self.standing_in and not self._closing():
                raise ConfigurationError(
                    "this client is already being iterated in another thread; only one thread may iterate at a time"
                )
            if until is not None and time.monotonic() >= until:
                raise TimeoutError("no message within the timeout; the client is still connecting")

    def _take(self, hold: Hold, wait: float) -> bool:
        until = time.monotonic() + wait
        while not self._try(hold):
            left = until - time.monotonic()
            if left <= 0:
                return False
            # Not for long: an owner may be interrupted before it announces that it released it.
            self._freed.wait_for(lambda: THREAD not in self._latest(), min(left, _SOON))
        return True

    def _latest(self) -> Hold:
        latest = self._last
        while (later := latest.get(_NEXT)) is not None:
            latest = self._last = later
        return latest

    def _try(self, hold: Hold) -> bool:
        while THREAD not in (latest := self._latest()):
            latest.setdefault(_NEXT, hold)  # the first hold wins
        return latest is hold
