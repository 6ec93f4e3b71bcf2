"""Instruments connections of `websockets.sync.client`: their dials, messages, heartbeats and ends become events.

    from wsnova_statsd.contrib import websockets_sync

    with websockets_sync.connect("wss://feed.example/ws", client_id="md-1") as connection:
        for message in connection: store(message)

An instrumented connection behaves, returns and raises as before. Our methods are below those of the program's own
subclass and above those of the library. Threads: see `websockets_link`; every function here from any.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from .. import checks
from ..dial.answer import Answer
from ..dial.target import target
from ..errors import ConfigurationError, ConnectionFailed, MissingExtra
from ..link.handshake import refusal
from ..profiles import Profile, ProfileName
from ..redaction import log_fault
from ..telemetry import Bus
from .foreign import Foreign
from .foreign_link import failure, without_us
from .given import Given, MessageType
from .roster import ROSTER
from .websockets_link import BYTES_LIKE, Connection, Place

try:
    from websockets import exceptions
    from websockets.sync import client as library
    from websockets.sync.client import ClientConnection
except ImportError as _missing:
    raise MissingExtra("websockets", "websockets") from _missing

__all__ = ["connect", "instrument", "instrument_all", "reconnect", "uninstrument", "uninstrument_all"]

_MARK: Final = "_wsnova_statsd"  # the attribute of an instrumented connection
_log = logging.getLogger(__name__)
_clock = time.monotonic_ns
_recv = ClientConnection.recv
_recv_streaming = ClientConnection.recv_streaming
_iterate = ClientConnection.__iter__
_send = ClientConnection.send
_ping = ClientConnection.ping
_close = ClientConnection.close
_handshake = ClientConnection.handshake
_Loop: Any = getattr(library, "reconnect", None)  # a class, from websockets 17.1 on


class _Here(threading.local):
    """The dial in progress in the calling thread."""

    dial: tuple[Foreign, Place] | None = None


_here = _Here()


# -- what a program calls ---------------------------------------------------------------------------------------------


def connect(
    uri: str,
    *,
    client_id: str | None = None,
    profile: ProfileName | Profile | None = None,
    message_type: MessageType = None,
    tags: Mapping[str, object] | None = None,
    bus: Bus | None = None,
    **theirs: Any,
) -> ClientConnection:
    """`websockets.sync.client.connect(uri, **theirs)` with an instrumented connection.

    Raises what that raises, ConfigurationError for invalid arguments, and ClientIdInUse.
    """
    given = Given(client_id, profile, message_type, tags or {}, bus)
    if theirs.get("legacy") is False:
        del theirs["legacy"]
        loop: Any = _loop(uri, given, theirs)  # a context manager as well
        return loop  # type: ignore[no-any-return]
    place = Place()
    ROSTER.reserve(given, place)
    theirs["create_connection"] = _dressing(theirs.get("create_connection"))
    return _dial(given, uri, place, lambda: library.connect(uri, **theirs))


def reconnect(
    uri: str,
    *,
    client_id: str | None = None,
    profile: ProfileName | Profile | None = None,
    message_type: MessageType = None,
    tags: Mapping[str, object] | None = None,
    bus: Bus | None = None,
    **theirs: Any,
) -> Any:
    """`websockets.sync.client.reconnect(uri, **theirs)`, from websockets 17.1 on; all its connections belong to one
    client."""
    return _loop(uri, Given(client_id, profile, message_type, tags or {}, bus), theirs)


@checks.by_name
def instrument(
    connection: ClientConnection,
    *,
    client_id: str | None = None,
    profile: ProfileName | Profile | None = None,
    message_type: MessageType = None,
    tags: Mapping[str, object] | None = None,
    bus: Bus | None = None,
) -> ClientConnection:
    """Instrument an open connection; returns the same object. Its dial is not emitted, only that it is up.

    Raises ConfigurationError, and ClientIdInUse.
    """
    given = Given(client_id, profile, message_type, tags or {}, bus)
    if not isinstance(connection, ClientConnection):
        raise ConfigurationError(
            f"{type(connection).__module__}.{type(connection).__qualname__} cannot be instrumented here; pass a "
            "websockets.sync.client.ClientConnection, such as websockets.sync.client.connect() returns"
        )
    known = _known(connection)
    if known is not None:
        raise ConfigurationError(
            f"this connection is instrumented already, as client {known.client.client_id!r}; uninstrument() it first"
        )
    state = connection.protocol.state.name.lower()
    if state != "open":
        raise ConfigurationError(f"this connection is {state}; pass an open one, or use connect() of this module")
    place, uri = Place(), _uri_of(connection)
    ROSTER.reserve(given, place)
    client = ROSTER.take(given, uri, place)
    if client is not None:
        known = _dress(connection, client, place)
        known.stands(client.adopted(uri, known.waiting))
    return connection


def uninstrument(connection: ClientConnection) -> ClientConnection:
    """Restore an instrumented connection; returns the same object. Its client is closed."""
    known = _known(connection)
    if known is None:
        raise ConfigurationError("this connection is not instrumented")
    connection.__class__ = known.former
    del vars(connection)[_MARK]
    known.release()
    return connection


@checks.by_name
def instrument_all(
    *,
    profile: ProfileName | Profile | None = None,
    message_type: MessageType = None,
    tags: Mapping[str, object] | None = None,
    bus: Bus | None = None,
) -> None:
    """Instrument every connection that is dialled from now on, also in modules that imported the library before.

    This replaces ClientConnection.handshake and reconnect.connect: before websockets 17.1 a dial is emitted once TCP
    and TLS are established, and a dial that fails before that is not emitted.
    """
    given = Given(None, profile, message_type, tags or {}, bus)
    if _all:
        raise ConfigurationError("all connections are instrumented already; call uninstrument_all() first")
    _all.append(given)
    ClientConnection.handshake = _instrumented_handshake  # type: ignore[method-assign]
    if _Loop is not None:
        _Loop.connect = _instrumented_connect


def uninstrument_all() -> None:
    """Stop instrumenting connections that are dialled from now on."""
    if not _all:
        raise ConfigurationError("instrument_all() is not in effect; call it first")
    _all.clear()
    ClientConnection.handshake = _handshake  # type: ignore[method-assign]
    if _Loop is not None:
        _Loop.connect = _loop_connect


# -- dials ------------------------------------------------------------------------------------------------------------


def _dial(given: Given, uri: str, place: Place, make: Callable[[], ClientConnection]) -> ClientConnection:
    """Dial a connection by `make`, and emit the events of the dial."""
    client = ROSTER.take(given, uri, place)
    if client is None:
        return make()
    place.client = client
    place.dialling = True
    try:
        client.connecting(uri)
        connection = _made(client, uri, place, make)
        known = _known(connection)
        if known is None:
            client.cancelled()
        else:
            known.stands(client.connected(known.waiting))
    finally:
        place.dialling = False
    return connection


def _made(client: Foreign, uri: str, place: Place, make: Callable[[], ClientConnection]) -> ClientConnection:
    outer = _here.dial
    try:
        _here.dial = client, place
        return make()
    except BaseException as error:
        if isinstance(error, Exception):
            client.failed(_failure(error, uri))
        else:
            client.cancelled()
        raise
    finally:
        _here.dial = outer


def _dressing(make: Callable[..., ClientConnection] | None) -> Callable[..., ClientConnection]:
    """A function for create_connection= that creates the connections of a dial; `make` is the program's own."""

    def create(*arguments: Any, **options: Any) -> ClientConnection:
        connection = (ClientConnection if make is None else make)(*arguments, **options)
        if _here.dial is not None:
            _dress(connection, *_here.dial)
        return connection

    return create


