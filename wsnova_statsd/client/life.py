"""One life of a client, from start to close: who owns the connection, and how it ends.

`_owning` is held by the owner: in callback mode by `wsnova-client-<id>` for as long as it lives, else by the thread
that iterates or receives, while it does. Only its holder reads. Everyone else asks: `close` from any thread tells the
owner, waits for it, and past its deadline ends the link under it and tells of the end itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from .. import events, process
from ..clock import CLOCK
from ..errors import ConfigurationError, ConnectionFailed, NotConnected
from ..telemetry import Bus
from .connection import Connection
from .emitter import Emitter
from .faults import Faults
from .frames import NORMAL, Violation
from .inbound import NOTHING, Inbound
from .link import Link, Received
from .options import Options
from .outbound import Outbound
from .reconnect import Stopped
from .types import MessageTypes

_LAST_RESORT: Final = 0.2  # of close()'s time, kept for ending a link whose peer or owner does not answer


class Life:
    """The parts of a running client."""

    def __init__(self, options: Options, bus: Bus) -> None:
        profile = options.profile
        emit = Emitter(bus, profile, options.client_id)
        faults = Faults(emit, options.client_id, profile.metadata_filter is not False, options.on_error)
        types = MessageTypes()
        self.connection = Connection(options, emit, faults, self._reconnected)
        self.outbound = Outbound(options, emit, faults, types, self.connection.up)
        self.over = threading.Event()
        self._inbound = Inbound(options, emit, faults, types, self._breach)
        self._options = options
        self._bus = bus
        self._faults = faults
        self._owning = threading.Lock()
        self._owner: int | None = None  # the holder's thread; written by the holder
        self._ready = threading.Event()  # the first link stands, or never will
        self._finishing = threading.Lock()  # guards _finished
        self._finished = False

    # -- start --------------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the client's own thread, if it has one."""
        if self._options.on_message is not None:
            name = process.thread_name("client", self._options.client_id)
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def await_first(self, timeout: float | None) -> None:
        """Until the first link stands. Raises ConnectionFailed if it does not, within `timeout` seconds."""
        if self._options.on_message is None:
            self._open_here(timeout)
        elif not self._ready.wait(timeout):
            self._give_up(timeout)
        if self.connection.failure is not None:
            raise self.connection.failure
        if self.over.is_set():
            raise ConnectionFailed("the client was closed while it connected", cause="cancelled")

    def _open_here(self, timeout: float | None) -> None:
        """Dial in the caller's thread; a job of the clock ends it at the deadline."""
        with self._owned():
            if self._ready.is_set():
                return
            job = None if timeout is None else CLOCK.call_later(timeout, lambda: self.connection.ask_close("local"))
            try:
                self.connection.open()
            except Stopped:
                self._finish()
                self._give_up(timeout)
            except BaseException:  # also Ctrl-C in the midst of a dial
                self._finish()
                raise
            finally:
                if job is not None:
                    job.cancel()
            self._ready.set()

    def _give_up(self, timeout: float | None) -> None:
        last = self.connection.last_failure
        self.close(1.0, "local")
        if timeout is None:
            raise ConnectionFailed("the client was closed while it connected", cause="cancelled")
        why = f"; the last try failed: {last}" if last is not None else ""
        raise ConnectionFailed(f"no connection within timeout={timeout:g} s{why}", cause="timeout")

    # -- the owner ----------------------------------------------------------------------------------------------------

    def _owned(self) -> _Ownership:
        return _Ownership(self)

    def _run(self) -> None:
        """wsnova-client-<id>: the owner for a client with on_message."""
        with self._owned():
            try:
                self.connection.open()
                self._ready.set()
                handle = self._inbound.handle
                while True:
                    received = self._next(None)
                    if received is not None:
                        handle(received)
            except (Stopped, ConnectionFailed):
                pass  # told already; start() or wait() tell their callers
            finally:
                self._finish()

    def _next(self, until: float | None) -> Received | None:
        """The next message as received, None at `until`; the sums of the last second are told on the way."""
        due = self._inbound.batch.due
        if not due:
            return self.connection.next_received(until)
        first = due / 1e9 if until is None else min(due / 1e9, until)
        received = self.connection.next_received(first)
        if received is None and time.monotonic_ns() >= due:
            self._inbound.flush()
        return received

    def messages(self) -> Iterator[Any]:
        """Messages for a loop, whose body is timed as their processing. Ends when the client is closed."""
        inbound = self._inbound
        with self._owned():
            try:
                while True:
                    received = self._next(None)
                    if received is None:
                        continue
                    message = inbound.decode(received)
                    if message is not NOTHING:
                        inbound.begin()
                        try:
                            yield message
                        finally:
                            inbound.finish("ok")
            except Stopped:
                self._finish()
            except ConnectionFailed:
                self._finish()
                raise

    def receive(self, timeout: float | None) -> Any:
        """One message. Raises TimeoutError, NotConnected once the client is closed."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._owned():
            try:
                while True:
                    received = self._next(until)
                    if received is not None:
                        message = self._inbound.decode(received)
                        if message is not NOTHING:
                            self._inbound.skip_timing()
                            return message
                    elif until is not None and time.monotonic() >= until:
                        raise TimeoutError(f"no message within timeout={timeout:g} s")
            except Stopped:
                self._finish()
                raise NotConnected("the client is closed; nothing more will come") from None

    def _reconnected(self) -> None:
        """The owner has a new link."""
        if self._options.on_reconnect is not None:
            try:
                self._options.on_reconnect()
            except Exception as error:
                self._faults.log("on_reconnect raised", exc_info=error)
                self._faults.handled(self._faults.occurred(error, "handler", "error"), "continued")

    def _breach(self, violation: Violation) -> None:
        link = self.connection.link
        if link is not None:
            link.breach(violation)

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self, timeout: float, reason: str) -> None:
        """End this life within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        link = self.connection.ask_close(reason)
        if self.over.is_set():
            return
        grace = deadline - timeout * _LAST_RESORT
        if link is not None:
            link.send_close(NORMAL, min(1.0, timeout * _LAST_RESORT))
        if self._owner == threading.get_ident():  # from on_message or a loop body: nobody else will end it
            self._finish()
            return
        if self._owning.acquire(timeout=max(0.0, grace - time.monotonic())):  # nobody reads, or not any more
            try:
                self._owner = threading.get_ident()
                if link is not None and not self.over.is_set():
                    _drain(link, grace)
                self._finish()
            finally:
                self._owner = None
                self._owning.release()
            return
        link = self.connection.link
        if link is not None:
            self.connection.force_end(link)  # wakes an owner that waits for a silent peer
        if not self.over.wait(max(0.0, deadline - time.monotonic())):
            self._finish(owned=False)  # the owner is in the user's code, and leaves when that returns

    def _finish(self, *, owned: bool = True) -> None:
        """Tell what is left to tell, once; by the owner, or by a closer that could not wait for it."""
        with self._finishing:
            first, self._finished = not self._finished, True
        self._inbound.flush()
        self.outbound.flush()
        self.connection.over(dispose=owned)
        if first:
            self._bus.execute(
                events.CLIENT_CLOSED, {"system_time": time.time_ns()}, {"client_id": self._options.client_id}
            )
            self.over.set()
            self._ready.set()


class _Ownership:
    """Holds a life's ownership for a with block."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def __enter__(self) -> None:
        life, me = self._life, threading.get_ident()
        if life._owner == me:
            raise ConfigurationError("the client is being iterated in this very thread; leave that loop first")
        if not life._owning.acquire(timeout=_LAST_RESORT):
            raise ConfigurationError("another thread iterates over this client; only one thread at a time may")
        life._owner = me

    def __exit__(self, *exception: object) -> None:
        self._life._owner = None
        self._life._owning.release()


def _drain(link: Link, until: float) -> None:
    """Read until the server answered the close frame; what still comes is for nobody."""
    while link.loss is None and time.monotonic() < until:
        link.fill(until)
        link.inbox.clear()
