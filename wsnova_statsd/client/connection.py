"""A client's life from start to close: dial, read, lose, retry. It emits the connection.* events.

The owner - the client's own thread, or the one that iterates - calls `open`, `await_messages`, `revive`, `drain`; what
any thread may call stands in a section of its own. `changed` guards state and link and is notified with every change;
nothing blocks while it is held.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from .. import events
from ..errors import ConnectionFailed, Forked, HandshakeRefused, NotConnected
from .connection_events import ConnectionEvents
from .dialer import Dialer
from .emitter import Emitter
from .faults import Faults
from .flag import Flag
from .frames import NORMAL, Received
from .keeper import KEEPER, Kept
from .link import Link
from .options import Options, Target
from .retry import RetryPolicy, Stopped
from .session import Loss
from .state import State


class Hooks(Protocol):
    """What a connection asks of the rest of the client; all in the owner's thread but those named."""

    def before_dial(self) -> None: ...

    def refused(self, error: ConnectionFailed) -> ConnectionFailed: ...

    def log_in(self) -> None: ...

    def linked(self, again: bool) -> None: ...

    def unlinked(self) -> None: ...

    def is_owner(self) -> bool:  # any thread
        ...

    def arrived(self) -> None:  # the keeper
        ...

    def neglected(self) -> None:  # the keeper
        ...


