"""A client's lifecycle, from start to close: who owns the connection, and how it ends.

One thread owns the connection at a time. In callback mode that is `wsnova-client-<id>` for as long as it lives;
otherwise it is the thread that iterates or receives, while it does so, or a thread of that name that dials while no
thread iterates. Only the owner reads. `close`, from any thread, stops the owner, waits for it, and ends the link under
it once the deadline has passed. Nothing here holds a lock: a signal's handler may close what it interrupts.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from .. import process
from ..clock import CLOCK, Job, weakly
from ..errors import ConfigurationError, ConnectionFailed, Forked, NotConnected, SubscriptionRejected, WsnovaError
from ..link.flag import Turn
from ..link.frames import NORMAL
from ..link.link import Link
from ..link.session import NEVER, Loss
from ..telemetry import Bus
from .connection import Calls, Connection
from .detail import DETAILS
from .emitter import Emitter, opened
from .faults import Faults
from .login import Login
from .message_events import NOTHING, MessageEvents
from .message_types import MessageTypes
from .options import Options
from .ownership import THREAD, Hold, Ownership
from .receiver import Receiver
from .replies import Replies
from .requests import Requests
from .retry import Expired, Stopped
from .sender import Sender
from .state import Phase, Progress, State
from .stuck import WATCHDOG
from .subscriptions import Subscriptions

_ALIVE: Final = process.ALIVE
_get_ident = threading.get_ident
_RUNNING: Final = Phase.RUNNING  # an enum look-up costs as much as a call
_LONGEST_TURN: Final = 60_000_000_000  # ns between two looks at what is due
_LAST_RESORT: Final = 0.2  # share of close()'s time, kept to end a link whose peer or owner does not react
_GOODBYE: Final = 1.0  # seconds for the close handshake of a client that a handler ends
_REPORTED: Final = (Stopped, Forked, ConnectionFailed, SubscriptionRejected)  # ends that start() or wait() report


class Lifecycle(Progress):
    """The parts of a started client. `client` is passed to login(); only the client's own thread, or a loop that
    iterates, holds a reference to it."""

    def __init__(self, options: Options, bus: Bus, client: object) -> None:
        super().__init__()
        self._options = options = options.on(bus)
        profile, protocol = options.profile, options.protocol
        self._emit = emit = Emitter(bus, profile, options.client_id, options.tags)
        redacts, loops = profile.metadata_filter is not False, options.on_message is None
        self._faults = faults = Faults(emit, options.client_id, redacts, options.on_error, end_is_raised=loops)
        types, replies = MessageTypes(), Replies(protocol, self._lower)
        self.replies: Replies = replies
        self._ownership = owner = Ownership(lambda: self.connection.closing.is_set())
        self.client: weakref.ref[object] = weakref.ref(client)
        self._login = Login(options.auth, emit, faults, self.client, self._refused_for_good)
        calls = Calls(owner.mine, self._linked, self._unlinked, weakly(replies.wake), weakly(self._neglected))
        self.connection: Connection = Connection(options, emit, faults, self._login, calls)
        self.sender: Sender = Sender(options, emit, faults, types, self.connection)
        up, attend, sender = self.connection.up, self.connection.attend, self.sender
        self.requests: Requests = Requests(protocol, faults, sender, replies, owner, up, attend, self._settle)
        ask, answer = self.requests, self.requests.answer_heartbeat
        self.subscriptions: Subscriptions = Subscriptions(protocol, emit, faults, sender, replies, ask, up, self._lower)
        events = MessageEvents(protocol, round(profile.slow_after * 1e9), emit, faults, types)
        self.receiver: Receiver = Receiver(options.on_message, events, replies, self.connection, answer)
        self.requests.answered = self.receiver.answered
        self._refusal: WsnovaError | None = None  # of a subscription that start() asked for
        self._launch = Turn()
        self._thread: threading.Thread | None = None  # the owner's, of a client with on_message
        self._emission: Job | None = None  # emits what the keeper saw, and dials if no thread iterates
        self._closed = Turn()  # held by the caller that emits the closing event
        self.next: dict[str, Lifecycle] = {}  # the lifecycle of the next start, after this one ended

    @property
    def launched(self) -> bool:  # it has begun, and so emits
        return self._launch.holder() is not None

    @property
    def state(self) -> State:  # also CLOSED if only its last events are still to come
        return self.connection.state if self.client() is not None else State.CLOSED

    # -- start --------------------------------------------------------------------------------------------------------

    def launch(self, client: object, *, patient: bool) -> None:
        """Begin, once: start the client's own thread, if it has one, which then holds the client. `patient`: another
        thread makes the first link, and retries whatever the answer. Raises ConnectionFailed if no thread can start."""
        me = object()
        try:
            if self._launch.take(me):
                self.connection.patient = patient
                opened(self._emit.bus, self._emit.whose, self._options.uri, profile=self._options.profile)
                self.connection.downtime.begins()
                DETAILS.join(self._emit)
                self._emit.emit_state()
                CLOCK.start()  # a collected client needs it, and must not start it
                if self._options.on_message is not None:
                    name = process.thread_name("client", self._options.client_id)
                    self._thread = threading.Thread(target=self._run, args=(client,), name=name, daemon=True)
                    self._thread.start()
                elif patient:
                    self._dial_apart()
        except RuntimeError as error:
            self._finish()
            raise ConnectionFailed(f"the client's thread cannot be started: {error}", cause="error") from error
        except BaseException:  # a signal's handler raised; the next start() begins
            if self._options.on_message is not None and (self._thread is None or not self._thread.is_alive()):
                self._launch.give_back(me)
            raise

    def await_first(self, timeout: float | None) -> None:
        """Wait for the first link. Raises ConnectionFailed if there is none within `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        if self._ownership.mine() and self.phase is Phase.STARTING:
            raise ConfigurationError("start() was called in a function that makes the connection; call it elsewhere")
        callback, patient = self._options.on_message is not None, self.connection.patient
        if patient and not callback and self.phase is Phase.STARTING:
            self._dial_apart()  # again, if no thread could be started last time
        try:
            opened = not callback and not patient and self._ownership.if_free(lambda: self._open(until))
        except Expired:
            self._give_up(timeout)
        except Stopped:
            self.close(1.0, "local")
        else:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not opened and not self._changed.wait_for(lambda: self.phase is not Phase.STARTING, left):
                self._give_up(timeout)
        failure = self.connection.failure or self._refusal
        if failure is not None:
            raise failure
        if Phase.RUNNING not in self._reached:
            raise ConnectionFailed("the client was closed while it connected", cause="cancelled")

    def _open(self, until: float | None) -> None:
        """The owner: make the first link, unless it is made already. Anything raised ends the lifecycle."""
        if self.phase is not Phase.STARTING:
            return
        try:
            self.connection.open(until)
            self._subscribe_first()
        except BaseException:  # also Ctrl-C in the midst of a dial
            self._finish()
            raise
        self.connection.until = None
        self._reach(Phase.RUNNING)

    def _give_up(self, timeout: float | None) -> NoReturn:
        last = self.connection.last_failure
        if not self.connection.patient:
            self.close(1.0, "local")
        why = f"; the last attempt failed: {last}" if last is not None else ""
        raise ConnectionFailed(f"no connection within timeout={timeout:g} s{why}", cause="timeout")

    def bounded(self, timeout: float) -> float:
        """The timeout of a request; during a login it ends with the time for the first link."""
        return self.connection.bounded(timeout) if self._ownership.mine() else timeout

    # -- the owner ----------------------------------------------------------------------------------------------------

    def _run(self, client: object) -> None:
        """wsnova-client-<id>: the owner of a client with on_message; the client lives as long as this thread."""
        hold = self._ownership.wish()
        try:
            self._ownership.take(hold)
            self._own()
        except BaseException as error:
            self._faults.ended("closing it failed", error, "connection")
        finally:
            hold.pop(THREAD, None)
            self._ownership.freed()
            if not self.over:
                self.connection.over(dispose=False)
                self._end()

    def _own(self) -> None:
        try:
            self._open(None)
            while True:
                try:
                    link = self._next_turn()
                    for _ in self.receiver.messages(link) if link is not None else ():
                        pass  # on_message has already had it
                except Exception as error:
                    self._survive(error)
        except _REPORTED:
            pass  # start() or wait() report it
        except BaseException as error:
            self._ended_by(error)
        finally:
            self._finish()

    def _survive(self, error: Exception) -> None:
        """The owner: an error while reading is a fault of ours, or of the platform, and costs the link, not the client:
        the link is lost and made again. Raised if it is another kind of end, or if the link was already lost."""
        link = self.connection.link
        if isinstance(error, _REPORTED) or link is None or link.loss is not None:
            raise error
        self._faults.log("reading failed; the client reconnects", error)
        link.lose(Loss("error", self._faults.text(error)))

    def _ended_by(self, error: BaseException) -> None:
        """The owner: the client ends because of this error: SystemExit from the user's code, or a fault of ours."""
        expected = not isinstance(error, Exception)
        what = f"a handler raised {type(error).__name__}" if expected else "its thread failed"
        self._faults.ended(what, error, "handler" if expected else "connection")
        connection, reason = self.connection, "handler_exit" if expected else "error"
        if not connection.closing.is_set() and (link := connection.ask_close(reason)) is not None:
            link.send_close(NORMAL, _GOODBYE)
            connection.drain(link, time.monotonic() + _GOODBYE)

    def _subscribe_first(self) -> None:
        """The owner, on the first link: subscribe the channels passed to the constructor. A rejection ends the client,
        unless it is patient."""
        channels, connection = self._options.subscriptions, self.connection
        if not channels:
            return
        try:
            self.subscriptions.subscribe_all(channels, connection.bounded(self._options.connect_timeout))
        except SubscriptionRejected as error:
            if not connection.patient:
                self._refusal = error
                raise
            self._faults.log("a channel was refused", error)
            self._faults.pass_on(error)
            return
        if connection.until is not None and time.monotonic() >= connection.until:
            raise Expired

    def _next_turn(self, *, revive: bool = True) -> Link | None:
        """Owner, between messages: do what is due, and note how long messages may be dispatched. Returns the link to
        read from, made anew if need be; None if that is left to another thread."""
        receiver, standing = self.receiver, self.connection.link
        if standing is not None and self.phase is _RUNNING and receiver.goes_on(standing):
            return standing
        if not _ALIVE[0]:
            process.in_child()
        if self.phase is Phase.FORKED:
            raise Forked("this client was started in the parent process; call start() in this one")
        replies, batch, now = self.replies, receiver.batch, time.monotonic_ns()
        if batch.due and now >= batch.due:
            receiver.flush()
        self.requests.expire(now / 1e9)
        self.subscriptions.retry(now / 1e9)
        link = self.connection.live_link(revive=revive)
        receiver.due = now + _LONGEST_TURN
        for due in filter(None, (batch.due / 1e9, replies.next_deadline(), self.subscriptions.next_due())):
            self._lower(due)
        return link

    def _lower(self, due: float) -> None:
        """Any thread: something is due at this time (time.monotonic())."""
        self.receiver.due = min(self.receiver.due, round(due * 1e9))

    def messages(self, client: object) -> Iterator[Any]:
        """Messages for a loop, which holds the client and whose body is timed as their processing. Ends when the client
        is closed."""
        connection, hold = self.connection, self._ownership.wish()
        try:
            self._ownership.take(hold)
            self._open(None)
            while True:
                try:
                    link = self._next_turn()
                except Exception as error:
                    self._survive(error)
                    link = None
                if link is not None:
                    yield from self.receiver.messages(link)
        except Stopped:
            self._finish()
            if connection.failure is not None:  # another thread dialled, and gave up or was refused
                raise connection.failure from None
        except ConnectionFailed:
            self._finish()
            raise
        except GeneratorExit:  # the loop was left; if a closer did not wait for its body, finish here
            if self.connection.closing.is_set():
                self._finish()
            raise
        finally:
            hold.pop(THREAD, None)
            self._ownership.freed()

    def receive(self, timeout: float | None) -> Any:
        """Return one message. Raises TimeoutError, NotConnected once the client is closed."""
        until = None if timeout is None else time.monotonic() + timeout
        link, receiver = self.connection.link, self.receiver
        hold: Hold = {THREAD: _get_ident()}
        try:  # nearly always there is a link, and nothing else is due
            if link is not None and self.phase is _RUNNING and receiver.goes_on(link) and self._ownership.enter(hold):
                message = receiver.one(link, NEVER if until is None else until)
                if message is not NOTHING:
                    return message
        except Exception as error:
            self._survive(error)
        finally:
            hold.pop(THREAD, None)
            self._ownership.freed()
        if self.over:
            raise NotConnected("the client is closed; no more messages will arrive")
        while True:
            if (message := self._receive(until)) is not NOTHING:
                return message
            # Making the link again may take longer than the caller's timeout.
            self._dial_apart()
            left = 0.0 if until is None else until - time.monotonic()
            if left <= 0 or not self.connection.await_link(left):
                raise TimeoutError(f"no message within timeout={timeout:g} s")

    def _receive(self, until: float | None) -> Any:
        """One message, or NOTHING at `until`; with an `until`, also NOTHING if the link is lost."""
        connection, hold = self.connection, self._ownership.wish()
        try:
            self._ownership.take(hold, until)
            self._open(None)
            while True:
                message = self._read_one(until)
                if message is not NOTHING:
                    return message
                if until is not None and (time.monotonic() >= until or connection.lost):
                    return NOTHING
        except Stopped:
            self._finish()
            closed = NotConnected("the client is closed; no more messages will arrive")
            raise connection.failure or closed from None  # another thread dialled, and gave up
        except ConnectionFailed:
            self._finish()
            raise
        finally:
            try:
                if self.over:  # a closer did not wait: finish here
                    self._finish()
            finally:
                hold.pop(THREAD, None)
            self._ownership.freed()

    def _read_one(self, until: float | None) -> Any:
        """The next message, or NOTHING at `until` or if something else is due."""
        try:
            link = self._next_turn(revive=until is None)
            return NOTHING if link is None else self.receiver.one(link, NEVER if until is None else until)
        except Exception as error:
            self._survive(error)
            return NOTHING

    # -- what the connection calls ------------------------------------------------------------------------------------

    def _settle(self, link: Link) -> None:
        """The owner for a moment, after a request was answered: count the answers found as received and remove them
        from the inbox; emit what the link saw meanwhile."""
        if self.phase is not _RUNNING and self.over:  # a closer did not wait: finish here
            self._finish()
            return
        if self.replies.awaiting:
            self.receiver.clear_answers(link)
        if link.session.notices:
            self.connection.connection_events.seen(link)
        if self.receiver.batch.due and time.monotonic_ns() >= self.receiver.batch.due:
            self.receiver.flush()

    def _neglected(self) -> None:
        """The keeper: the owner is away, and there is something to emit."""
        waiting = self._emission  # a slow telemetry handler delays the clock: jobs must not pile up
        if waiting is None or waiting.work is None:
            self._emission = CLOCK.call_later(0.0, self._emit_for_the_owner)

    def _unlinked(self) -> None:
        self._login.lost()
        self.subscriptions.lost()
        self.replies.interrupt()

    def _linked(self, again: bool) -> None:
        """The owner: the link is usable."""
        try:
            self.requests.greet()
            if again:
                self.subscriptions.restore()
            if again and self._options.on_reconnect is not None:
                self._options.on_reconnect()
        except Exception as error:
            self._faults.log("on_reconnect or the protocol's greeting raised", error)
            self._faults.handled(self._faults.occurred(error, "handler", "error"), "continued")

    def _emit_for_the_owner(self) -> None:
        """wsnova-clock: emit what the keeper saw, and start a new link if no thread iterates."""
        self.connection.neglected()
        link = self.connection.link
        if link is None or link.loss is None or self._options.on_message is not None:
            return
        if self._options.reconnect or not link.inbox:  # otherwise unread messages come first
            self._dial_apart()

    def _dial_apart(self) -> None:
        """Start a separate thread that makes the first or next link, unless one does; the next call tries again."""
        link = self.connection.link
        if self.over or (link is not None and link.loss is None):
            return
        try:
            self._ownership.have_stand_in(self._revive, process.thread_name("client", self._options.client_id))
        except RuntimeError as error:
            self._faults.log("the thread that reconnects cannot be started", error)

    def _revive(self) -> None:
        """wsnova-client-<id>: the owner of a client that no thread iterates, until its link is up."""
        self._ownership.stand_in()
        try:
            self._open(None) if self.phase is Phase.STARTING else self.connection.revive()
        except _REPORTED:
            self._finish()
        except BaseException as error:
            self._ended_by(error)
            self._finish()

    def _refused_for_good(self, error: ConnectionFailed) -> None:
        """wsnova-login-<id>: a renewal was rejected."""
        self.connection.failure = error
        self.close(1.0, "error")

    # -- the end ------------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """In a forked child: abandon the parent's connection without emitting anything. Takes no lock."""
        self._reach(Phase.FORKED)
        self.receiver.events.mute()
        self.connection.abandon()

    def let_go(self) -> bool:
        """The client is no longer referenced, and has no thread of its own: it is being collected. Returns False if it
        is over. Waits for nothing, takes no lock and calls no user code: the clock emits the end."""
        if self._thread is not None or self.over or self._launch.holder() is None:
            return False
        link = self.connection.ask_close("collected")
        if link is not None:
            link.lose(Loss("collected", "", fault=False))
        CLOCK.call_later(0.0, lambda: self._ownership.if_free(self._finish))  # otherwise its owner finds it closed
        return True

    def close(self, timeout: float, reason: str) -> None:
        """End this lifecycle within `timeout` seconds."""
        if self.phase is Phase.FORKED:  # the connection is the parent's
            return
        deadline = time.monotonic() + timeout
        link = self.connection.ask_close(reason)
        if self.over:
            return
        grace = deadline - timeout * _LAST_RESORT
        if link is not None:
            link.send_close(NORMAL, min(1.0, timeout * _LAST_RESORT))

        def end() -> None:
            if link is not None and not self.over:
                self.connection.drain(link, grace)
            self._finish()

        if link is not None and link.in_midst:  # a signal's handler: what it interrupts cannot go on until it returns
            self.connection.force_end(link)
            self._finish(owned=False)
            return
        if self._ownership.mine():  # from on_message or a loop body: no other thread can end it
            end()
            return
        if self._ownership.if_free(end, max(0.0, grace - time.monotonic())):  # no thread reads, or it has stopped
            return
        still = self.connection.link
        if still is not None:
            self.connection.force_end(still)  # wakes an owner that is waiting for a silent peer
        if not self.wait(max(0.0, deadline - time.monotonic())):
            self._finish(owned=False)  # the owner, in the user's code, does the rest when that returns,
            self._ownership.if_free(self._finish)  # unless it returned just now

    def _finish(self, *, owned: bool = True) -> None:
        """Emit what is left; called by the owner, or by a closer that did not wait for it. Each step may run twice."""
        if self.phase is Phase.FORKED:
            return
        WATCHDOG.forget(self.receiver)
        self.receiver.flush()
        self.sender.flush()
        self._unlinked()
        self.connection.over(dispose=owned)
        if owned:
            self.receiver.events.forget()
        self._end()

    def _end(self) -> None:
        """It is over: state and wait() report it from now on."""
        if self.phase is not Phase.FORKED and self.launched and self._closed.take(object()):
            self.connection.downtime.ends()
            self._emit.closed()
        self._reach(Phase.ENDED)
