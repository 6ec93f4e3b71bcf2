"""One life of a client, from start to close: who owns the connection, and how it ends.

The ownership is the owner's: in callback mode by `wsnova-client-<id>` for as long as it lives, else by the thread
that iterates or receives, while it does. Only its holder reads. Everyone else asks: `close` from any thread tells the
owner, waits for it, and past its deadline ends the link under it and tells of the end itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from .. import process
from ..clock import CLOCK
from ..errors import (
    ConfigurationError,
    ConnectionFailed,
    Forked,
    NotConnected,
    RequestInterrupted,
    RequestTimeout,
    SubscriptionRejected,
    WsnovaError,
)
from ..telemetry import Bus
from .connection import Connection
from .detail import DETAILS
from .dialogue import Dialogue
from .emitter import Emitter
from .faults import Faults
from .flag import Flag
from .frames import NORMAL, Violation
from .link import Link
from .login import Login
from .message_events import NOTHING, MessageEvents
from .message_types import MessageTypes
from .options import Options
from .ownership import Ownership
from .protocol import Protocol
from .receiver import Receiver
from .requests import Requests
from .retry import Stopped
from .sender import Sender
from .stuck import WATCHDOG

_ALIVE: Final = process.ALIVE
_LONGEST_TURN: Final = 60_000_000_000  # ns without a look at what is due
_LAST_RESORT: Final = 0.2  # of close()'s time, kept for ending a link whose peer or owner does not answer


class Lifecycle:
    """The parts of a running client."""

    def __init__(self, options: Options, bus: Bus, client: object) -> None:
        profile = options.profile
        emit = Emitter(bus, profile, options.client_id)
        DETAILS.join(emit)
        faults = Faults(emit, options.client_id, profile.metadata_filter is not False, options.on_error)
        types = MessageTypes()
        requests = Requests(options.protocol)
        self.connection = connection = Connection(options, emit, faults, self)
        up, attend = connection.up, connection.attend
        self.sender = Sender(options, emit, faults, types, up, connection.closing)
        self.dialogue = Dialogue(
            options, emit, faults, self.sender, requests, up, self.is_owner, attend, self.make_room
        )
        self.over = Flag()
        self.requests = requests
        self._login = Login(options.auth, emit, faults, client, self._refused_for_good)
        events = MessageEvents(options.protocol, round(profile.slow_after * 1e9), emit, faults, types, self._breach)
        has_heartbeats = type(options.protocol).heartbeat_answer is not Protocol.heartbeat_answer
        heartbeat = options.protocol.heartbeat_answer if has_heartbeats else None
        self._receiver = Receiver(
            options.on_message, events, requests, connection, heartbeat, self.dialogue.answer_heartbeat
        )
        self._refusal: WsnovaError | None = None  # of a subscription that start() was to make
        self._options = options
        self._emit = emit
        self._faults = faults
        self._ownership = Ownership(lambda: self._redialling or self.connection.closing.is_set())
        self._ready = Flag()  # the first link stands, or never will
        self._stood = False  # it did; written before _ready is set
        self._finishing = threading.Lock()  # guards _finished
        self._finished = False
        self._abandoned = False  # by a forked child
        self._standing_in = False  # a job of the clock is to tell what the keeper saw
        self._redialling = False  # a thread makes a link while nobody iterates

    # -- start --------------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the client's own thread, if it has one."""
        if self._options.on_message is not None:
            name = process.thread_name("client", self._options.client_id)
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def await_first(self, timeout: float | None) -> None:
        """Until the first link stands. Raises ConnectionFailed if it does not, within `timeout` seconds."""
        if self.is_owner() and not self._ready.is_set():
            raise ConfigurationError("start() was called by what the client itself calls while it connects")
        opened = self._options.on_message is None and self._ownership.if_free(lambda: self._open_here(timeout))
        if not opened and not self._ready.wait(timeout):  # another thread makes the first link
            self._give_up(timeout)
        failure = self.connection.failure or self._refusal
        if failure is not None:
            raise failure
        if not self._stood:
            raise ConnectionFailed("the client was closed while it connected", cause="cancelled")

    def _open_here(self, timeout: float | None) -> None:
        """Dial in the caller's thread; a job of the clock ends it at the deadline."""
        if self._ready.is_set():
            return
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.connection.ask_close("local")

        job = None if timeout is None else CLOCK.call_later(timeout, expire)
        try:
            self.connection.open()
            self._subscribe_first()
        except Stopped:
            self._finish()
            self._give_up(timeout if expired.is_set() else None)
        except BaseException:  # also Ctrl-C in the midst of a dial
            self._finish()
            raise
        finally:
            if job is not None:
                job.cancel()
        self._stood = True
        self._ready.set()

    def _give_up(self, timeout: float | None) -> None:
        last = self.connection.last_failure
        self.close(1.0, "local")
        if timeout is None:
            raise ConnectionFailed("the client was closed while it connected", cause="cancelled")
        why = f"; the last try failed: {last}" if last is not None else ""
        raise ConnectionFailed(f"no connection within timeout={timeout:g} s{why}", cause="timeout")

    # -- the owner ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """wsnova-client-<id>: the owner for a client with on_message."""
        with self._ownership.held():
            try:
                self.connection.open()
                self._subscribe_first()
                self._stood = True
                self._ready.set()
                while True:
                    link = self._next_turn()
                    if link is not None:
                        for _ in self._receiver.messages(link):
                            pass  # on_message has it already
            except (Stopped, Forked, ConnectionFailed, SubscriptionRejected):
                pass  # told already; start() or wait() tell their callers
            finally:
                self._finish()

    def _subscribe_first(self) -> None:
        """The owner, on the first link: the channels given to the constructor. A rejection ends the client."""
        if self._options.subscriptions:
            try:
                self.dialogue.subscribe_all(self._options.subscriptions, self._options.connect_timeout)
            except SubscriptionRejected as error:
                self._refusal = error
                raise
            except (RequestTimeout, RequestInterrupted, NotConnected):
                pass  # told; what is wanted is restored or tried again

    def _next_turn(self, *, revive: bool = True) -> Link | None:
        """Owner, between messages: do what is due, and see until when messages may be handed out. The link to read from,
        made anew if need be; None if that is left to another thread."""
        if not _ALIVE[0]:
            process.in_child()
        if self._abandoned:
            raise Forked("this client was started in the parent process; call start() in this one")
        receiver, batch, now = self._receiver, self._receiver.batch, time.monotonic_ns()
        if batch.due and now >= batch.due:
            receiver.flush()
        due = self.dialogue.next_due()
        if due is not None and time.monotonic() >= due:
            self.dialogue.tick()
            due = self.dialogue.next_due()
        receiver.due = now + _LONGEST_TURN
        link = self.connection.live_link(revive=revive)
        for other in (batch.due, 0 if due is None else round(due * 1e9)):
            if other:
                receiver.due = min(receiver.due, other)
        return link

    def messages(self) -> Iterator[Any]:
        """Messages for a loop, whose body is timed as their processing. Ends when the client is closed."""
        connection = self.connection
        with self._ownership.held():
            try:
                while True:
                    link = self._next_turn()
                    if link is not None:
                        yield from self._receiver.messages(link)
            except Stopped:
                self._finish()
                if connection.failure is not None:  # another thread tried, and gave up or was refused
                    raise connection.failure from None
            except ConnectionFailed:
                self._finish()
                raise
            except GeneratorExit:  # the loop was left; if a closer could not wait for its body, the rest is ours
                if self.connection.closing.is_set():
                    self._finish()
                raise

    def receive(self, timeout: float | None) -> Any:
        """One message. Raises TimeoutError, NotConnected once the client is closed."""
        if self.over.is_set():
            raise NotConnected("the client is closed; nothing more will come")
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            message = self._receive(until)
            if message is not NOTHING:
                return message
            # A link that is to be made again may take longer than the caller has.
            self._start_redial()
            left = 0.0 if until is None else until - time.monotonic()
            if left <= 0 or not self.connection.await_link(left):
                raise TimeoutError(f"no message within timeout={timeout:g} s")

    def _receive(self, until: float | None) -> Any:
        """One message, or NOTHING at `until` and, if there is one, for a link that is lost."""
        receiver, connection = self._receiver, self.connection
        with self._ownership.held(until):
            try:
                while True:
                    link = self._next_turn(revive=until is None)
                    if link is not None:
                        due = receiver.due / 1e9
                        if not link.inbox:
                            link.next_run(due if until is None else min(due, until), direct=False)
                        message = receiver.one(link)
                        if message is not NOTHING:
                            return message
                    if until is not None and (time.monotonic() >= until or connection.lost):
                        return NOTHING
            except Stopped:
                self._finish()
                if connection.failure is not None:  # another thread tried, and gave up
                    raise connection.failure from None
                raise NotConnected("the client is closed; nothing more will come") from None
            except ConnectionFailed:
                self._finish()
                raise

    # -- what the connection asks -------------------------------------------------------------------------------------

    def before_dial(self) -> None:
        self._login.before_dial()

    def refused(self, error: ConnectionFailed) -> ConnectionFailed:
        return self._login.refused(error)

    def log_in(self) -> None:
        self._login.perform()

    def is_owner(self) -> bool:
        return self._ownership.mine()

    def make_room(self, link: Link) -> None:
        """Whoever waits for an answer: if nobody iterates, what was answered already goes out of the way."""
        self._ownership.if_free(lambda: self._receiver.clear_answers(link))

    def arrived(self) -> None:
        self.requests.wake()

    def neglected(self) -> None:
        if not self._standing_in:  # a slow telemetry handler holds up the clock: its jobs must not pile up
            self._standing_in = True
            CLOCK.call_later(0.0, self._stand_in)

    def unlinked(self) -> None:
        self._login.lost()
        self.dialogue.lost()

    def linked(self, again: bool) -> None:
        """The owner has a usable link."""
        try:
            if again:
                self.dialogue.restore()
            else:
                self.dialogue.greet()
            if again and self._options.on_reconnect is not None:
                self._options.on_reconnect()
        except Exception as error:
            self._faults.log("on_reconnect or the protocol's greeting raised", error)
            self._faults.handled(self._faults.occurred(error, "handler", "error"), "continued")

    def _stand_in(self) -> None:
        """wsnova-clock: the owner is away; tell what the keeper saw, and make a new link if nobody iterates."""
        try:
            self.connection.neglected()
        finally:
            self._standing_in = False
        link = self.connection.link
        if link is None or link.loss is None or self._options.on_message is not None or self._redialling:
            return
        if self._options.reconnect or not link.inbox:  # else what was not read yet is waited for, and ends the client
            self._start_redial()

    def _start_redial(self) -> None:
        """Have a thread of its own make the next link, if it is lost and none does."""
        with self._finishing:
            link = self.connection.link
            if self._redialling or self._finished or (link is not None and link.loss is None):
                return
            self._redialling = True
        name = process.thread_name("client", self._options.client_id)
        threading.Thread(target=self._redial, name=name, daemon=True).start()

    def _redial(self) -> None:
        """wsnova-client-<id>: the owner for a client that nobody iterates, until its link stands again."""
        try:
            self._ownership.if_free(self._revive)
        finally:
            self._redialling = False

    def _revive(self) -> None:
        try:
            self.connection.revive()
        except (Stopped, Forked, ConnectionFailed):
            self._finish()

    def _refused_for_good(self, error: ConnectionFailed) -> None:
        """wsnova-clock: a refresh was rejected."""
        self.connection.failure = error
        self.close(1.0, "error")

    def _breach(self, violation: Violation) -> None:
        link = self.connection.link
        if link is not None:
            link.breach(violation)
            link.inbox.clear()  # nothing behind it may be processed (RFC 6455, section 7.1.7)
            self.requests.forget_met()

    # -- the end ------------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection without a word. Takes no lock."""
        self._abandoned = self._finished = True
        self._receiver.events.mute()
        self.connection.abandon()

    def close(self, timeout: float, reason: str) -> None:
        """End this life within `timeout` seconds."""
        if self._abandoned:  # the parent's, and so are the locks
            return
        deadline = time.monotonic() + timeout
        link = self.connection.ask_close(reason)
        if self.over.is_set():
            return
        grace = deadline - timeout * _LAST_RESORT
        if link is not None:
            link.send_close(NORMAL, min(1.0, timeout * _LAST_RESORT))

        def end() -> None:
            if link is not None and not self.over.is_set():
                self.connection.drain(link, grace)
            self._finish()

        if self.is_owner():  # from on_message or a loop body: nobody else will end it
            if link is not None and link.reading.locked():  # a signal's handler, in the midst of this thread's read
                self.connection.force_end(link)
                self._finish(owned=False)
            else:
                end()
            return
        if self._ownership.if_free(end, max(0.0, grace - time.monotonic())):  # nobody reads, or not any more
            return
        still = self.connection.link
        if still is not None:
            self.connection.force_end(still)  # wakes an owner that waits for a silent peer
        if not self.over.wait(max(0.0, deadline - time.monotonic())):
            self._finish(owned=False)  # the owner is in the user's code, and leaves when that returns

    def _finish(self, *, owned: bool = True) -> None:
        """Tell what is left to tell, once; by the owner, or by a closer that could not wait for it."""
        if self._abandoned:
            return
        with self._finishing:
            first, self._finished = not self._finished, True
        WATCHDOG.forget(self._receiver)
        self._receiver.flush()
        self.sender.flush()
        self.unlinked()
        self.connection.over(dispose=owned)
        if owned:
            self._receiver.events.forget()
        if first:
            self._emit.closed()
            self.over.set()
            self._ready.set()
