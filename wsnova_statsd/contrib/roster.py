"""Which foreign client a connection belongs to: a new client, or an existing one.

A program that creates a new app, or a new connection, each time the last one has ended still has one client. A seat
that dials gets its own client again, or a client to the same host whose link has ended. Without an explicit id, a
client to the same address dialled by the same thread comes first, then the one with the lowest number.

Threads: every method from any, and from code of a signal's handler. A forked child begins without clients.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Final

from .. import process
from ..client import living
from ..client.ids import IDS, in_use
from ..errors import ClientIdInUse, ConfigurationError
from ..profiles import Profile
from ..redaction import one_line
from ..telemetry import Bus
from .foreign import Foreign, Seat
from .foreign_link import uri_of
from .given import Given

_log = logging.getLogger(__name__)
_MOST: Final = 1000  # clients that are kept for a next connection: a program may dial many hosts only once


class Roster:
    """The foreign clients of this process that are not closed."""

    def __init__(self) -> None:
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the clients are the parent's."""
        self._lock = threading.RLock()  # guards the fields below; re-entrant for a signal's handler
        self._clients: dict[tuple[Bus, str], Foreign] = {}
        self._reserved: dict[tuple[Bus, str], weakref.ref[Seat]] = {}  # by seats that have not dialled yet

    def reserve(self, given: Given, seat: Seat) -> None:
        """Reserve the explicit id for this seat. Raises ClientIdInUse if another seat has it."""
        if given.client_id is None:
            return
        key = given.on, given.client_id
        with self._own_lock():
            holder, other = IDS.holder(*key), self._reserved.get(key, _no_seat)()
            if isinstance(holder, Foreign) and (holder.seat() is seat or not holder.busy()):
                holder = None
            if holder is not None:
                raise in_use(given.client_id, holder)
            if other is not None and other is not seat:
                raise ClientIdInUse(
                    f"client_id {given.client_id!r} is that of another instrumented app or connection on this bus; "
                    "pass another id"
                )
            self._reserved[key] = weakref.ref(seat)

    def take(self, given: Given, url: str, seat: Seat) -> Foreign | None:
        """The client that this seat dials for. None, with a log record, if its id belongs to another client, or if
        threading was patched meanwhile: waiting for a thread of ours would never end then."""
        with self._own_lock():
            try:
                process.refuse_late_patch()
                self._tidy()
                profile = given.in_force()
                foreign = self._own(given, profile, url, seat) or self._other(given, profile, url, seat)
            except (ClientIdInUse, ConfigurationError) as error:
                _log.error("a connection is not instrumented: %s", one_line(str(error)))
                return None
            foreign.take_seat(seat, given, url)
            self._clients[given.on, foreign.client_id] = foreign
            self._reserved.pop((given.on, foreign.client_id), None)
            return foreign

    def clients(self) -> list[Foreign]:
        """The clients that are not closed."""
        with self._own_lock():
            self._tidy()
            return list(self._clients.values())

    def _own(self, given: Given, profile: Profile, url: str, seat: Seat) -> Foreign | None:
        """The client for which the seat dialled last, or which has the seat's id."""
        mine = [one for one in self._clients.values() if one.seat() is seat and one.bus is given.on]
        if given.client_id is None:
            return next((one for one in mine if one.follows(given, profile)), None)
        holder = self._clients.get((given.on, given.client_id))
        if holder is not None and holder not in mine and holder.busy():
            raise in_use(given.client_id, holder)
        if holder is not None and holder.follows(given, profile):
            return holder
        if holder is not None:  # from now on another client emits under its id
            holder.close()
        return self._new(given, profile, given.client_id, url)

    def _other(self, given: Given, profile: Profile, url: str, seat: Seat) -> Foreign:
        """A client to the same host whose link has ended, or a new client with the lowest free number."""
        host, uri = uri_of(url)
        here = threading.get_ident()
        ended = [
            one
            for one in self._clients.values()
            if (one.given.client_id, one.bus, one.host) == (None, given.on, host)
            and (one.seat() is seat or not one.busy())
        ]
        for one in [one for one in ended if not one.follows(given, profile)]:
            ended.remove(one)
            one.close()
        if ended:
            return min(ended, key=lambda one: (one.uri != uri, one.thread != here, len(one.client_id), one.client_id))
        while True:
            try:
                return self._new(given, profile, living.free_id(host), url)
            except ClientIdInUse:  # a client with this id began meanwhile
                pass

    def _new(self, given: Given, profile: Profile, client_id: str, url: str) -> Foreign:
        foreign = Foreign(given, profile, client_id, url)
        foreign.hold()
        return foreign

    def _tidy(self) -> None:
        """Forget closed clients, and seats that are gone; if there are too many clients, close those that ended
        first."""
        for key, foreign in list(self._clients.items()):
            if foreign.over:
                del self._clients[key]
        if len(self._clients) >= _MOST:
            ended = sorted((one for one in self._clients.values() if not one.busy()), key=lambda one: one.since_ns)
            for foreign in ended[: len(self._clients) - _MOST + 1]:
                foreign.close()
                del self._clients[foreign.bus, foreign.client_id]
        for key, seat in list(self._reserved.items()):
            if seat() is None:
                del self._reserved[key]

    def _own_lock(self) -> threading.RLock:
        if not process.ALIVE[0]:  # a child forked without hooks: a thread of the parent may hold the lock
            process.in_child()
        return self._lock


def _no_seat() -> Seat | None:
    return None


ROSTER: Final = Roster()
