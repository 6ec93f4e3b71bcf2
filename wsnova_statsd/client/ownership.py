"""Who owns a connection: the one thread that reads it, decodes, handles and emits. A lock that knows its holder.

In callback mode `wsnova-client-<id>` holds it for as long as it lives; else the thread that iterates or receives does,
while it does. Any thread asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from ..errors import ConfigurationError

_SOON: Final = 0.2  # seconds to wait for a holder that is not about to let go


class Ownership:
    """The ownership of one life. `passing` says whether its holder, if it is another thread, will soon let go."""

    def __init__(self, passing: Callable[[], bool]) -> None:
        self._passing = passing
        self._lock = threading.Lock()
        self._holder: int | None = None  # written by the holder

    def mine(self) -> bool:
        """True in the holder's thread."""
        return self._holder == threading.get_ident()

    def held(self, until: float | None = None) -> Ownership:
        """Be the owner from here to the end of a `with` block. Raises ConfigurationError if another thread stays it,
        TimeoutError at `until`."""
        if self.mine():
            raise ConfigurationError("the client is being iterated in this very thread; leave that loop first")
        while True:
            soon = self._passing()
            if self._lock.acquire(timeout=_SOON):
                break
            if not soon and not self._passing():
                raise ConfigurationError("another thread iterates over this client; only one thread at a time may")
            if until is not None and time.monotonic() >= until:
                raise TimeoutError("no message in time; the client is connecting again")
        self._holder = threading.get_ident()
        return self

    def __enter__(self) -> None:
        """Held already."""

    def __exit__(self, *_raised: object) -> None:
        self._holder = None
        self._lock.release()

    def if_free(self, work: Callable[[], object], wait: float = 0.0) -> bool:
        """Do this as the owner. False, and nothing is done, if there is another one for `wait` seconds."""
        if not self._lock.acquire(timeout=wait):
            return False
        self._holder = threading.get_ident()
        with self:
            work()
        return True
