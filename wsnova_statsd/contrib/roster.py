"""Which foreign client a connection belongs to: a new one, or one that goes on.

A program that makes a new app, or a new connection, each time the last one has ended has one client all the same. Who
dials takes its place again, or that of a client to the same host whose link has ended; of those without an id of their
own the one to the same address by the same thread first, else the one with the lowest number.

Threads: every method from any, and from code of a signal's handler. A forked child begins with none.
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
_MOST: Final = 1000  # clients that are kept for a next connection: a program may call many hosts once


class Roster:
    """The foreign clients of this process that are not closed."""

    def __init__(self) -> None:
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a child: the clients are the parent's."""
        self._lock = threading.RLock()  # guards the fields below; re-entrant for a signal's handler
        self._clients: dict[tuple[Bus, str], Foreign] = {}
        self._reserved: dict[tuple[Bus, str], weakref.ref[Seat]] = {}  # by those that are to dial, and have not yet

    def reserve(self, given: Given, seat: Seat) -> None:
        """An id of its own is this seat's. Raises ClientIdInUse if another one has it."""
        if given.client_id is None:
            return
        key = given.on, given.client_id
        with self._own_lock():
            holder, other = IDS.holder(*key), self._reserved.get(key, _nobody)()
            if isinstance(holder, Foreign) and (holder.seat() is seat or not holder.busy()):
                holder = None
            if holder is not None:
                raise in_use(given.client_id, holder)
            if other is not None and other is not seat:
                raise ClientIdInUse(
                    f"client_id {given.client_id!r} is that of another instrumented app or connection on this bus; "
                    "give this one another id"
                )
            self._reserved[key] = weakref.ref(seat)

    def take(self, given: Given, url: str, seat: Seat) -> Foreign | None:
        """The client that this seat dials for. None, with a log record, if its id is another one's, and where threading
        was patched meanwhile: what waits for a thread of ours would wait for ever."""
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
        """Those that are not closed."""
        with self._own_lock():
            self._tidy()
            return list(self._clients.values())

    def _own(self, given: Given, profile: Profile, url: str, seat: Seat) -> Foreign | None:
        """That which the seat dialled for last, or has an id for."""
        mine = [one for one in self._clients.values() if one.seat() is seat and one.bus is given.on]
        if given.client_id is None:
            return next((one for one in mine if one.follows(given, profile)), None)
        holder = self._clients.get((given.on, given.client_id))
        if holder is not None and holder not in mine and holder.busy():
            raise in_use(given.client_id, holder)
        if holder is not None and holder.follows(given, profile):
            return holder
        if holder is not None:  # what it emits is another's from now on
            holder.close()
        return self._new(given, profile, given.client_id, url)

    def _other(self, given: Given, profile: Profile, url: str, seat: Seat) -> Foreign:
        """One to the same host whose link has ended, or a new one with the lowest number that is free."""
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
            except ClientIdInUse:  # a client began meanwhile
                pass

    def _new(self, given: Given, profile: Profile, client_id: str, url: str) -> Foreign:
        foreign = Foreign(given, profile, client_id, url)
        foreign.hold()
        return foreign

    def _tidy(self) -> None:
        """Let go of those that are closed, and of seats that are gone; of very many close those that ended first."""
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
        if not process.ALIVE[0]:  # a child forked without hooks: the lock may be held by a thread that is not here
            process.in_child()
        return self._lock


def _nobody() -> Seat | None:
    return None


ROSTER: Final = Roster()
