"""A client's connection: dial, log in, read, lose, retry. It emits the connection.* events.

The owner - the client's own thread, or the thread that iterates - calls `open`, `live_link`, `revive` and `drain`; what
any thread may call stands in a section of its own. No lock: each change of `link` and state is one assignment, then
announced to the waiting threads, so that a signal's handler may close what it interrupts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..dial.target import Target
from ..errors import ConnectionFailed, Forked, NotConnected
from ..link.flag import Changes, Flag
from ..link.frames import NORMAL, Received
from ..link.keeper import KEEPER, Kept
from ..link.link import Link
from ..link.session import Loss
from .connection_events import ConnectionEvents
from .dialer import Dialer
from .downtime import Downtime
from .emitter import Emitter
from .faults import Faults, lost
from .health import Tally
from .login import Login
from .options import Options
from .retry import RetryPolicy, Stopped
from .state import State


@dataclass(frozen=True, slots=True)
class Calls:
    """Callbacks from the connection into its client."""

    is_owner: Callable[[], bool]  # any thread
    linked: Callable[[bool], object]  # the owner: the link is usable; True if it is not the first
    unlinked: Callable[[], object]  # the link is gone
    arrived: Callable[[], None]  # the keeper: it read something
    neglected: Callable[[], None]  # the keeper: the owner is away, and there is something to emit


class Connection:
    """The successive links of one client. `patient`: keep trying for the first link, whatever the answer."""

    def __init__(self, options: Options, emitter: Emitter, faults: Faults, login: Login, calls: Calls) -> None:
        self.options = options
        self.emit = emitter
        self.faults = faults
        self.connection_events: ConnectionEvents = ConnectionEvents(emitter, faults, options.max_buffered_bytes)
        self.downtime: Downtime = Downtime(emitter.down)
        self.tally: Tally = Tally()
        self.closing: Flag = Flag()
        self.changed: Changes = Changes()
        self.link: Link | None = None
        self.failure: ConnectionFailed | None = None  # why the connection ended, unless it was closed
        self.last_failure: ConnectionFailed | None = None  # of a dial, or of the last link
        self.reason: str = "local"  # of the disconnected event after close()
        self.until: float | None = None  # when the time for the first link is up, on time.monotonic()
        self.patient = False
        self._state = State.IDLE
        self._end: State | None = None  # CLOSED or FORKED, once nothing changes any more
        self._undisposed: Link | None = None  # a link that ended while its owner was in the user's code
        self._wake = Flag()  # ends the sleep before a retry
        self._dialer = Dialer(options, emitter.emits_heartbeats)
        self._policy = RetryPolicy(options.profile)
        self._login = login
        self._calls = calls
        self._kept: Kept | None = None  # what the keeper knows of the link
        self._new: Link | None = None  # upgraded and logging in; only the owner uses it
        self._first = True  # no link has been made yet
        self._gave_up = False  # the last failure is final
        self._outage: tuple[ConnectionFailed, int] | None = None  # why there is no link, and since when; owner only
        self._unread: deque[Received] = deque()  # of a link that ended before it was read; owner only
        self._cause = ""  # of the last failure, for the next attempt's event
        self._dialled_ns = 0  # when the last dial began

    @property
    def state(self) -> State:
        """The client's current state."""
        return self._end or self._state

    # -- the owner's side ---------------------------------------------------------------------------------------------

    def open(self, until: float | None) -> None:
        """Make the first link, by the retry policy. Raises ConnectionFailed after max_attempts and for a refusal that
        another attempt cannot fix, Expired at `until` (time.monotonic()), Stopped when closed."""
        self.until = until
        self._establish(None, None)
        self._first = False

    def live_link(self, *, revive: bool = True) -> Link | None:
        """The link to read from. A link that is lost and fully read is made anew first, or left to another thread (see
        `lost`). Raises Stopped, or ConnectionFailed if that is final."""
        link = self.link
        if link is None:
            over = self.closing.is_set() or self.state in (State.CLOSED, State.FORKED)
            if not revive and self._outage is not None and not over:
                return None
            return self._again()
        if link.session.notices:
            self.connection_events.seen(link)
            if self.link is not link:  # closed by a handler of these events
                return None
        if link.loss is not None and link.unclaimed:
            link.reclaim()
        if link.loss is not None and not link.inbox:
            if not revive and not self.closing.is_set():
                return None
            self._lost(link, link.loss)
        return self.link  # a new link has its own deadlines

    def _again(self) -> Link:
        """There is no link: the client is closed or forked, or a signal's handler ended the wait for the next link."""
        if self.state is State.FORKED:
            raise Forked("this client was started in the parent process; call start() in this one")
        if self.closing.is_set() or self.state is State.CLOSED or self._outage is None:
            raise Stopped
        return self._establish(*self._outage)

    def revive(self) -> None:
        """The owner, for a client that no thread iterates: if its link has ended, make another one. Raises as above."""
        link = self.link
        if link is not None and link.loss is not None:
            self.connection_events.seen(link)
            self._lost(link, link.loss)
        elif link is None:
            self._again()

    @property
    def lost(self) -> bool:
        """True if there is no link, or it is lost and fully read."""
        link = self.link
        return link is None or (link.loss is not None and not link.inbox)

    def await_link(self, seconds: float) -> bool:
        """Any thread: wait until there is a link or the client is closed; False after `seconds`."""
        return self.changed.wait_for(self._up_or_over, seconds)

    def drain(self, link: Link, until: float) -> None:
        """Read until the server answers the close frame; messages that still arrive are discarded."""
        while link.loss is None and time.monotonic() < until:
            link.next_run(until, direct=False)
            self.connection_events.seen(link)
            link.inbox.clear()

    def _lost(self, link: Link, loss: Loss) -> None:
        """The link has ended: emit that, and make another one or stop."""
        lost_ns = time.monotonic_ns()
        on_purpose = self.closing.is_set()
        self.connection_events.ended(link, Loss(self.reason, loss.detail, fault=False) if on_purpose else loss)
        link.bequeath(self._unread)
        self._drop(link)
        if on_purpose:
            raise Stopped
        self.downtime.begins()
        error = lost(loss)
        self.last_failure = error if loss.fault else None
        retrying = self.options.reconnect or not loss.fault  # or redial() dropped it
        stable = not loss.fault or lost_ns - link.opened_ns >= self.options.profile.stable_after * 1e9
        final = retrying and not stable and self._policy.unstable()
        over = retrying and not stable and self._policy.alarmed and self.options.profile.give_up
        if loss.fault:
            raised = over and self.faults.end_is_raised
            self.faults.lost(error, retrying=retrying, final=final, raised=raised)
        if not retrying:
            raise Stopped
        self._outage = error, lost_ns
        if stable:
            self._policy.settled()
        elif final:
            self.connection_events.failed(self._policy.retries, link.uri, loss.reason, 0, final=True)
        if loss.fault:
            self._establish(error, lost_ns)
        else:  # redial(): dial without a wait, even if reconnect=False
            self._wake.clear()
            self._establish(None, lost_ns, loss.reason)

    def _establish(self, outage: ConnectionFailed | None, since_ns: int | None, cause: str = "") -> Link:
        """Dial by the policy until there is a link; after an outage it waits first."""
        began = since_ns

        def dial(waited: float) -> Link:
            nonlocal began
            try:
                return self._attempt(waited, began)
            except ConnectionFailed:
                if began is None:
                    began = time.monotonic_ns()
                raise

        self._cause = outage.cause if outage is not None else cause
        if outage is not None:
            self._set(State.WAITING)
        self._gave_up = outage is not None and self._gives_up(outage)
        try:
            link = self._policy.run(dial, outage, self.closing, self._wake, lambda: self._gave_up, self.until)
        except ConnectionFailed as error:
            if self.closing.is_set():
                raise Stopped from None
            self.failure = error
            raise
        self._outage = None
        return link

    def _gives_up(self, error: ConnectionFailed) -> bool:
        """True if no further attempt follows this failure."""
        first, policy = self._first, self._policy
        final = policy.refused(error, time.monotonic(), first=first, anew=self.options.asks_anew)
        if first and self.patient:
            return False
        return final or not self.options.reconnect or (policy.alarmed and (first or self.options.profile.give_up))

    def _attempt(self, waited: float, began: int | None) -> Link:
        """One attempt, with its events. `began` is when the outage began, None for a first attempt. Anything raised
        costs this attempt only and becomes a ConnectionFailed; Stopped passes through."""
        policy, retry = self._policy, began is not None
        self._set(State.CONNECTING)
        policy.tries += 1
        target, fault = None, None
        try:
            target = self._dialer.target()
        except ConnectionFailed as error:
            fault = error
        uri = target.uri if target is not None else ""
        if retry:  # also if its URL is unavailable: it counts, and the next wait is longer
            policy.retries += 1
            self.connection_events.attempt(policy.retries, uri, waited, self._cause)
        try:
            if target is None:
                raise fault or Stopped
            link = self._dial(target, retry)
            self._log_in(link, retry)
            return self._connected(link, target, began)
        except Stopped:
            raise
        except ConnectionFailed as failed:
            self._failed(failed, retry, began, uri)
            raise
        except Exception as error:
            fault = ConnectionFailed(f"the attempt failed: {type(error).__name__}: {error}", cause="error")
            self.faults.log("an attempt to connect failed", error)
            self._failed(fault, retry, began, uri)
            raise fault from error

    def _dial(self, target: Target, retry: bool) -> Link:
        """Return an upgraded link. Raises ConnectionFailed, AuthRejected."""
        self.connection_events.started(target.uri, reconnect=retry)
        self._login.before_dial()
        self._dialled_ns = time.monotonic_ns()
        try:
            link = self._dialer.link(target, self.bounded(self.options.connect_timeout), self._made)
        except ConnectionFailed as failed:
            refused = self._login.refused(failed)
            if refused is failed:
                raise
            raise refused from failed
        return link

    def _made(self, link: Link) -> None:
        self._new = link

    def _log_in(self, link: Link, retry: bool) -> None:
        """Until the login succeeds only the owner may use the link; a failed login closes it."""
        try:
            lasted = link.opened_ns - self._dialled_ns
            self.connection_events.completed(link.announce, lasted, reconnect=retry)
            self.downtime.ends()
            link.inherit(self._unread)
            self.tally.follow(link)
            self._kept = kept = Kept(link, self._calls.arrived, self._calls.neglected)
            KEEPER.watch(kept)
            self._login.perform()
            if self.closing.is_set():
                raise Stopped
        except BaseException as error:
            loss = link.loss or Loss("error", str(error))
            self.connection_events.ended(link, Loss(self.reason, "", fault=False) if self.closing.is_set() else loss)
            link.bequeath(self._unread)
            self._drop(link)
            self.downtime.begins()
            raise

    def _drop(self, link: Link) -> None:
        """This link is finished: release it, even if a step raises."""
        link.session.loss = link.loss or Loss(self.reason, "", fault=False)
        kept, self._kept = self._kept, None
        for give_back in (partial(KEEPER.forget, kept), link.dispose) if kept is not None else (link.dispose,):
            try:
                give_back()
            except Exception as error:
                self.faults.log("dropping a connection raised", error)
        self.link = None
        if self._new is link:
            self._new = None
        self.changed.announce()
        self._calls.unlinked()

    def attend(self) -> None:
        """A caller is waiting for a reply: have the keeper read if no other thread does."""
        kept = self._kept
        if kept is not None:
            KEEPER.ask(kept)

    def _connected(self, link: Link, target: Target, began: int | None) -> Link:
        self.link, self._new, self.last_failure = link, None, None
        self._set(State.CONNECTED)
        if began is not None:
            self.tally.reconnects += 1
            self.connection_events.success(self._policy.retries, target.uri, time.monotonic_ns() - began)
        self.faults.restored()
        self._policy.linked()
        self._wake.clear()  # a redial() during this dial is satisfied by this link
        if self.closing.is_set():  # the closing thread saw no link
            link.send_close(NORMAL)
        else:
            self._calls.linked(not self._first)
        return link

    def _failed(self, error: ConnectionFailed, retry: bool, began: int | None, uri: str) -> None:
        """A dial failed: one error event, and reconnect.failed for a retry or with the alarm."""
        if error.cause == "cancelled" or self.closing.is_set() or self.bounded(1.0) <= 0:
            return
        self._cause = error.cause
        self.last_failure = error.with_traceback(None)
        final = self._policy.failed()
        self._gave_up = over = self._gives_up(error)
        given_up = self._first and over
        raised = given_up or (over and self.faults.end_is_raised)
        self.faults.failed(error, final=final or over, raised=raised, logs=not given_up)
        if retry or final:
            duration = 0 if began is None else time.monotonic_ns() - began
            self.connection_events.failed(self._policy.retries, uri, error.cause, duration, final=final)
        self._set(State.WAITING)

    def _set(self, state: State) -> None:
        self._state = state
        self.changed.announce()

    # -- any thread ----------------------------------------------------------------------------------------------------

    def up(self, wait: float) -> Link:
        """The link to send on; waits for one up to `wait` seconds. Raises NotConnected."""
        link = self.link
        if link is None and self._calls.is_owner():
            link = self._new  # the owner is logging in
        if link is not None and link.session.loss is None:
            return link
        self.changed.wait_for(self._up_or_over, wait)
        link = self.link
        if link is None or link.loss is not None:
            raise NotConnected(f"the client is {self.state.value}; nothing was sent; pass wait= to wait for a link")
        return link

    def _up_or_over(self) -> bool:
        link = self.link
        return (link is not None and link.loss is None) or self._end is not None

    def bounded(self, seconds: float) -> float:
        """`seconds`, or what is left of the time for the first link."""
        return seconds if self.until is None else min(seconds, max(0.0, self.until - time.monotonic()))

    def ask_close(self, reason: str) -> Link | None:
        """Stop dialling and retrying. Returns the link that is left to close, if there is one."""
        self.reason = reason
        self.closing.set()
        self._wake.set()
        self._dialer.cancel()
        if (link := self._new) is not None:
            link.shutdown()  # wakes a login that waits
        return self.link

    def redial(self) -> None:
        """Drop the link, or the wait for one, and dial now."""
        link = self.link or self._new
        self._wake.set()
        if link is not None:
            link.lose(Loss("local", "reconnect()", fault=False))

    def force_end(self, link: Link) -> None:
        """Shut the socket under the thread that reads or writes, and emit the end unless that was done."""
        link.shutdown()
        self.connection_events.ended(link, Loss(self.reason, "", fault=False))

    def over(self, *, dispose: bool) -> None:
        """The connection has ended. Only the owner may close the descriptor, because no thread reads then."""
        self._undisposed = link = self.link or self._new or self._undisposed  # first: an interrupt may follow
        self.link = None
        self._end = self._end or State.CLOSED
        self.changed.announce()
        if link is not None:
            self.connection_events.ended(link, Loss(self.reason, "", fault=False))
            if dispose:
                self._drop(link)
                self._undisposed = None
        if dispose:
            self._dialer.finish()

    def neglected(self) -> None:
        """wsnova-clock: the owner has been away for long; emit what the keeper saw."""
        link = self.link
        if link is not None:
            self.connection_events.seen(link)
            loss = link.loss
            if loss is not None and not self.closing.is_set():
                self.connection_events.ended(link, loss)
                self.downtime.begins()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's. Takes no lock, emits nothing."""
        self.emit.mute()
        for link in (self.link, self._new, self._undisposed):
            if link is not None:
                link.abandon()
        self.link = self._new = self._undisposed = self._kept = None
        self.changed = Changes()
        self.connection_events.after_fork()
        self._end = State.FORKED
