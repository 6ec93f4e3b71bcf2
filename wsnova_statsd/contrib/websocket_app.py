"""Instruments websocket-client in a program: a WebSocketApp, or a bare WebSocket. The program is not rewritten.

    from wsnova_statsd.contrib import websocket_app
    websocket_app.instrument(app, client_id="md-1")

Events are observed at the socket: see `websocket_connection`. An app's class is replaced by a subclass of the same name
that sees each attribute assignment: a new `sock` is wrapped, and each callback that handles messages is timed. The app
works as before: same callbacks in the same order, same exceptions, same tracebacks.

Threads: any. Written for websocket-client 1.6.4 and later, with its public names.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import websocket

from .. import checks
from ..clock import CLOCK
from ..dial.dial import Stream
from ..errors import ConfigurationError, ConnectionFailed, HandshakeRefused
from ..link.session import Loss, cut
from ..link.transport import loss_of
from ..profiles import Profile, ProfileName
from ..redaction import one_line
from ..telemetry import Bus
from .foreign_link import failure, without_us
from .given import Given, MessageType
from .roster import ROSTER
from .websocket_connection import Connection, Library, Owner

__all__ = ["instrument", "instrument_all", "instrument_connection", "uninstrument", "uninstrument_all"]

_A = TypeVar("_A", bound=websocket.WebSocketApp)
_Socket = TypeVar("_Socket", bound=websocket.WebSocket)
_log = logging.getLogger(__name__)
_KEY: Final = "_wsnova_statsd"  # the attribute of an instance that holds its instrumentation
_HANDLERS: Final = ("on_data", "on_message", "on_cont_message")  # callbacks that handle messages, in their order
_GRACE: Final = 1.0  # seconds: the library checks for a pong once per ping_timeout, in a thread that may be busy
_NO_PONG: Final = Loss("ping_timeout", "no pong within ping_timeout")
_ENDINGS: Final = ("on_error", "on_close")
_SET: Final = frozenset((*_HANDLERS, *_ENDINGS, "sock", "last_ping_tm"))  # attributes whose assignment is observed


# -- what a program calls ----------------------------------------------------------------------------------------------


@checks.by_name
def instrument(
    app: _A,
    *,
    client_id: str | None = None,
    profile: ProfileName | Profile | None = None,
    message_type: MessageType = None,
    tags: Mapping[str, object] | None = None,
    bus: Bus | None = None,
) -> _A:
    """Instrument a WebSocketApp that is not running yet; returns it.

    Raises ConfigurationError unless it is a WebSocketApp, not running and not instrumented yet; and ClientIdInUse.

    Args:
        app: The app; an app of a subclass keeps its methods.
        client_id: The tag on everything it emits. Default: the host and the lowest free number. After the link was
            lost, the app, or the next one to the same host, continues under it.
        profile: "financial", "standard", "lightweight" or a ws.Profile. Default: that of the Monitor on the bus.
        message_type: How a message's type is determined: None for `text` or `binary` without parsing; "json" decodes
            it a second time, by JsonProtocol's rule; or a function of the payload, bytes. Default: None.
        tags: Additional tags on all its metrics. Default: none.
        bus: The ws.Bus to emit on. Default: that of ws.telemetry.
    """
    given = Given(client_id, profile, message_type, tags, bus)
    if not isinstance(app, websocket.WebSocketApp):
        raise ConfigurationError(f"app is a {type(app).__name__}; pass a websocket.WebSocketApp")
    before = vars(app).get(_KEY)
    if before is not None and not before.automatic:
        raise ConfigurationError("this app is instrumented already; call uninstrument(app) first")
    if app.sock is not None or app.keep_running:
        raise ConfigurationError("this app is running already; instrument it before run_forever")
    watched = _Watched(app, given)
    ROSTER.reserve(given, watched)
    if before is not None:
        before.undo(app)
    watched.begin(app)
    return app


@checks.by_name
def instrument_connection(
    ws: _Socket,
    *,
    client_id: str | None = None,
    profile: ProfileName | Profile | None = None,
    message_type: MessageType = None,
    tags: Mapping[str, object] | None = None,
    bus: Bus | None = None,
    url: str | None = None,
) -> _Socket:
    """Instrument a websocket.WebSocket; returns it. Processing is not timed.

    A connection that is already established, as create_connection returns it, emits no started and no completed event
    for that. `url` is its address, which the library does not keep; by default the peer's address is used. The other
    arguments and exceptions are as in `instrument`.
    """
    given = Given(client_id, profile, message_type, tags, bus)
    if not isinstance(ws, websocket.WebSocket):
        raise ConfigurationError(f"ws is a {type(ws).__name__}; pass a websocket.WebSocket")
    before = vars(ws).get(_KEY)
    if before is not None and not before.owner.automatic:
        raise ConfigurationError("this connection is instrumented already; call uninstrument(ws) first")
    owner = Owner(given)
    ROSTER.reserve(given, owner)
    if before is not None:
        uninstrument(ws)
    connection = _wrap(ws, owner)
    if ws.connected and ws.sock is not None:
        connection.adopt(url if url is not None else _peer(ws.sock))
    return ws


def uninstrument(thing: Any) -> None:
    """Restore an app or a connection; its client is closed. Raises ConfigurationError if it is not instrumented."""
    watched = vars(thing).get(_KEY) if hasattr(thing, "__dict__") else None
    if isinstance(watched, _Watched):
        watched.undo(thing)
    elif isinstance(watched, Connection):
        _unwrap(thing)
        watched.owner.close()
    else:
        raise ConfigurationError(f"this {type(thing).__name__} is not instrumented")


@checks.by_name
def instrument_all(
    *,
    profile: ProfileName | Profile | None = None,
    message_type: MessageType = None,
    tags: Mapping[str, object] | None = None,
    bus: Bus | None = None,
) -> None:
    """Instrument every WebSocketApp and WebSocket that is created from now on, as `instrument` and
    `instrument_connection` do; calling those for a single object replaces these arguments. Raises ConfigurationError if
    instrument_all is already in effect."""
    given = Given(None, profile, message_type, tags, bus)
    if _ALL:
        raise ConfigurationError("all apps and connections are instrumented already; call uninstrument_all() first")
    for kind, made in ((websocket.WebSocketApp, _app_made), (websocket.WebSocket, _connection_made)):
        _ALL[kind] = vars(kind)["__init__"]
        setattr(kind, "__init__", _initializer(_ALL[kind], given, made))  # noqa: B010  # mypy refuses the short form


def uninstrument_all() -> None:
    """Stop instrumenting new objects; existing ones stay instrumented. Raises ConfigurationError if not in effect."""
    if not _ALL:
        raise ConfigurationError("instrument_all was not called")
    while _ALL:
        kind, before = _ALL.popitem()
        setattr(kind, "__init__", before)  # noqa: B010


_ALL: Final[dict[type, Callable[..., None]]] = {}  # the initializers that were replaced


def _initializer(before: Callable[..., None], given: Given, made: Callable[[Any, Given], None]) -> Callable[..., None]:
    @functools.wraps(before)
    def initialize(self: Any, *arguments: Any, **named: Any) -> None:
        try:
            before(self, *arguments, **named)
        except BaseException as error:
            without_us(error)
            raise
        made(self, given)

    return initialize


def _app_made(app: websocket.WebSocketApp, given: Given) -> None:
    if _KEY not in vars(app):
        watched = _Watched(app, given)
        watched.automatic = True
        try:
            watched.begin(app)
        except ConfigurationError as error:  # the program did not ask for it
            _log.warning("an app is not instrumented: %s", one_line(str(error)))


def _connection_made(ws: websocket.WebSocket, given: Given) -> None:
    if _KEY not in vars(ws):
        owner = Owner(given)
        owner.automatic = True
        _wrap(ws, owner)


# -- connections -------------------------------------------------------------------------------------------------------


def _wrap(ws: websocket.WebSocket, owner: Owner) -> Connection:
    """Replace the methods of a connection by wrappers. A connection that is already wrapped gets another owner."""
    connection = vars(ws).get(_KEY)
    if isinstance(connection, Connection):
        connection.give_to(owner)
        return connection
    connection = Connection(ws, owner, _LIBRARY)
    vars(ws).update(connection.methods(ws), **{_KEY: connection})
    return connection


def _unwrap(ws: websocket.WebSocket) -> None:
    connection = vars(ws).pop(_KEY, None)
    if isinstance(connection, Connection):
        connection.undo(ws)


def _peer(sock: Stream) -> str:
    """The address of an open socket as a URL."""
    name = getattr(sock, "server_hostname", None)
    scheme = "ws" if name is None and not hasattr(sock, "pending") else "wss"
    try:
        host, port = sock.getpeername()[:2]
    except (OSError, ValueError):  # closed already, or not TCP
        return f"{scheme}://unknown"
    return f"{scheme}://{name or (f'[{host}]' if ':' in host else host)}:{port}"


def _failure(error: Exception, url: object) -> ConnectionFailed:
    """Convert the exception of a failed dial into our error."""
    failed: ConnectionFailed | None = None
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, websocket.WebSocketBadStatusException):
        failed = HandshakeRefused(int(getattr(error, "status_code", 0) or 0))
    elif isinstance(error, ValueError) and not isinstance(error, OSError):
        failed = ConnectionFailed(f"the URL cannot be used: {text}", cause="url")
    else:
        for kind, cause in _CAUSES:
            if isinstance(error, kind):
                failed = ConnectionFailed(text, cause=cause)
                break
    if failed is None:
        return failure(error, url)
    failed.__cause__ = error
    return failed


def _loss(error: Exception) -> Loss:
    """The loss of the link after a read that raised."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, websocket.WebSocketConnectionClosedException):
        return cut(text)
    if isinstance(error, _BREACHES):
        return Loss("protocol_error", text)
    return loss_of(error)


