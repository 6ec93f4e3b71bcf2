"""Who holds which client id: on a bus each id is one client's, from its start to its end.

Metrics, checks and alerts know a client by its id; two of one id would end each other's state. Held weakly, and by no
client of a parent process. Any thread, and code of a signal's handler that interrupts another call.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Final

from .. import process
from ..errors import ClientIdInUse
from ..telemetry import Bus
from .state import State

if TYPE_CHECKING:
    from .lifecycle import Lifecycle

_PATIENCE: Final = 1.0  # seconds for the end of a client that is closed, or was collected


class Ids:
    """The ids that are held in this process."""

    def __init__(self) -> None:
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the clients are the parent's."""
        self._lock = threading.RLock()  # guards the holders; again for a signal's handler
        self._holders: weakref.WeakValueDictionary[tuple[Bus, str], Lifecycle] = weakref.WeakValueDictionary()

    def hold(self, bus: Bus, client_id: str, holder: Lifecycle) -> None:
        """Hold this id until the holder is over. Raises ClientIdInUse if another one holds it."""
        while (other := self._first(bus, client_id, holder)) is not holder:
            state = other.connection.state
            ends = state is State.CLOSED or other.client() is None  # nothing comes of it but its last events
            if not (ends and other.wait(_PATIENCE)):
                raise ClientIdInUse(
                    f"client_id {client_id!r} belongs to another client on this bus, which is {state.value}; close "
                    "that one, or give this one another id"
                )

    def _first(self, bus: Bus, client_id: str, holder: Lifecycle) -> Lifecycle:
        with self._lock:
            other = self._holders.get((bus, client_id))
            if other is None or other.over:
                self._holders[bus, client_id] = other = holder
            return other


IDS: Final = Ids()