class Connection:
    """The link of one client, again and again."""

    def __init__(self, options: Options, emitter: Emitter, faults: Faults, hooks: Hooks) -> None:
        self.options = options
        self.emit = emitter
        self.faults = faults
        self.tidings = ConnectionEvents(emitter, faults, options.max_buffered_bytes)
        self.closing = Flag()
        self.changed = threading.Condition()
        self.state = State.IDLE
        self.link: Link | None = None
        self.failure: ConnectionFailed | None = None  # why it ended, if not on purpose
        self.last_failure: ConnectionFailed | None = None  # of a dial
        self._undisposed: Link | None = None  # ended while its owner was in the user's code
        self.reason = "local"  # of the disconnected event of a close on purpose
        self._wake = Flag()  # ends the sleep before a retry
        self._dialer = Dialer(options, emitter.tells_heartbeats)
        self._policy = RetryPolicy(options.profile)
        self._hooks = hooks
        self._kept: Kept | None = None  # what the keeper knows of the link
        self._new: Link | None = None  # upgraded, and logging in: the owner's only
        self._first = True  # no link was made yet
        self._outage: tuple[ConnectionFailed, int] | None = None  # since when there is no link; the owner's
        self._unread: list[Received] = []  # of a link that ended before anybody came to read; the owner's
        self._cause = ""  # of the last failure, for the next attempt's event

    # -- the owner's side ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the first link, by the retry policy. Raises ConnectionFailed after max_attempts, Stopped when closed."""
        self._establish(None, None)
        self._first = False

    def live_link(self, *, revive: bool = True) -> Link | None:
        """The link to read from. One that is lost, and has nothing more to give, is made anew on the way, or left to
        another thread (`lost` tells). Raises Stopped, and ConnectionFailed if that is final."""
        link = self.link
        if link is None:
            over = self.closing.is_set() or self.state in (State.CLOSED, State.FORKED)
            if not revive and self._outage is not None and not over:
                return None
            return self._again()
        if link.session.notices:
            self.tidings.seen(link)
            if self.link is not link:  # closed by a handler of these events
                return None
        if link.loss is not None and not link.inbox:
            if not revive and not self.closing.is_set():
                return None
            self._lost(link, link.loss)
        return self.link  # a new link has deadlines of its own

    def _again(self) -> Link:
        """There is no link: the client is closed, or forked, or a signal's handler ended the wait for the next one."""
        if self.state is State.FORKED:
            raise Forked("this client was started in the parent process; call start() in this one")
        if self.closing.is_set() or self.state is State.CLOSED or self._outage is None:
            raise Stopped
        return self._establish(*self._outage)

    def revive(self) -> None:
        """The owner, for a client that nobody iterates: if its link is over, make another one. Raises as above."""
        link = self.link
        if link is not None and link.loss is not None:
            self.tidings.seen(link)
            self._lost(link, link.loss)
        elif link is None:
            self._again()

    @property
    def lost(self) -> bool:
        """True if there is no link to read from, and nothing of it is left to be read."""
        link = self.link
        return link is None or (link.loss is not None and not link.inbox)

    def await_link(self, seconds: float) -> bool:
        """Any thread: until there is a link, or the client is closed; False after `seconds`."""
        with self.changed:
            return self.changed.wait_for(self._up_or_over, seconds)

    def drain(self, link: Link, until: float) -> None:
        """Read until the server answered the close frame; what still comes is for nobody."""
        while link.loss is None and time.monotonic() < until:
            link.next_run(until, direct=False)
            self.tidings.seen(link)
            link.inbox.clear()

    def _lost(self, link: Link, loss: Loss) -> None:
        """The link is over: tell it, and make another one or stop."""
        lost_ns = time.monotonic_ns()
        on_purpose = self.closing.is_set()
        self.tidings.ended(link, Loss(self.reason, loss.detail, fault=False) if on_purpose else loss)
        self._unread.extend(link.inbox)
        self._drop(link)
        if on_purpose:
            raise Stopped
        error = ConnectionFailed(f"the connection was lost: {loss.reason} {loss.detail}".rstrip(), cause=loss.reason)
        retrying = self.options.reconnect or not loss.fault  # redial() asked for it
        if loss.fault:
            kind = "protocol" if loss.reason == "protocol_error" else "connection"
            fault = self.faults.occurred(error, kind, "error" if retrying else "critical")
            self.faults.outage(fault)
        if not retrying:
            raise Stopped
        self._outage = error, lost_ns
        if not loss.fault or lost_ns - link.opened_ns >= self.options.profile.stable_after * 1e9:
            self._policy.settled()
        elif self._policy.unstable():
            self.tidings.failed(self._policy.retries, link.uri, loss.reason, 0, final=True)
        if loss.fault:
            self._establish(error, lost_ns)
        else:  # redial() asked for it: no wait, and a try also for a client that does not reconnect by itself
            self._wake.clear()
            self._establish(None, lost_ns, loss.reason)

    def _establish(self, outage: ConnectionFailed | None, since_ns: int | None, cause: str = "") -> Link:
        """Dial by the policy until there is a link; after an outage a wait comes first."""
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
        try:
            link = self._policy.run(dial, outage, self.closing, self._wake, self._gives_up)
        except ConnectionFailed as error:
            if self.closing.is_set():
                raise Stopped from None
            self.failure = error
            raise
        self._outage = None
        return link

    def _gives_up(self) -> bool:
        final = self._policy.alarmed and (self._first or self.options.profile.give_up)
        return final or not self.options.reconnect

    def _attempt(self, waited: float, began: int | None) -> Link:
        """One dial, with its events. `began` is when the outage began, None for a first try."""
        policy, retry = self._policy, began is not None
        self._set(State.CONNECTING)
        policy.tries += 1
        uri, fault = "", None
        try:
            target = self._dialer.target()
            uri = target.uri
        except ConnectionFailed as error:
            fault = error
        if retry:  # also one whose URL cannot be had: it counts, and the next wait is longer
            policy.retries += 1
            self.tidings.attempt(policy.retries, uri, waited, self._cause)
        if fault is not None:
            self._failed(fault, retry, began, uri)
            raise fault
        self.emit(events.CONNECTION_STARTED, {"system_time": time.time_ns()}, uri=uri, reconnect=retry)
        self._hooks.before_dial()
        started_ns = time.monotonic_ns()
        try:
            link = self._dialer.link(target)
        except ConnectionFailed as failed:
            refused = self._hooks.refused(failed)
            self._failed(refused, retry, began, uri)
            raise refused from None
        self._new = link  # from here on whoever closes ends it
        try:
            self.emit(events.CONNECTION_COMPLETED, {"duration": link.opened_ns - started_ns}, uri=uri, reconnect=retry)
            self._log_in(link)
        except ConnectionFailed as error:
            self._failed(error, retry, began, uri)
            raise
        return self._connected(link, target, began)

    def _log_in(self, link: Link) -> None:
        """The link is the owner's alone until the login is accepted; one that is not ends it."""
        link.inherit(self._unread)
        self._kept = Kept(link, self._hooks.arrived, self._hooks.neglected)
        KEEPER.watch(self._kept)
        try:
            self._hooks.log_in()
            if self.closing.is_set():
                raise Stopped
        except BaseException as error:
            self.tidings.ended(link, Loss(self.reason if self.closing.is_set() else "error", str(error)))
            self._unread.extend(link.inbox)
            self._new = None
            self._drop(link)
            raise

    def _drop(self, link: Link) -> None:
        """Nothing more comes of this link."""
        link.session.loss = link.loss or Loss(self.reason, "", fault=False)
        kept, self._kept = self._kept, None
        if kept is not None:
            KEEPER.forget(kept)
        link.dispose()
        with self.changed:
            self.link = None
            self.changed.notify_all()
        self._hooks.unlinked()

    def attend(self) -> None:
        """Somebody waits for what arrives: have the keeper read if nobody does."""
        kept = self._kept
        if kept is not None:
            KEEPER.ask(kept)

    def _connected(self, link: Link, target: Target, began: int | None) -> Link:
        with self.changed:
            self.link, self._new = link, None
            if self.state is not State.CLOSED:
                self.state = State.CONNECTED
            self.changed.notify_all()
        if began is not None:
            self.emit(
                events.CONNECTION_RECONNECT_SUCCESS,
                {"attempt": self._policy.retries, "duration": time.monotonic_ns() - began},
                uri=target.uri,
            )
        self.faults.restored()
        self._wake.clear()  # a redial() in the midst of this dial asked for what is here now
        if self.closing.is_set():  # whoever closes saw no link yet
            link.send_close(NORMAL)
        else:
            self._hooks.linked(not self._first)
        return link

    def _failed(self, error: ConnectionFailed, retry: bool, began: int | None, uri: str) -> None:
        """A dial failed: one error event, and reconnect.failed for a retry or at the alarm."""
        if error.cause == "cancelled" or self.closing.is_set():
            return
        self._cause = error.cause
        self.last_failure = error.with_traceback(None)
        final = self._policy.failed()
        over = not self.options.reconnect
        kind = "handshake" if isinstance(error, HandshakeRefused) or error.cause == "handshake" else "connection"
        kind = "timeout" if error.cause == "timeout" else kind
        kind = "auth" if error.cause.startswith("auth") else kind
        severity = "error" if isinstance(error, HandshakeRefused) else "warning"
        critical = final or over or kind == "auth"
        self.faults.outage(self.faults.occurred(error, kind, "critical" if critical else severity))
        if retry or final:
            duration = 0 if began is None else time.monotonic_ns() - began
            self.tidings.failed(self._policy.retries, uri, error.cause, duration, final=final)
        self._set(State.WAITING)

    def _set(self, state: State) -> None:
        with self.changed:
            if self.state is not State.CLOSED:
                self.state = state
                self.changed.notify_all()

    # -- any thread's side --------------------------------------------------------------------------------------------

    def up(self, wait: float) -> Link:
        """The link to send on; waits up to `wait` seconds for one. Raises NotConnected."""
        link = self.link
        if link is None and self._hooks.is_owner():
            link = self._new  # the owner is logging in
        if link is not None and link.loss is None:
            return link
        with self.changed:
            self.changed.wait_for(self._up_or_over, wait)
            link = self.link
            if link is None or link.loss is not None:
                raise NotConnected(f"the client is {self.state.value}; nothing was sent (wait= waits for the link)")
            return link

    def _up_or_over(self) -> bool:
        return (self.link is not None and self.link.loss is None) or self.state is State.CLOSED

    def ask_close(self, reason: str) -> Link | None:
        """Stop dialling and retrying; the link, if there is one, is left to be closed."""
        self.reason = reason
        self.closing.set()
        self._wake.set()
        self._dialer.cancel()
        link = self._new
        if link is not None:
            link.shutdown()  # a login waits for nothing any more
        return self.link

    def redial(self) -> None:
        """Drop the link, or the wait for one, and dial now."""
        link = self.link or self._new
        self._wake.set()
        if link is not None:
            link.lose(Loss("local", "reconnect()", fault=False))

    def force_end(self, link: Link) -> None:
        """Close the way under whoever reads or writes, and tell of the end if nobody did."""
        link.shutdown()
        self.tidings.ended(link, Loss(self.reason, "", fault=False))

    def over(self, *, dispose: bool) -> None:
        """Nothing more comes of this life. Only the owner may dispose of the descriptor: nobody reads then."""
        with self.changed:
            link, self._undisposed = self.link or self._new or self._undisposed, None
            self.link = None
            self.state = State.CLOSED
            self.changed.notify_all()
        if link is not None:
            self.tidings.ended(link, Loss(self.reason, "", fault=False))
            if dispose:
                self._drop(link)
            else:
                self._undisposed = link

    def neglected(self) -> None:
        """wsnova-clock: the owner has been away for long; tell what the keeper saw."""
        link = self.link
        if link is not None:
            self.tidings.seen(link)
            loss = link.loss
            if loss is not None and not self.closing.is_set():
                self.tidings.ended(link, loss)

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's. Takes no lock, tells nothing."""
        self.emit.mute()
        for link in (self.link, self._new, self._undisposed):
            if link is not None:
                link.abandon()
        self.link = self._new = self._undisposed = self._kept = None
        self.changed = threading.Condition()
        self.tidings.after_fork()
        self.state = State.FORKED