_CAUSES: Final = (
    (websocket.WebSocketTimeoutException, "timeout"),
    (websocket.WebSocketAddressException, "dns"),
    (websocket.WebSocketProxyException, "proxy"),
    (websocket.WebSocketException, "handshake"),
)
_BREACHES: Final = (websocket.WebSocketProtocolException, websocket.WebSocketPayloadException, UnicodeDecodeError)
_LIBRARY: Final = Library(_failure, _loss, (websocket.WebSocketTimeoutException, TimeoutError), _BREACHES)


# -- apps --------------------------------------------------------------------------------------------------------------


class _Watched(Owner):
    """The instrumentation of one app: the seat of its client, and the owner of its connections."""

    def __init__(self, app: websocket.WebSocketApp, given: Given) -> None:
        super().__init__(given)
        self._app = weakref.ref(app)
        self._expired = False  # a pong was late when the library stopped its pings
        self._given_up = False  # the library abandoned its link without a callback
        self._ending = 0  # the id of the thread in on_error or on_close
        self._inside = False  # a callback that handles messages is running
        self._has = dict.fromkeys(_HANDLERS, False)  # which of them are set
        self.handles: dict[bool, bool] = dict.fromkeys((False, True), False)
        self._kind: type = type(app)  # its own class
        self._inherited: set[str] = set()  # callbacks of its class, such as methods, not of the instance

    def busy(self) -> bool:
        """True if it has a link, dials, or may dial again by itself."""
        if self._pong_is_late():
            self._give_up()
        app = self._app()
        return super().busy() or (app is not None and bool(app.keep_running) and not self._given_up)

    def begin(self, app: websocket.WebSocketApp) -> None:
        """Replace the app's class by one that observes assignments."""
        self._kind = type(app)
        try:
            app.__class__ = _observing(self._kind)
        except TypeError as error:
            raise ConfigurationError(f"{self._kind.__name__} cannot be instrumented: {error}") from error
        vars(app)[_KEY] = self
        inherited = {name for name in (*_HANDLERS, *_ENDINGS) if name not in vars(app)}
        for name in (*_HANDLERS, *_ENDINGS):
            setattr(app, name, getattr(app, name, None))
        self._inherited = inherited

    def undo(self, app: websocket.WebSocketApp) -> None:
        """Restore it."""
        ws = app.sock
        originals = {name: getattr(getattr(app, name, None), "original", None) for name in (*_HANDLERS, *_ENDINGS)}
        del vars(app)[_KEY]
        app.__class__ = self._kind
        for name, original in originals.items():
            if name in self._inherited and name in vars(app):
                delattr(app, name)
            elif original is not None:
                setattr(app, name, original)
        if ws is not None:
            _unwrap(ws)
        self.close()

    # -- attributes ---------------------------------------------------------------------------------------------------

    def setting(self, name: str, value: Any) -> Any:
        """An attribute of the app is about to be set; returns the value to set."""
        if name == "sock":
            if isinstance(value, websocket.WebSocket):
                self._expired = self._given_up = False
                _wrap(value, self)
        elif name == "last_ping_tm":  # the library resets its pings before it closes, sometimes twice
            self._expired = self._expired or (not value and self._pong_is_late())
            self._look_for_pong(value)
        else:
            self._inherited.discard(name)
            if name in _HANDLERS:
                self._has[name] = value is not None
                for continued, own in ((False, "on_message"), (True, "on_cont_message")):
                    self.handles[continued] = self._has["on_data"] or self._has[own]
            if callable(value) and getattr(value, "of", None) is not self:
                return self._wrapped(name, value)
        return value

    def _wrapped(self, name: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        called = self._handling(name, callback) if name in _HANDLERS else self._ends(callback)
        vars(called).update(original=callback, of=self)
        return called

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def _ends(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(callback, updated=())
        def called(*arguments: Any, **named: Any) -> Any:
            before, self._ending = self._ending, threading.get_ident()
            try:
                return callback(*arguments, **named)
            except BaseException as error:
                without_us(error)
                raise
            finally:
                self._ending = before

        return called

    def _handling(self, name: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        first = name == "on_data"

        @functools.wraps(callback, updated=())
        def called(*arguments: Any, **named: Any) -> Any:
            """In the thread that reads: a message is handled, or a fragment of one."""
            connection = self.reading
            if connection is None or self._inside:  # the program itself calls it, for example in another callback
                return callback(*arguments, **named)
            fault = None
            try:
                self._inside = True
                connection.begin()
                return callback(*arguments, **named)
            except BaseException as error:
                without_us(error)
                fault = error
                raise
            finally:
                self._inside = False
                last = not first or not self._has["on_cont_message" if connection.continued else "on_message"]
                connection.handled(failed=fault is not None, last=last)
                if isinstance(fault, Exception) and self.foreign is not None:
                    self.foreign.raised(fault)
                fault = None  # its traceback holds this frame

        return called

    # -- the end ------------------------------------------------------------------------------------------------------

    def why(self) -> Loss | None:
        """Why the library closes the connection; None if the program does."""
        if self._expired or self._pong_is_late():
            if self.foreign is not None:
                self.foreign.missed()
            return _NO_PONG
        return None

    def _pong_is_late(self) -> bool:
        """By the same rule as the library."""
        app = self._app()
        if app is None or not app.ping_timeout or not app.last_ping_tm:
            return False
        after = app.last_pong_tm - app.last_ping_tm
        return time.time() - app.last_ping_tm > app.ping_timeout and (after < 0 or after > app.ping_timeout)

    def _look_for_pong(self, pinged: float) -> None:
        """Schedule a check for the time when the library must have checked this ping."""
        timeout = getattr(self._app(), "ping_timeout", None)
        if pinged and timeout:
            CLOCK.call_later(2 * timeout + _GRACE, partial(_look_at_ping, weakref.ref(self), pinged))

    def look_at_ping(self, pinged: float) -> None:
        """wsnova-clock: the library has checked this ping by now, unless the next ping came too soon."""
        app = self._app()
        if app is None or not app.last_ping_tm or app.last_pong_tm >= pinged:
            return
        if app.ping_interval >= 2 * (app.ping_timeout or 0):
            self._give_up()

    def _give_up(self) -> None:
        """The pong is late, and the library is not in a callback: it abandons the link. Under rel it then raises out of
        rel.dispatch, and closes nothing. Any thread."""
        foreign = self.foreign
        if foreign is not None and not foreign.in_hand()[0] and self.live():
            foreign.missed()
            for connection in self.connections:
                connection.give_up(_NO_PONG)
            self._given_up = True

    def left(self) -> None:
        """The library, or the program, has closed the connection and may dial again."""

    def closing(self) -> bool:
        """The program closes the app. True if that ends the client: not in on_error or on_close after the link is lost,
        where it only cleans up."""
        ends = self._ending != threading.get_ident() or self.live()
        for connection in self.connections:
            connection.local = True
        return ends


def _look_at_ping(weak: weakref.ref[_Watched], pinged: float) -> None:
    watched = weak()
    if watched is not None:
        watched.look_at_ping(pinged)


def _observing(kind: Any) -> Any:
    """A subclass of an app's class, with the same name, that observes assignments and `close`."""
    known = _OBSERVING.get(kind)
    if known is not None:
        return known

    def set_attribute(self: Any, name: str, value: Any) -> None:
        watched = vars(self).get(_KEY)
        if watched is not None and name in _SET:
            value = watched.setting(name, value)
        kind.__setattr__(self, name, value)

    def close(self: Any, *arguments: Any, **named: Any) -> Any:
        watched = vars(self).get(_KEY)
        ends = watched is not None and watched.closing()
        try:
            return kind.close(self, *arguments, **named)
        except BaseException as error:
            without_us(error)
            raise
        finally:
            if ends:
                watched.close()

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    made = type(kind)(kind.__name__, (kind,), {**names, "__setattr__": set_attribute, "close": close})
    _OBSERVING[kind] = made
    return made


_OBSERVING: Final[weakref.WeakValueDictionary[type, type]] = weakref.WeakValueDictionary()
