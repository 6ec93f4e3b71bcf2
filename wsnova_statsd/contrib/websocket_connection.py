"""One websocket.WebSocket, observed: its public methods are wrapped on the instance and report to a foreign client what
happened at the socket.

`connect` reports dials; `recv_data_frame`, which recv, recv_data and iteration all call, reports messages, pongs, the
server's close frame and errors of reads; `send_frame`, which every send calls, reports messages and pings; `close`,
`shutdown` and `abort` report the end. The instrumentation does not keep the connection alive.

Threads: those of the program; one reads at a time, as the library requires.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import compress, tee
from types import MethodType
from typing import Any, Final

from ..clock import CLOCK
from ..errors import ConnectionFailed
from ..link.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from ..link.session import Loss
from ..link.transport import asked
from .foreign import Foreign, Span
from .foreign_link import LOCAL, Link, closed_by, without_us
from .given import Given
from .roster import ROSTER

_DATA: Final = (TEXT, BINARY, CONTINUATION)
_COLLECTED: Final = Loss("collected", "", fault=False)
_WAIT: Final = 1_000_000  # ns: a shorter wait may be the read itself, unless nothing was available
_LOOK_EVERY: Final = 10_000_000  # ns between two checks for available bytes, which are system calls
_clock = time.monotonic_ns


@dataclass(frozen=True, slots=True)
class Library:
    """How to interpret the library's errors."""

    failure: Callable[[Exception, object], ConnectionFailed]  # of a dial
    loss: Callable[[Exception], Loss]  # of a read
    timeouts: tuple[type[Exception], ...]  # of a read or write that may be retried
    breaches: tuple[type[Exception], ...]  # of an unreadable message that others may follow


