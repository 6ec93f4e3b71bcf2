"""The clients of this process, ours and those of other libraries, as reporters and Monitors see them.

They can be asked to emit that they exist, their state, and their pending sums. Held weakly. Any thread.
"""

from __future__ import annotations

import weakref
from typing import Final, Protocol

from ..profiles import Profile
from ..telemetry import Bus
from .pending import Pending, emit_pending


class Living(Protocol):
    """A client that was created and not yet collected."""

    @property
    def client_id(self) -> str: ...

    @property
    def bus(self) -> Bus | None: ...

    @property
    def closed(self) -> bool:
        """True if another client may use its id."""

    def announce(self) -> None:
        """Emit that it exists, unless it is over."""

    def asked_by(self, profile: Profile) -> bool:
        """A Monitor with this profile begins: emit the state. True if the client follows the profile of its Monitor but
        keeps another one until its next start."""

    def pending(self) -> Pending | None:
        """The object that has sums to emit, or None."""


_living: Final[weakref.WeakSet[Living]] = weakref.WeakSet()


def add(client: Living) -> None:
    """Register a client."""
    _living.add(client)


def everyone() -> list[Living]:
    """Takes no lock: a fork while the clock held it would leave it locked in a child without clients."""
    while True:
        try:
            return list(_living)
        except RuntimeError:  # a client was created meanwhile
            pass


def ask_clients(bus: Bus, profile: Profile) -> list[str]:
    """A Monitor begins on this bus: its clients emit their state. Returns the ids of those that follow the profile of
    their Monitor but keep another one until their next start."""
    return sorted(client.client_id for client in everyone() if client.bus is bus and client.asked_by(profile))


def announce(bus: Bus) -> None:
    """Have each client on this bus emit that it exists: for a reporter that starts after them."""
    for client in everyone():
        if client.bus is bus:
            client.announce()


def emit_sums(bus: Bus, *, overdue: bool = False) -> None:
    """Have the clients on this bus emit their sums: for a reporter that is about to flush."""
    found = (client.pending() for client in everyone() if client.bus is bus)
    emit_pending((one for one in found if one is not None), overdue=overdue)


def free_id(host: str) -> str:
    """The host and the lowest number that no living client has. Two threads must not choose at once."""
    taken = {client.client_id for client in everyone() if not client.closed}
    number = 1
    while f"{host}-{number}" in taken:
        number += 1
    return f"{host}-{number}"