def _loop(uri: str, given: Given, theirs: dict[str, Any]) -> Any:
    if _Loop is None:
        raise ConfigurationError(
            "this release of websockets has no reconnect; install websockets>=17.1, or use connect()"
        )
    theirs["create_connection"] = _dressing(theirs.get("create_connection"))
    place = Place()
    ROSTER.reserve(given, place)
    return _InstrumentedLoop(given, place, uri, theirs)


def _failure(error: Exception, uri: str) -> ConnectionFailed:
    """Convert what a failed dial raised into our error."""
    cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), None)
    if isinstance(error, exceptions.InvalidStatus):
        fields = tuple((name.lower(), value) for name, value in error.response.headers.raw_items())
        failed: ConnectionFailed = refusal(Answer(error.response.status_code, 1, fields, True, b""), target(uri), ())
    elif cause is not None:
        failed = ConnectionFailed(f"{type(error).__name__}: {error}", cause=cause)
    else:
        return failure(error, uri)
    failed.__cause__ = error
    return failed


_CAUSES: Final = (
    (exceptions.InvalidURI, "url"),
    (getattr(exceptions, "InvalidProxy", ()), "proxy"),  # these two from websockets 15 on
    (getattr(exceptions, "ProxyError", ()), "proxy"),
    (exceptions.InvalidHandshake, "handshake"),
)


