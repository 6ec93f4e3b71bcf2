"""The clients of this process, ours and those of other libraries, as reporters and Monitors see them.

They are asked to emit that they are there, their state, and what they have summed up. Held weakly. Any thread.
"""

from __future__ import annotations

import weakref
from typing import Final, Protocol

from ..profiles import Profile
from ..telemetry import Bus
from .pending import Pending, emit_pending


class Living(Protocol):
    """A client that was made and not collected."""

    @property
    def client_id(self) -> str: ...

    @property
    def bus(self) -> Bus | None: ...

    @property
    def closed(self) -> bool:
        """Its id is free for another one."""

    def announce(self) -> None:
        """Emit that it is there, unless it is over."""

    def asked_by(self, profile: Profile) -> bool:
        """A Monitor with this profile begins: emit the state. True if the client takes the profile of its Monitor, and
        keeps another one until it is started anew."""

    def pending(self) -> Pending | None:
        """What has sums to emit, if anything."""


_living: Final[weakref.WeakSet[Living]] = weakref.WeakSet()


def add(client: Living) -> None:
    """There is such a client."""
    _living.add(client)


def everyone() -> list[Living]:
    """Without a lock: a fork that comes while the clock holds it would leave it locked in a child without clients."""
    while True:
        try:
            return list(_living)
        except RuntimeError:  # one was made meanwhile
            pass


def ask_clients(bus: Bus, profile: Profile) -> list[str]:
    """A Monitor begins on this bus: its clients emit their state. Returns the ids of those that take the profile of
    their Monitor, and keep another one until they are started anew."""
    return sorted(client.client_id for client in everyone() if client.bus is bus and client.asked_by(profile))


def announce(bus: Bus) -> None:
    """Have each client on this bus emit that it is there: for a reporter that starts after them."""
    for client in everyone():
        if client.bus is bus:
            client.announce()


def emit_sums(bus: Bus, *, overdue: bool = False) -> None:
    """Have the clients on this bus emit what they have summed up: for a reporter that is about to flush."""
    found = (client.pending() for client in everyone() if client.bus is bus)
    emit_pending((one for one in found if one is not None), overdue=overdue)


def free_id(host: str) -> str:
    """The host and the lowest number that no living client has. The caller keeps two threads from choosing at once."""
    taken = {client.client_id for client in everyone() if not client.closed}
    number = 1
    while f"{host}-{number}" in taken:
        number += 1
    return f"{host}-{number}"
