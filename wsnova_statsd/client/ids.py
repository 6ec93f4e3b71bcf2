"""Who holds which client id: on a bus each id is one client's, from its start to its end.

Metrics, checks and alerts know a client by its id; two of one id would end each other's state. Held weakly, and by no
client of a parent process. Any thread, and code of a signal's handler that interrupts another call.
"""

from __future__ import annotations

import threading
import weakref
from typing import Final, Protocol

from .. import process
from ..errors import ClientIdInUse
from ..telemetry import Bus
from .state import State

_PATIENCE: Final = 1.0  # seconds for the end of a client that is closed, or was collected


class Holder(Protocol):
    """What holds an id, until it is `over`."""

    @property
    def over(self) -> bool: ...

    @property
    def state(self) -> State:
        """CLOSED if nothing comes of it any more but its last events."""

    def wait(self, timeout: float | None) -> bool:
        """Until it is over; False after `timeout` seconds."""


class Ids:
    """The ids that are held in this process."""

    def __init__(self) -> None:
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the clients are the parent's."""
        self._lock = threading.RLock()  # guards the holders; again for a signal's handler
        self._holders: weakref.WeakValueDictionary[tuple[Bus, str], Holder] = weakref.WeakValueDictionary()

    def hold(self, bus: Bus, client_id: str, holder: Holder) -> None:
        """Hold this id until the holder is over. Raises ClientIdInUse if another one holds it."""
        while (other := self._first(bus, client_id, holder)) is not holder:
            if other.state is not State.CLOSED or not other.wait(_PATIENCE):
                raise in_use(client_id, other)

    def holder(self, bus: Bus, client_id: str) -> Holder | None:
        """Who holds this id."""
        with self._lock:
            other = self._holders.get((bus, client_id))
        return None if other is None or other.over else other

    def _first(self, bus: Bus, client_id: str, holder: Holder) -> Holder:
        with self._lock:
            other = self._holders.get((bus, client_id))
            if other is None or other.over:
                self._holders[bus, client_id] = other = holder
            return other


def in_use(client_id: str, holder: Holder) -> ClientIdInUse:
    """The error for an id that another one holds."""
    return ClientIdInUse(
        f"client_id {client_id!r} belongs to another client on this bus, which is {holder.state.value}; close that "
        "one, or give this one another id"
    )


IDS: Final = Ids()