def _uri_of(connection: ClientConnection) -> str:
    """The URI of a connection; the library renamed the attribute."""
    where: Any = getattr(connection.protocol, "uri", None) or getattr(connection.protocol, "wsuri")  # noqa: B009
    host = f"[{where.host}]" if ":" in where.host else where.host
    return f"{'wss' if where.secure else 'ws'}://{host}:{where.port}{where.resource_name}"


# -- all connections, in place ----------------------------------------------------------------------------------------


_all: Final[list[Given]] = []  # the arguments of instrument_all; empty if it is not in effect


def _instrumented_handshake(self: ClientConnection, *arguments: Any, **options: Any) -> None:
    """Replaces ClientConnection.handshake, the first method of a connection that the library calls."""
    given = next(iter(_all), None)

    def shake() -> ClientConnection:
        if _here.dial is not None and _known(self) is None:
            try:
                _dress(self, *_here.dial)
            except ConfigurationError as error:  # the program did not ask for this, and continues without it
                log_fault(_log, error, "a connection is not instrumented")
        _handshake(self, *arguments, **options)
        return self

    try:
        if given is None or _here.dial is not None:
            shake()
        else:
            _dial(given, _uri_of(self), Place(), shake)
    except BaseException as error:
        without_us(error)
        raise


def _instrumented_connect(self: Any) -> Any:
    """Replaces reconnect.connect."""
    given = next(iter(_all), None)
    if given is None or _here.dial is not None:
        return _loop_connect(self)
    place = vars(self).setdefault(_MARK, Place())  # for all iterations of a loop
    try:
        return _dial(given, self.uri, place, functools.partial(_loop_connect, self))
    except BaseException as error:
        without_us(error)
        raise


if _Loop is not None:
    _loop_connect: Any = _Loop.connect

    class _InstrumentedLoop(_Loop):  # type: ignore[misc]  # not in older releases
        """`reconnect` with connections that belong to one client until the loop or the block is left."""

        def __init__(self, given: Given, place: Place, uri: str, theirs: dict[str, Any]) -> None:
            super().__init__(uri, **theirs)
            self._given = given
            self._place = place

        def connect(self) -> Any:
            """Dial; called repeatedly in a loop."""
            return _dial(self._given, self.uri, self._place, super().connect)

        def __iter__(self) -> Iterator[ClientConnection]:
            place = self._place
            place.loops = True
            try:
                yield from super().__iter__()
            finally:
                place.loops = False
                if place.client is not None:
                    place.client.close()


# -- the methods of an instrumented connection ------------------------------------------------------------------------


def _known(connection: Any) -> Connection | None:
    found: Connection | None = vars(connection).get(_MARK)
    return found


def _dress(connection: ClientConnection, client: Foreign, place: Place) -> Connection:
    """Make a connection call our methods. Raises ConfigurationError if its class cannot be extended."""
    known = Connection(connection, client, place)
    kind: Any = type(connection)
    try:
        connection.__class__ = _below(kind)
        vars(connection)[_MARK] = known
    except TypeError as error:
        raise ConfigurationError(
            f"{kind.__qualname__} cannot be instrumented: {error}; have create_connection= return a "
            "subclass of websockets.sync.client.ClientConnection"
        ) from error
    return known


