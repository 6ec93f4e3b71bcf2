"""A client's life from start to close: dial, read, lose, retry. It emits the connection.* events.

The owner - the client's own thread, or the one that iterates - calls `open`, `next_received`, `run_ended`; `close` and
`abort` come from any thread. `changed` guards state and link and is notified with every change; nothing blocks while
it is held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum

from .. import events
from ..errors import ConnectionFailed, HandshakeRefused, NotConnected
from .dialer import Dialer
from .emitter import Emitter
from .faults import Faults
from .frames import NORMAL
from .link import Link, Loss, Received
from .options import Options, Target
from .reconnect import RetryPolicy, Stopped


class State(Enum):
    """Where a client stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # for a retry
    CLOSED = "closed"
    FORKED = "forked"


class Connection:
    """The link of one client, again and again."""

    def __init__(self, options: Options, emitter: Emitter, faults: Faults, on_link: Callable[[], None]) -> None:
        self.options = options
        self.emit = emitter
        self.faults = faults
        self.closing = threading.Event()
        self.changed = threading.Condition()
        self.state = State.IDLE
        self.link: Link | None = None
        self.failure: ConnectionFailed | None = None  # why it ended, if not on purpose
        self.last_failure: ConnectionFailed | None = None  # of a dial
        self._undisposed: Link | None = None  # ended while its owner was in the user's code
        self.reason = "local"  # of the disconnected event of a close on purpose
        self._wake = threading.Event()  # ends the sleep before a retry
        self._dialer = Dialer(options)
        self._policy = RetryPolicy(options.profile)
        self._on_link = on_link
        self._first = True  # no link was made yet
        self._cause = ""  # of the last failure, for the next attempt's event

    # -- the owner's side ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the first link, by the retry policy. Raises ConnectionFailed after max_attempts, Stopped when closed."""
        self._establish(None, None)
        self._first = False

    def next_received(self, until: float | None) -> Received | None:
        """The next message as it was received; None at `until` (time.monotonic()) or when the owner has to tell of
        something. Loses and remakes the link on the way. Raises Stopped, and ConnectionFailed if that is final."""
        while True:
            link = self.link
            if link is None:
                raise Stopped
            inbox = link.inbox
            if inbox:
                return inbox.popleft()
            filled = link.fill(until)
            if link.seen:
                self._tell_heartbeats(link)
            if filled:
                return inbox.popleft()
            if link.loss is not None:
                self._lost(link, link.loss)
            elif until is not None and time.monotonic() >= until:
                return None

    def _lost(self, link: Link, loss: Loss) -> None:
        """The link is over: tell it, and make another one or stop."""
        lost_ns = time.monotonic_ns()
        on_purpose = self.closing.is_set()
        self._tell_end(link, Loss(self.reason, loss.detail, fault=False) if on_purpose else loss)
        link.dispose()
        with self.changed:
            self.link = None
            self.changed.notify_all()
        if on_purpose:
            raise Stopped
        error = ConnectionFailed(f"the connection was lost: {loss.reason} {loss.detail}".rstrip(), cause=loss.reason)
        retrying = self.options.reconnect
        if loss.fault:
            kind = "protocol" if loss.reason == "protocol_error" else "connection"
            fault = self.faults.occurred(error, kind, "error" if retrying else "critical")
            self.faults.outage(fault)
        if not retrying:
            raise Stopped
        if lost_ns - link.opened_ns >= self.options.profile.stable_after * 1e9:
            self._policy.settled()
        self._establish(error, lost_ns)

    def _establish(self, outage: ConnectionFailed | None, since_ns: int | None) -> None:
        """Dial by the policy until there is a link."""
        began = since_ns

        def dial(waited: float) -> Link:
            nonlocal began
            try:
                return self._attempt(waited, began)
            except ConnectionFailed:
                if began is None:
                    began = time.monotonic_ns()
                raise

        self._cause = outage.cause if outage is not None else ""
        if outage is not None:
            self._set(State.WAITING)
        try:
            self._policy.run(dial, outage, self.closing, self._wake, self._gives_up)
        except ConnectionFailed as error:
            if self.closing.is_set():
                raise Stopped from None
            self.failure = error
            raise

    def _gives_up(self) -> bool:
        final = self._policy.alarmed and (self._first or self.options.profile.give_up)
        return final or not self.options.reconnect

    def _attempt(self, waited: float, began: int | None) -> Link:
        """One dial, with its events. `began` is when the outage began, None for a first try."""
        policy, retry = self._policy, began is not None
        self._set(State.CONNECTING)
        policy.tries += 1
        uri = ""
        try:
            target = self._dialer.target()
            uri = target.uri
        except ConnectionFailed as error:
            self._failed(error, retry, began, uri)
            raise
        if retry:
            policy.retries += 1
            self._tell_attempt(uri, waited)
        self.emit(events.CONNECTION_STARTED, {"system_time": time.time_ns()}, uri=uri, reconnect=retry)
        started_ns = time.monotonic_ns()
        try:
            link = self._dialer.link(target)
        except ConnectionFailed as error:
            self._failed(error, retry, began, uri)
            raise
        self.emit(events.CONNECTION_COMPLETED, {"duration": link.opened_ns - started_ns}, uri=uri, reconnect=retry)
        return self._connected(link, target, began)

    def _connected(self, link: Link, target: Target, began: int | None) -> Link:
        with self.changed:
            self.link = link
            self.state = State.CONNECTED
            self.changed.notify_all()
        if began is not None:
            self.emit(
                events.CONNECTION_RECONNECT_SUCCESS,
                {"attempt": self._policy.retries, "duration": time.monotonic_ns() - began},
                uri=target.uri,
            )
        self._policy.restored()
        self.faults.restored()
        if self.closing.is_set():  # whoever closes saw no link yet
            link.send_close(NORMAL)
        elif not self._first:
            self._on_link()
        return link

    def _tell_attempt(self, uri: str, waited: float) -> None:
        self.emit(
            events.CONNECTION_RECONNECT_ATTEMPT,
            {"attempt": self._policy.retries, "delay": round(waited * 1e9), "system_time": time.time_ns()},
            uri=uri,
            cause=self._cause,
        )

    def _failed(self, error: ConnectionFailed, retry: bool, began: int | None, uri: str) -> None:
        """A dial failed: one error event, and reconnect.failed for a retry or at the alarm."""
        if error.cause == "cancelled":
            return
        self._cause = error.cause
        self.last_failure = error.with_traceback(None)
        final = self._policy.failed()
        over = not self.options.reconnect
        kind = "handshake" if isinstance(error, HandshakeRefused) or error.cause == "handshake" else "connection"
        kind = "timeout" if error.cause == "timeout" else kind
        self.faults.outage(self.faults.occurred(error, kind, "critical" if final or over else "warning"))
        if retry or final:
            duration = 0 if began is None else time.monotonic_ns() - began
            self.emit(
                events.CONNECTION_RECONNECT_FAILED,
                {"attempt": self._policy.retries, "duration": duration},
                uri=uri,
                reason=error.cause,
                final=final,
            )
        self._set(State.WAITING)

    def _tell_heartbeats(self, link: Link) -> None:
        while link.seen:
            word, rtt = link.seen.popleft()
            if word == "received":
                self.emit(events.HEARTBEAT_RECEIVED, {"rtt": rtt})
            else:
                event = events.HEARTBEAT_SENT if word == "sent" else events.HEARTBEAT_MISSED
                self.emit(event, {"system_time": time.time_ns()})

    def _tell_end(self, link: Link, loss: Loss) -> None:
        """connection.disconnected, once per link, by whichever thread comes first."""
        if link.end():
            self.emit(
                events.CONNECTION_DISCONNECTED,
                {"system_time": time.time_ns(), "duration": time.monotonic_ns() - link.opened_ns},
                uri=link.uri,
                reason=loss.reason,
                detail=loss.detail,
            )

    def _set(self, state: State) -> None:
        with self.changed:
            if self.state is not State.CLOSED:
                self.state = state
                self.changed.notify_all()

    # -- any thread's side --------------------------------------------------------------------------------------------

    def up(self, wait: float) -> Link:
        """The link to send on; waits up to `wait` seconds for one. Raises NotConnected."""
        link = self.link
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
        return self.link

    def redial(self) -> None:
        """Drop the link, or the wait for one, and dial now."""
        link = self.link
        self._wake.set()
        if link is not None:
            link.loss = link.loss or Loss("local", "reconnect()", fault=False)
            link.shutdown()

    def force_end(self, link: Link) -> None:
        """Close the way under whoever reads or writes, and tell of the end if nobody did."""
        link.shutdown()
        self._tell_end(link, Loss(self.reason, "", fault=False))

    def over(self, *, dispose: bool) -> None:
        """Nothing more comes of this life. Only the owner may dispose of the descriptor: nobody reads then."""
        with self.changed:
            link, self._undisposed = self.link or self._undisposed, None
            self.link = None
            self.state = State.CLOSED
            self.changed.notify_all()
        if link is not None:
            self._tell_end(link, Loss(self.reason, "", fault=False))
            if dispose:
                link.dispose()
            else:
                self._undisposed = link