class Owner:
    """The owner of connections: the seat of their client. This class is for a bare connection."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.automatic = False  # created by instrument_all
        self.foreign: Foreign | None = None
        self._connections: tuple[weakref.ref[Connection], ...] = ()  # replaced as a whole, for readers in any thread
        self.reading: Connection | None = None  # the connection whose message the callbacks receive
        # Whether a callback handles a message and, under True, a continuation fragment; None if that is unknown.
        self.handles: Mapping[bool, bool] | None = None

    @property
    def connections(self) -> list[Connection]:
        """The connections that are not collected. Any thread."""
        return [one for one in (weak() for weak in self._connections) if one is not None]

    def add(self, connection: Connection) -> None:
        """Own this connection too."""
        self._connections = tuple(map(weakref.ref, (*self.connections, connection)))

    def live(self) -> bool:
        """True if it has a link. Any thread."""
        return any(one.link is not None for one in self.connections)

    def busy(self) -> bool:
        """True if it has a link, dials, or may dial again by itself. Any thread."""
        return any(one.link is not None or one.dialling for one in self.connections)

    def why(self) -> Loss | None:
        """Why the connection is closed; None if the program closes it."""
        return None

    def left(self) -> None:
        """The program has closed the connection."""
        self.close()

    def close(self) -> None:
        """Close the client."""
        foreign, self.foreign = self.foreign, None
        if foreign is not None:
            foreign.close()


class _Part:
    """The fragments of an incomplete message."""

    __slots__ = ("opcode", "pieces", "size", "spent")

    def __init__(self, opcode: int) -> None:
        self.opcode = opcode
        self.size = 0
        self.spent = 0  # ns that callbacks spent on them
        self.pieces: list[bytes] = []

    def add(self, payload: bytes, keep: bool) -> None:
        """Add a fragment; all are kept if messages are named by their payload."""
        self.size += len(payload)
        if keep:
            self.pieces.append(payload)


class Connection:
    """The instrumentation of one connection. `link` is the foreign client's link while there is one."""

    def __init__(self, ws: Any, owner: Owner, library: Library) -> None:
        self._ws = weakref.ref(ws)
        self._library = library
        self.owner: Owner = owner
        self._foreign: Foreign | None = None
        self.link: Link | None = None
        self.dialling: bool = False
        self.local: bool = False  # the program is closing the app
        self._leaving: Loss | None = None  # the connection is being closed, for this reason
        self._pending: Loss | None = None  # the loss to emit if the link ends after a read or write that raised
        self._span: Span | None = None  # the last message that was read, until it is processed
        self._part: _Part | None = None  # the fragments that were read
        self._out: _Part | None = None  # the fragments that were sent
        self.continued: bool = False  # the last frame read continues a message
        self._began = self._ended = 0  # of the callbacks, ns
        self._failed = False  # one of the callbacks raised
        self._idle_since = 0  # when the last callback returned; 0 for a bare connection
        self._buffered: Callable[[], int] | None = None  # of TLS; called by the thread that reads
        self._unread = 0  # its last result
        self._looked = 0  # when it was last checked whether bytes wait to be read, ns
        self._drained = False  # no bytes waited before the next read
        self._own = {name: vars(ws)[name] for name in _AROUND if name in vars(ws)}  # the program's own
        self._finalizer = weakref.finalize(ws, self._collected)
        self._finalizer.atexit = False
        owner.add(self)

    def give_to(self, owner: Owner) -> None:
        """Change the owner, before the first dial."""
        self.owner = owner
        owner.add(self)

    def methods(self, ws: Any) -> dict[str, Callable[..., Any]]:
        """The replacements for the connection's methods."""
        return {name: self._method(ws, name) for name in _AROUND if hasattr(ws, name)}

    def _method(self, ws: Any, name: str) -> Callable[..., Any]:
        own, function, weak = self._own.get(name), getattr(type(ws), name), self._ws
        around = MethodType(_AROUND[name], self)

        def method(*arguments: Any, **named: Any) -> Any:
            try:
                return around(MethodType(function, weak()) if own is None else own, arguments, named)
            except BaseException as error:
                without_us(error)
                raise

        method.__name__, method.__doc__ = name, function.__doc__
        return method

    def undo(self, ws: Any) -> None:
        """Restore the connection."""
        self._finalizer.detach()
        for name in _AROUND:
            vars(ws).pop(name, None)
        vars(ws).update(self._own)
        self.link = None

    # -- the link -----------------------------------------------------------------------------------------------------

    def _take(self, url: object) -> Foreign | None:
        self._foreign = self.owner.foreign = foreign = ROSTER.take(self.owner.given, str(url), self.owner)
        return foreign

    def _connect(self, original: Callable[..., Any], arguments: Any, named: Any) -> Any:
        url = arguments[0] if arguments else named.get("url")
        self._end(self._pending or LOCAL)  # a link that was left open
        self.local, self._leaving, self._pending, self._part, self._out = False, None, None, None, None
        self.dialling = True
        try:
            foreign = self._take(url)
            if foreign is None:
                return original(*arguments, **named)
            foreign.connecting(str(url))
            try:
                result = original(*arguments, **named)
            except Exception as error:
                foreign.failed(self._library.failure(error, url))
                raise
            except BaseException:
                foreign.cancelled()
                raise
            self.link = foreign.connected(self._waiting())
            return result
        finally:
            self.dialling = False

    def adopt(self, url: str) -> None:
        """The connection is already open."""
        foreign = self._take(url)
        if foreign is not None:
            self.link = foreign.adopted(url, self._waiting())

    def _waiting(self) -> Callable[[], int]:
        """A function that returns the number of bytes waiting to be read. Any thread; it does not keep the socket
        alive."""
        ws = self._ws()
        sock = None if ws is None else ws.sock
        if sock is None:
            return int
        self._buffered = getattr(sock, "pending", None)
        self._unread, weak = 0, weakref.ref(sock)

        def waiting() -> int:
            sock = weak()
            return 0 if sock is None else asked(sock, "FIONREAD") + self._unread

        return waiting

    def _end(self, loss: Loss) -> None:
        """The link has ended; only the first call counts."""
        link, self._buffered = self.link, None
        if link is not None and self._foreign is not None:
            self._foreign.ended(link, self._leaving or (LOCAL if self.local else loss))
            self.link = None

    def give_up(self, loss: Loss) -> None:
        """The library has abandoned the link, and will not close it. Any thread."""
        self._end(loss)

    def _close(self, original: Callable[..., Any], arguments: Any, named: Any) -> Any:
        """close, shutdown, abort: by the program, or by the library once it abandons the connection. A close that is
        interrupted before it has done anything does not count."""
        if self.link is None:
            return original(*arguments, **named)
        before, done, loss = self._leaving, False, LOCAL
        try:
            self._leaving = loss = before or self.owner.why() or (None if self.local else self._pending) or LOCAL
            if loss is not LOCAL:  # it has ended; the library's close handshake may take seconds
                self._end(loss)
            result = original(*arguments, **named)
            done = True
            return result
        finally:
            if loss is LOCAL and (done or not getattr(self._ws(), "connected", False)):
                self._end(loss)
                self.owner.left()
            self._leaving = before

    def _collected(self) -> None:
        """The connection is collected. Waits for nothing, calls no code of the program: the clock emits the end."""
        link, foreign = self.link, self._foreign
        if link is not None and foreign is not None:
            CLOCK.call_later(0.0, partial(foreign.ended, link, self._pending or _COLLECTED))

    # -- messages -----------------------------------------------------------------------------------------------------

    def _recv(self, original: Callable[..., Any], arguments: Any, named: Any) -> Any:
        if self._began or self._span is not None:
            self._settle()
        since = self._idle_since or self._waiting_since(_clock())
        try:
            result = original(*arguments, **named)
        except Exception as error:
            self._raised(error)
            raise
        opcode, frame = result
        foreign = self._foreign
        if self.link is not None and foreign is not None:
            if self._buffered is not None:
                self._unread = self._buffered()
            if opcode in _DATA:
                self._pending = None
                waited, drained = _clock() - since, self._drained
                self._drained = False
                waited = waited if drained or waited >= _WAIT else 0
                if self._part is None and frame.fin:
                    span: Span | None = foreign.received(frame.data, opcode, waited)
                else:
                    span = self._fragment(foreign, opcode, frame, waited)
                self.continued = opcode == CONTINUATION
                handles = self.owner.handles
                if handles is not None and handles[self.continued]:
                    self._span, self.owner.reading = span, self
                elif span is not None:
                    self._unhandled(foreign, span)
            elif opcode == PONG:
                foreign.ponged()
            elif opcode == CLOSE:
                self._end(closed_by(bytes(frame.data)))
        return result

    def _raised(self, error: Exception) -> None:
        """A read raised. A timeout does not end the link, nor does an unreadable message if the program reads on; for
        an app every error does."""
        if self.link is None:
            return
        loss, app = self._library.loss(error), self.owner.handles is not None
        if isinstance(error, self._library.timeouts):
            if app:
                self._pending = Loss("error", loss.detail)
        elif app or not isinstance(error, self._library.breaches):
            self._end(loss)
        else:
            self._pending = loss

    def _fragment(self, foreign: Foreign, opcode: int, frame: Any, waited: int) -> Span | None:
        """A fragment was read: single fragments occur only in an app with on_cont_message."""
        part = self._part = self._part or _Part(opcode)
        part.add(frame.data, foreign.given.message_type is not None)
        return foreign.received(b"".join(part.pieces), part.opcode, waited, part.size) if frame.fin else None

    def _unhandled(self, foreign: Foreign, span: Span) -> None:
        """A whole message that no callback handles, as far as is known."""
        self._part = None
        if self.owner.handles is not None:
            foreign.ignored(span)
            self._idle_since = self._waiting_since(_clock())

    def _waiting_since(self, now: int) -> int:
        """The reader waits for the next message from now on; returns `now`. Sometimes checks whether bytes are already
        there: on a fast feed each wait is as short as a read, and only a reader that keeps up finds none."""
        link = self.link
        if link is not None and now - self._looked >= _LOOK_EVERY:
            self._looked, self._drained = now, not link.waiting()
        return now

    def begin(self) -> None:
        """A callback begins, in the thread that reads."""
        if not self._began:
            span, foreign = self._span, self._foreign
            self._began = _clock() if span is None or foreign is None else foreign.begin(span)

    def handled(self, *, failed: bool, last: bool) -> None:
        """A callback returned, or raised; `last`: no callback follows."""
        self._ended = _clock()
        self._failed = self._failed or failed
        if last:
            self._settle()

    def _settle(self) -> None:
        """The last message or fragment is processed."""
        span, part, ended, failed = self._span, self._part, self._ended, self._failed
        began, self._began, self._span, self._failed = self._began, 0, None, False
        took = ended - began
        self._idle_since, self.owner.reading = ended, None
        if ended - self._looked >= _LOOK_EVERY:
            self._waiting_since(ended)
        if part is not None:
            part.spent += took if began else 0
        if span is not None:
            self._part = None
            if began and self._foreign is not None:
                self._foreign.processed(span, took if part is None else part.spent, failed=failed)

    def _send(self, original: Callable[..., Any], arguments: Any, named: Any) -> Any:
        frame = arguments[0] if arguments else named["frame"]
        foreign, opcode = self._foreign, frame.opcode
        if foreign is None or opcode not in _DATA:
            result = original(frame)
            if foreign is not None and opcode == PING and self.link is not None:
                foreign.pinged()
            return result
        payload = frame.data.encode() if isinstance(frame.data, str) else bytes(frame.data)
        out, whole = self._out, frame.fin
        if out is not None or not whole:
            out = out or _Part(opcode)
            out.add(payload, foreign.given.message_type is not None)
            self._out = None if whole else out
        size = len(payload) if out is None else out.size
        # The step that sends it also counts it: a signal's handler runs before or after both.
        sent, lengths = tee(map(original, (frame,)))
        try:
            if whole:
                foreign.counting(compress(((1, size, 0, 0, 0, 0, 0),), sent))
            length = next(lengths)
        except Exception as error:
            foreign.unsent()
            if self.link is not None and not isinstance(error, self._library.timeouts):
                self._pending = self._pending or self._library.loss(error)
            raise
        if whole:
            foreign.sent(payload if out is None else b"".join(out.pieces), opcode if out is None else out.opcode, size)
        return length


_AROUND: Final[dict[str, Callable[..., Any]]] = {
    "connect": Connection._connect,
    "recv_data_frame": Connection._recv,
    "send_frame": Connection._send,
    **dict.fromkeys(("close", "shutdown", "abort"), Connection._close),
}
