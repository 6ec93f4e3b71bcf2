"""Who owns a connection: the one thread that reads it, decodes, handles and emits.

Any thread asks. Taking it and letting go are one step each, and known by the holder's thread: a signal's handler may
ask in the midst of either, and raise there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from ..errors import ConfigurationError
from .flag import Changes, Turn

_SOON: Final = 0.2  # seconds to wait for an owner that is not about to let go


class Ownership:
    """The ownership of one connection. `closing` says whether its holder is about to let go."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        self._closing = closing
        self._turn = Turn()  # its holder is a thread's identifier
        self._freed = Changes()
        self.standing_in = False  # held by a thread that lets go once there is a link, or an answer
        self._waiting: list[int] = []  # threads that wait for their turn

    def mine(self) -> bool:
        """True in the holder's thread."""
        return self._turn.holder() == threading.get_ident()

    def held(self, until: float | None = None) -> _Held:
        """Be the owner in a `with` block. Raises ConfigurationError if another thread stays it, TimeoutError at
        `until` (time.monotonic())."""
        if self.mine():
            raise ConfigurationError("this client is already being iterated in this thread; leave that loop first")
        return _Held(self, until)

    def if_free(self, work: Callable[[], object], wait: float = 0.0) -> bool:
        """Do this as the owner. False, and nothing is done, if there is another one for `wait` seconds."""
        if self.mine():
            return False
        try:
            if not self._take(wait):
                return False
            work()
        finally:
            self.release()
        return True

    def enter(self) -> bool:
        """Become the owner, if there is none, until `release`."""
        return self._turn.holder() is None and self._turn.take(threading.get_ident())

    def stand_in(self, work: Callable[[], object], name: str) -> None:
        """Have a thread of this name do this as the owner, unless there is one. Raises RuntimeError if none is left."""
        if not self.standing_in:
            threading.Thread(target=self.if_free, args=(partial(self._stand_in, work),), name=name, daemon=True).start()

    def _stand_in(self, work: Callable[[], object]) -> None:
        self.standing_in = True  # until its release
        work()

    def borrow(self) -> bool:
        """Become the owner for a while, if there is none: until `release`, or until another thread has `wanted` it."""
        if not self._turn.take(threading.get_ident()):
            return False
        self.standing_in = True
        return True

    @property
    def wanted(self) -> bool:
        """Another thread waits to become the owner."""
        return bool(self._waiting)

    def wait_for_turn(self, until: float | None) -> None:
        """Become the owner. Raises as `held`."""
        if self._turn.take(threading.get_ident()):
            return
        self._waiting.append(0)
        try:
            self._wait_for_turn(until)
        finally:
            self._waiting.pop()

    def _wait_for_turn(self, until: float | None) -> None:
        while True:
            passing = self.standing_in or self._closing()
            if self._take(_SOON):
                return
            if not passing and not self.standing_in and not self._closing():
                raise ConfigurationError(
                    "this client is already being iterated in another thread; only one thread may iterate at a time"
                )
            if until is not None and time.monotonic() >= until:
                raise TimeoutError("no message in time; the client is connecting")

    def _take(self, wait: float) -> bool:
        me = threading.get_ident()
        return self._freed.wait_for(lambda: self._turn.take(me), wait) or self._turn.take(me)

    def release(self) -> None:
        """Let go; nothing happens in any other thread than the holder's."""
        if self.standing_in and self.mine():
            self.standing_in = False
        if self._turn.give_back(threading.get_ident()):
            self._freed.announce()


class _Held:
    """A `with` block of an owner."""

    def __init__(self, ownership: Ownership, until: float | None) -> None:
        self._ownership = ownership
        self._until = until

    def __enter__(self) -> None:
        try:
            self._ownership.wait_for_turn(self._until)
        except BaseException:  # also what a signal's handler raised once it was taken
            self._ownership.release()
            raise

    def __exit__(self, *_raised: object) -> None:
        self._ownership.release()
