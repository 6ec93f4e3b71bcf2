"""One connection of the websockets library: its messages, heartbeats and end, as the events of a Foreign.

Uses only public names of the library's connections and imports nothing from it. Threads: events seen in a call of the
program are emitted in that call's thread; a pong, and an end that no call has noticed, by wsnova-clock within a second,
because the library's own thread holds a lock when it detects them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import itemgetter
from typing import Any, Final

from .. import events, process
from ..clock import CLOCK
from ..link.flag import holding
from ..link.frames import BINARY, TEXT
from ..link.session import Loss, cut
from ..link.transport import asked
from ..redaction import log_fault
from .foreign import Foreign, Span
from .foreign_link import LOCAL, Link, without_us

LOOK_EVERY: Final = 0.5  # seconds between two looks for events that no call has noticed
BYTES_LIKE: Final = (bytes, bytearray, memoryview)
_KEEPALIVE: Final = "keepalive ping timeout"  # the close reason that the library sends then
_BREACHES: Final = (1002, 1003, 1007, 1008, 1009, 1010)  # its close codes for a server that broke the protocol
_PINGS: Final = 10  # pings with a pong still expected
_TAKING: Final = 50_000  # ns: a shorter wait only takes a message that has arrived
_WAITED: Final = 1_000_000  # ns: a smaller total does not count as waiting
_PATIENCE: Final = 1.0  # seconds for another thread that emits the same end
_log = logging.getLogger(__name__)
_clock = time.monotonic_ns
_second: Final = itemgetter(1)


class Place:
    """The seat of a Foreign: one call of connect(), or a loop over reconnect()."""

    def __init__(self) -> None:
        self.dialling = False
        self.loops = False  # a connection that ends in it is dialled again
        self.client: Foreign | None = None  # the client for which it dials
        self.connection: Connection | None = None

    def busy(self) -> bool:
        """True if it has a link, dials, or may dial again by itself."""
        return self.dialling or self.loops or (self.connection is not None and not self.connection.over)


class Connection:
    """What we know about one connection in addition to the library."""

    def __init__(self, connection: Any, client: Foreign, place: Place) -> None:
        self.client = client
        self.former: type[Any] = type(connection)
        self.closing = False  # the program has called close()
        self.over: bool = False
        self.warns: bool = hasattr(connection, "maybe_raise_legacy_warning")
        self.span: Span | None = None  # of the last received message
        self.waited: int = 0  # ns that the program waited for messages, not yet reported to the client
        self._connection = connection
        self._place = place
        self._link: Link | None = None
        self._named = client.given.message_type is not None  # messages are named by their content
        self._pings: deque[_Ping] = deque(maxlen=_PINGS)
        self._ending = threading.RLock()  # held while an end is emitted; re-entrant for a signal's handler

    def stands(self, link: Link) -> None:
        """The upgrade was accepted."""
        self._link = link
        self._place.connection = self
        LOOKOUT.add(self)

    def release(self) -> None:
        """Emit nothing more about it."""
        LOOKOUT.forget(self)
        self.over = True
        self.client.close()

    def waiting(self) -> int:
        """Bytes that wait in the kernel. OpenSSL holds none: the library reads more at once than one record."""
        return asked(self._connection.socket, "FIONREAD")

    # -- messages -----------------------------------------------------------------------------------------------------

    def received(self, payload: str | bytes, waited: int) -> None:
        """A message is returned to the program, which waited `waited` ns for it."""
        if self._pings:
            self._look_at_pings()
        if waited >= _TAKING:
            self.waited += waited
        waited = 0
        if self.waited >= _WAITED:
            waited, self.waited = self.waited, 0
        opcode, size, data = self._measured(payload)
        self.span = self.client.received(data, opcode, waited, size)

    def gathered(self, fragments: Gathered) -> None:
        """All fragments of a message have been returned."""
        self.span = self.client.received(fragments.payload(), fragments.opcode, 0, fragments.size)

    def gathering(self, source: Iterable[Any], text: bool | None = None) -> Gathered:
        """The fragments of a message, recorded as they pass."""
        return Gathered(source, text, keeps=self._named)

    def _measured(self, payload: Any, text: bool | None = None) -> tuple[int, int, bytes]:
        """The opcode and size of a payload, and its bytes if messages are named by them."""
        is_text = isinstance(payload, str)
        opcode = TEXT if (is_text if text is None else text) else BINARY
        if is_text and (self._named or not payload.isascii()):
            payload = payload.encode(errors="surrogatepass")  # the library refuses invalid text itself
        size = payload.nbytes if isinstance(payload, memoryview) else len(payload)
        return opcode, size, bytes(payload) if self._named else b""

    def send(self, call: Callable[[Any], None], message: Any, text: bool | None) -> None:
        """Send a whole message by this call of the library. The step that sends it also counts it as sent."""
        opcode, size, data = self._measured(message, text)
        counted = zip(map(call, (message,)), ((1, size, 0, 0, 0, 0, 0),), strict=True)
        was_open = not self.over
        try:
            self.client.counting(map(_second, counted))
        except BaseException:
            self._unsent(was_open)
            raise
        self.client.sent(data, opcode, size)

    def send_fragments(self, call: Callable[[Any], None], message: Iterable[Any], text: bool | None) -> None:
        """Send a message fragment by fragment; without fragments there is no message."""
        fragments = self.gathering(message, text)
        was_open = not self.over
        try:
            call(iter(fragments))
        except BaseException:
            self._unsent(was_open)
            raise
        if fragments.count:
            self.client.sending((1, fragments.size, 0, 0, 0, 0, 0))
            self.client.sent(fragments.payload(), fragments.opcode, fragments.size)

    def _unsent(self, was_open: bool) -> None:
        """A send has raised. It is counted if the connection had ended, not if the program made a mistake."""
        if was_open and self._is_closed():
            self.client.unsent()

    # -- heartbeats ---------------------------------------------------------------------------------------------------

    def pinged(self, pong: threading.Event, sent_ns: int) -> None:
        """A ping was written, by the program or by the library, at this time of the monotonic clock."""
        self._look_at_pings()
        self._pings.append(_Ping(pong, sent_ns, self._is_closed))
        if not self.client.over:
            self.client.emit(events.HEARTBEAT_SENT, {"system_time": time.time_ns()})

    def _look_at_pings(self) -> None:
        """Any thread: emit pongs that have arrived, and those that are missed, each once."""
        answered, now = list[_Ping](), _clock()
        for ping in tuple(self._pings):
            if ping.answered:
                try:
                    self._pings.remove(ping)
                except ValueError:  # another thread has handled it
                    continue
                answered.append(ping)
            elif now - ping.sent_ns >= self.client.profile.pong_timeout * 1e9:
                self._missed(ping)
        if not answered or self.client.over:
            return
        if self._link is not None:
            self._link.arrived_ns = answered[-1].set_ns
        # The library measures the last round trip, from release 15 on.
        latency = round(getattr(self._connection, "latency", 0.0) * 1e9)
        for ping in answered:
            rtt = latency if latency and ping is answered[-1] else max(0, ping.set_ns - ping.sent_ns)
            self.client.emit(events.HEARTBEAT_RECEIVED, {"rtt": rtt})

    def _missed(self, ping: _Ping) -> None:
        if ping.unmissed and not self.client.over:
            try:
                ping.unmissed.pop()
            except IndexError:  # another thread emits it
                return
            self.client.emit(events.HEARTBEAT_MISSED, {"system_time": time.time_ns()})

    # -- the end ------------------------------------------------------------------------------------------------------

    def met(self, error: BaseException) -> None:
        """A call raises this to the program: emit the end first, if it is the end, and remove our frames from the
        traceback."""
        if self._is_closed():
            self.end()
        without_us(error)

    def look(self) -> None:
        """Any thread: emit what no call has noticed."""
        self._look_at_pings()
        if self._is_closed():
            self.end()

    def _is_closed(self) -> bool:
        return bool(self._connection.protocol.state.name == "CLOSED")

    def end(self) -> None:
        """The connection is closed: emit that, once. When this returns it has been emitted."""
        if not self.over and self._link is not None:
            holding(self._ending, _PATIENCE, partial(self._end, self._link))

    def _end(self, link: Link) -> bool:
        if self.over:
            return False
        loss = self._loss()
        if loss.reason == "ping_timeout":
            for ping in tuple(self._pings):
                self._missed(ping)
        self.client.ended(link, loss)
        self.over = True
        LOOKOUT.forget(self)
        if loss is LOCAL and not self._place.loops:
            self.client.close()
        return True

    def _loss(self) -> Loss:
        """Why it has ended, according to the library: by which side's close frame came first."""
        error = self._connection.protocol.close_exc
        theirs, ours = error.rcvd, error.sent
        if theirs is not None and error.rcvd_then_sent is not False:
            return Loss(f"close_{theirs.code}", theirs.reason)
        if ours is None:
            return cut()
        if self.closing:
            return LOCAL
        if ours.reason == _KEEPALIVE:
            return Loss("ping_timeout", ours.reason)
        return Loss("protocol_error" if ours.code in _BREACHES else "error", f"{ours.code} {ours.reason}".rstrip())


