"""A client of another library: its connections and messages become events, sums, state and zeros.

An instrumentation reports what it observed; all rules - which events a profile emits, types, slow messages, one-second
sums, how far behind, what an outage is - are those of `client/`. One Foreign is one client id with one connection at a
time, and continues over many connections: see `roster`, which returns the Foreign for a connection before its dial.

    given = Given(client_id, profile, message_type, tags, bus)       # checked; see `given`
    foreign = ROSTER.take(given, url, seat)             # None if the id belongs to another client, which is logged
    foreign.connecting(url)                             # a dial begins; then one of the next three
    link = foreign.connected(waiting)                   # upgraded; `waiting` returns the bytes that wait to be read
    foreign.failed(failure(exception, url))             # failed; see `foreign_link` for that and for what ends a link
    foreign.cancelled()                                 # the dial was interrupted: nothing is emitted
    link = foreign.adopted(url, waiting)                # instead of these: the connection was already open
    foreign.ended(link, loss)                           # any thread, any number of times: the first call counts
    span = foreign.received(payload, opcode, waited, size)   # a whole data message, when it arrives
    foreign.begin(span); foreign.processed(span, took)  # around its handler; or foreign.ignored(span)
    foreign.sent(payload, opcode, size); foreign.unsent()    # counted before: `sending((1, size, 0, 0, 0, 0, 0))`
    foreign.pinged(); foreign.ponged(); foreign.missed()
    foreign.close()                                     # for good: its id is free

Threads: every method from any. As a rule one thread at a time reads messages; each thread has its own recorders.
Nothing raises into the program except what a signal's handler raises. In a forked child a Foreign emits nothing.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from .. import process
from ..client import living
from ..client.connection_events import ConnectionEvents
from ..client.detail import DETAILS
from ..client.downtime import Downtime
from ..client.emitter import opened
from ..client.faults import lost
from ..client.ids import IDS
from ..client.retry import RetryPolicy
from ..client.state import State
from ..client.stuck import WATCHDOG
from ..clock import CLOCK
from ..errors import ConnectionFailed
from ..link.flag import Changes, Turn
from ..link.frames import NORMAL
from ..link.session import Loss
from ..profiles import Profile
from ..redaction import one_line
from ..telemetry import Bus
from .foreign_link import Link, uri_of
from .foreign_messages import ForeignMessages, Span
from .given import Given

__all__ = ["Foreign", "Seat", "Span"]

_log = logging.getLogger(__name__)
_alive = process.ALIVE
_clock = time.monotonic_ns
_wall = time.time_ns
_POLITE: Final = f"close_{NORMAL}"


class Seat(Protocol):
    """The object that dials for a Foreign: an app, or a connection. Held weakly."""

    def busy(self) -> bool:
        """True if it has a link, dials, or may dial again by itself. Any thread."""


class Foreign(ForeignMessages):
    """One client of another library, under one id."""

    given: Given
    over: bool

    def __init__(self, given: Given, profile: Profile, client_id: str, url: str) -> None:
        super().__init__(given, profile, client_id)
        self.client_id = client_id
        self.host: str
        self.uri: str
        self.host, self.uri = uri_of(url)
        self.thread: int = threading.get_ident()  # the thread that dialled last
        self.seat: Callable[[], Seat | None] = lambda: None
        self._events = ConnectionEvents(self.emit, self._faults, 0)
        self._policy = RetryPolicy(profile)
        self._downtime = Downtime(self.emit.down)
        self._begun = False
        self._dialled_ns = 0
        self._lost_ns = 0  # when the link was lost, or the first dial failed
        self.since_ns: int = 0  # of the last loss or failure
        self._cause = ""
        self._closed = Turn()
        self._changed = Changes()
        self.state: State = State.IDLE
        process.on_fork(self)
        process.at_exit(self, process.CLIENT)

    # -- as the holder of an id; for reporters and Monitors ------------------------------------------------------------

    def busy(self) -> bool:
        """True if another connection with this id would be a second one at the same time."""
        seat = self.seat()
        return seat is not None and seat.busy()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is closed; False after `timeout` seconds."""
        return self._changed.wait_for(lambda: self.over, timeout)

    @property
    def closed(self) -> bool:
        """True if another client may use its id."""
        return self.over

    def announce(self) -> None:
        """Emit that it exists, unless it is over."""
        if self._begun and not self.over:
            opened(self.bus, self.emit.whose, self.uri, profile=self.profile, emits=self.given.emits)

    def asked_by(self, profile: Profile) -> bool:
        """A Monitor with this profile begins: emit the state. True if this client keeps another profile."""
        if not self._begun or self.over:
            return False
        self.emit.emit_state()
        return self.given.profile is None and self.profile != profile

    def pending(self) -> Foreign | None:
        """This client, if it may have sums."""
        return self if self._begun and not self.over else None

    def has_sums(self, by: float) -> bool:
        """True if there are sums due by this time, on time.monotonic_ns()."""
        return 0 < self._received.due <= by or 0 < self._sent.due <= by or self._downtime.runs

    def emit_sums(self, by: float) -> None:
        """wsnova-clock: emit them."""
        if 0 < self._received.due <= by:
            self._flush_received()
        if 0 < self._sent.due <= by:
            self._flush_sent()
        self._downtime.emit()

    # -- connections --------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Hold the id. Raises ClientIdInUse."""
        IDS.hold(self.bus, self.client_id, self)
        living.add(self)

    def follows(self, given: Given, profile: Profile) -> bool:
        """True if this client can continue with these arguments."""
        mine = self.given
        return (self.profile, mine.tags, mine.emits) == (profile, given.tags, given.emits) and not self.over

    def take_seat(self, seat: Seat, given: Given, url: str) -> None:
        """This seat dials for it from now on; the function for message types may change."""
        self.seat = weakref.ref(seat)
        self.thread = threading.get_ident()
        self.host, self.uri = uri_of(url)
        if given is not self.given:
            self.given, self._type_of = given, given.type_of()

    def _begin(self, up: int) -> None:
        self._begun = True
        self.emit.up = up
        if not self.bus.list_handlers():
            _warn_without_handlers(self.bus, self.client_id)
        opened(self.bus, self.emit.whose, self.uri, profile=self.profile, emits=self.given.emits)
        if not up:
            self._downtime.begins()
        DETAILS.join(self.emit)
        self.emit.emit_state()
        CLOCK.start()

    def connecting(self, url: str) -> None:
        """A dial begins: emit started, after reconnect.attempt if there was a link or a failure before."""
        if self._gone():
            return
        if not self._begun:
            self._begin(0)
        _, self.uri = uri_of(url)
        self.state = State.CONNECTING
        self._dialled_ns, policy = _clock(), self._policy
        policy.tries += 1
        if self._lost_ns:
            policy.retries += 1
            self._events.attempt(policy.retries, self.uri, (self._dialled_ns - self.since_ns) / 1e9, self._cause)
        self._events.started(self.uri, reconnect=bool(self._lost_ns))

    def connected(self, waiting: Callable[[], int]) -> Link:
        """The dial succeeded."""
        self._link = link = Link(self.uri, waiting)
        if self._gone():
            return link
        self.state = State.CONNECTED
        self._events.completed(lambda: self.uri, link.opened_ns - self._dialled_ns, reconnect=bool(self._lost_ns))
        self._linked()
        return link

    def adopted(self, url: str, waiting: Callable[[], int]) -> Link:
        """The connection is already open: emit its state, and the reconnect if there was a link before."""
        _, self.uri = uri_of(url)
        self._link = link = Link(self.uri, waiting)
        if self._gone():
            return link
        self.state = State.CONNECTED
        if self._begun:
            self.emit.up = 1
            self.emit.emit_state()
        else:
            self._begin(1)
        self._linked()
        return link

    def _linked(self) -> None:
        self._downtime.ends()
        self._pinged_ns = 0
        if self._lost_ns:
            self._events.success(self._policy.retries, self.uri, _clock() - self._lost_ns)
        self._faults.restored()
        self._policy.linked()
        self._lost_ns = 0

    def failed(self, error: ConnectionFailed) -> None:
        """The dial failed."""
        if self._gone():
            return
        policy, now, since = self._policy, _clock(), self._lost_ns
        final = policy.failed()
        self._faults.failed(error, final=final)
        if since or final:
            self._events.failed(policy.retries, self.uri, error.cause, now - since if since else 0, final=final)
        self._missing(error.cause, since or now, now)

    def cancelled(self) -> None:
        """The dial was interrupted, for example by Ctrl-C."""
        self.state = State.WAITING

    def ended(self, link: Link, loss: Loss) -> None:
        """A link has ended. The first caller emits disconnected and, if it was a fault, the error; any thread."""
        if self._gone() or not self._events.ended(link, loss):
            return
        now, policy = _clock(), self._policy
        if self._link is link:
            self._link = None
        self._downtime.begins()
        self._missing(loss.reason, now, now)
        stable = not loss.fault or now - link.opened_ns >= self.profile.stable_after * 1e9
        final = not stable and policy.unstable()
        if loss.fault:
            self._faults.lost(lost(loss), retrying=loss.reason != _POLITE, final=final)
        if stable:
            policy.settled()
        elif final:
            self._events.failed(policy.retries, link.uri, loss.reason, 0, final=True)

    def _missing(self, cause: str, since_ns: int, now: int) -> None:
        self.state = State.WAITING
        self._cause, self._lost_ns, self.since_ns = cause, since_ns, now

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it for good; a message in progress is processed first."""
        self._closing = True
        if not self._hand[0]:
            self._finish()

    def _finish(self) -> None:
        if self._gone() or not self._closed.take(object()):
            return
        self.state = State.CLOSED
        WATCHDOG.forget(self)
        if self._begun:
            self._flush_received()
            self._flush_sent()
            self._downtime.ends()
            self.emit.closed()
        self.over = True
        self._changed.announce()

    def at_exit(self, deadline: float) -> None:
        """Called at interpreter exit, before reporters flush."""
        link = self._link
        if link is not None:
            self.ended(link, Loss("shutdown", "", fault=False))
        self._finish()

    def after_fork(self) -> None:
        """In a forked child: the connection is the parent's. Takes no lock, emits nothing."""
        self.emit.mute()
        self.over = True
        self.state = State.FORKED
        self._link = None


def _warn_without_handlers(bus: Bus, client_id: str) -> None:
    """Log once for each bus."""
    if bus not in _warned:
        _warned.add(bus)
        _log.warning(
            "client %s is instrumented, and its bus has no handlers; call wsnova_statsd.init() or start a Monitor "
            "or reporter there",
            one_line(client_id),
        )


_warned: Final[weakref.WeakSet[Bus]] = weakref.WeakSet()