@functools.cache
def _below(kind: Any) -> type[Any]:
    """A subclass with our methods between this class's own methods and those of the library."""
    own = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    bases = (_Instrumented,) if kind is ClientConnection else (kind, _Instrumented)
    metaclass: Any = type(kind)
    made: type[Any] = metaclass(kind.__name__, bases, own)
    return made


class _Instrumented(ClientConnection):
    """The methods that report events. Each first raises the library's warning about a connection used without `with`,
    so that the warning names the line of the program."""

    def recv(self, *arguments: Any, **options: Any) -> Any:
        known = _known(self)
        if known is None:
            return _recv(self, *arguments, **options)
        if known.warns:
            known.warns = False
            self.maybe_raise_legacy_warning()
        began = _clock()
        try:
            message = _recv(self, *arguments, **options)
        except BaseException as error:
            known.waited += _clock() - began
            known.met(error)
            raise
        known.received(message, _clock() - began)
        return message

    def recv_streaming(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        fragments = _recv_streaming(self, *arguments, **options)
        known = _known(self)
        return fragments if known is None else self._pass_on(known, fragments)

    def _pass_on(self, known: Connection, fragments: Iterator[Any]) -> Iterator[Any]:
        if known.warns:
            known.warns = False
            self.maybe_raise_legacy_warning()
        gathered = known.gathering(fragments)
        try:
            yield from gathered
        except BaseException as error:
            known.met(error)
            raise
        known.gathered(gathered)

    def __iter__(self) -> Iterator[Any]:
        messages, known = _iterate(self), _known(self)
        return messages if known is None else _timed(messages, known)

    def send(self, message: Any, *arguments: Any, **options: Any) -> None:
        known = _known(self)
        if known is None:
            _send(self, message, *arguments, **options)
            return
        if known.warns:
            known.warns = False
            self.maybe_raise_legacy_warning()
        call: Callable[[Any], None] = functools.partial(_send, self, **options)
        text = options.get("text")
        if arguments:  # `text` as a positional argument, as releases before 16 allow
            call, text = lambda given: _send(self, given, *arguments, **options), arguments[0]
        try:
            if isinstance(message, (str, *BYTES_LIKE)):
                known.send(call, message, text)
            elif isinstance(message, Mapping) or not isinstance(message, Iterable):
                call(message)  # the library refuses it
            else:
                known.send_fragments(call, message, text)
        except BaseException as error:
            known.met(error)
            raise

    def ping(self, *arguments: Any, **options: Any) -> threading.Event:
        known = _known(self)
        if known is None:
            return _ping(self, *arguments, **options)
        if known.warns:
            known.warns = False
            self.maybe_raise_legacy_warning()
        began = _clock()
        try:
            pong = _ping(self, *arguments, **options)
        except BaseException as error:
            known.met(error)
            raise
        known.pinged(pong, began)
        return pong

    def close(self, *arguments: Any, **options: Any) -> None:
        known = _known(self)
        if known is None:
            _close(self, *arguments, **options)
            return
        if known.warns:
            known.warns = False
            self.maybe_raise_legacy_warning()
        known.closing = True
        try:
            _close(self, *arguments, **options)
        except BaseException as error:
            known.met(error)
            raise
        known.look()


for _method in (_recv, _recv_streaming, _iterate, _send, _ping, _close):  # name, signature and docstring of the library
    functools.update_wrapper(vars(_Instrumented)[_method.__name__], _method)


def _timed(messages: Iterator[Any], known: Connection) -> Iterator[Any]:
    """Yield each message; the loop's body is timed as its processing."""
    while True:
        try:
            message = next(messages)
        except StopIteration:
            return
        except BaseException as error:
            known.met(error)
            raise
        span, known.span = known.span, None
        if span is None:  # received by a recv() that is not ours
            yield message
            continue
        began = known.client.begin(span)
        try:
            yield message
        finally:
            known.client.processed(span, _clock() - began)