class Gathered:
    """Passes on the fragments of one message; `count`, `size` and `opcode` describe those that have passed."""

    def __init__(self, source: Iterable[Any], text: bool | None, *, keeps: bool) -> None:
        self.count: int = 0
        self.size: int = 0
        self.opcode: int = BINARY
        self._source = source
        self._text = text
        self._keeps = keeps
        self._pieces: list[bytes] = []

    def __iter__(self) -> Iterator[Any]:
        for fragment in self._source:
            self._note(fragment)
            yield fragment

    def _note(self, fragment: Any) -> None:
        is_text = isinstance(fragment, str)
        if not self.count:
            self.opcode = TEXT if (is_text if self._text is None else self._text) else BINARY
        self.count += 1
        if is_text or isinstance(fragment, BYTES_LIKE):  # the library refuses anything else
            data = fragment.encode(errors="surrogatepass") if is_text else bytes(fragment)
            self.size += len(data)
            if self._keeps:
                self._pieces.append(data)

    def payload(self) -> bytes:
        """The bytes that have passed, if messages are named by them."""
        return b"".join(self._pieces)


class _Ping:
    """A ping, and the library's event for its pong, which records when it is set; the library also sets some at the
    end.

    The library's own thread sets it, holding a lock of the library that a handler of ours could need.
    """

    __slots__ = ("_by_end", "_pong", "sent_ns", "set_ns", "unmissed")

    def __init__(self, pong: threading.Event, sent_ns: int, closed: Callable[[], bool]) -> None:
        self.sent_ns = sent_ns
        self.unmissed = [True]  # removed by the thread that emits that it was missed
        self._pong = pong
        self._by_end = False
        set_it = pong.set

        def note_and_set() -> None:
            self.set_ns = _clock()
            self._by_end = closed()
            set_it()

        pong.set = note_and_set  # type: ignore[method-assign]
        self.set_ns = _clock()  # if it was set already

    @property
    def answered(self) -> bool:
        """True if the pong has arrived."""
        return self._pong.is_set() and not self._by_end


class _Lookout:
    """The open instrumented connections, which the clock checks. No lock; any thread."""

    def __init__(self) -> None:
        self.after_fork()
        process.on_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._standing: dict[Connection, None] = {}
        self._armed: dict[str, object] = {}  # the first thread in it schedules the clock

    def add(self, one: Connection) -> None:
        """Check this connection from now on."""
        self._standing[one] = None
        self._arm()

    def forget(self, one: Connection) -> None:
        """Stop checking this connection."""
        self._standing.pop(one, None)

    def _arm(self) -> None:
        me = object()
        if self._armed.setdefault("by", me) is me:
            CLOCK.call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        """wsnova-clock."""
        self._armed.clear()
        for one in self._standing.copy():
            try:
                one.look()
            except Exception as error:
                log_fault(_log, error, "checking an instrumented connection failed")
        if self._standing:
            self._arm()


LOOKOUT: Final = _Lookout()
