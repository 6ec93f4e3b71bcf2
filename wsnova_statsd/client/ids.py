"""The owners of client ids: on a bus each id belongs to one client, from its start to its end.

Metrics, checks and alerts identify a client by its id; two clients with one id would end each other's state. Holders
are held weakly, and forgotten in a forked child. Any thread, and code of a signal's handler that interrupts another
call.
"""

from __future__ import annotations

import threading
import weakref
from typing import Final, Protocol

from .. import process
from ..errors import ClientIdInUse
from ..telemetry import Bus
from .state import State

_PATIENCE: Final = 1.0  # seconds to wait for a client that is closed, or was collected, to end


class Holder(Protocol):
    """The holder of an id, until it is `over`."""

    @property
    def over(self) -> bool: ...

    @property
    def state(self) -> State:
        """CLOSED if only its last events are still to come."""

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is over; False after `timeout` seconds."""


class Ids:
    """The ids that are held in this process."""

    def __init__(self) -> None:
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the clients are the parent's."""
        self._lock = threading.RLock()  # guards the holders; re-entrant for a signal's handler
        self._holders: weakref.WeakValueDictionary[tuple[Bus, str], Holder] = weakref.WeakValueDictionary()

    def hold(self, bus: Bus, client_id: str, holder: Holder) -> None:
        """Hold this id until the holder is over. Raises ClientIdInUse if another holder has it."""
        while (other := self._first(bus, client_id, holder)) is not holder:
            if other.state is not State.CLOSED or not other.wait(_PATIENCE):
                raise in_use(client_id, other)

    def holder(self, bus: Bus, client_id: str) -> Holder | None:
        """The holder of this id, or None."""
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
    """The error for an id that is already held."""
    return ClientIdInUse(
        f"client_id {client_id!r} belongs to another client on this bus, which is {holder.state.value}; close that "
        "client, or pass another id"
    )


IDS: Final = Ids()
