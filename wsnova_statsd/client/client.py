"""Client: the class that users hold. It starts and stops a lifecycle and passes calls on; the parts make the decisions.

Threads: with `on_message` the client's own thread `wsnova-client-<id>` owns the connection; without it, the thread that
iterates or receives owns it while it does so. Every method may be called from any thread, from inside on_message and
from a signal's handler. Nothing starts in the constructor. A client without on_message is referenced only by its user:
when it is collected, its connection is closed.
"""

from __future__ import annotations

import logging
import os
import ssl as tls
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Generic, Literal, cast

from .. import checks, process, profiles, telemetry
from ..dial.headers import Headers
from ..dial.sockets import SocketOption
from ..dial.target import target
from ..errors import ClientIdInUse, ConfigurationError, Forked, NotConnected
from ..link.link import Link
from ..profiles import Profile, ProfileName
from ..redaction import log_fault, one_line
from . import living
from .auth import Auth
from .emitter import opened
from .health import Health, health
from .ids import IDS
from .lifecycle import Lifecycle
from .options import Options
from .pending import OfLifecycle
from .protocol import JsonProtocol, Message, Protocol
from .rate_limit import RateLimit
from .state import Phase, State

_log = logging.getLogger(__name__)
_ALIVE: Final = process.ALIVE
_RUNNING: Final = Phase.RUNNING  # an enum look-up costs as much as a call
_naming = threading.RLock()  # guards the choice of a free default id; re-entrant for a signal's handler
# Becomes JsonProtocol() in the constructor. By this type a checker infers that on_message accepts anything by default.
_JSON: Final = cast("Protocol[Any] | None", None)
_CHILD_STARTS_AFTER: Final = 0.2  # seconds; a child that execs or ends at once does not dial


class Client(Generic[Message]):
    """A WebSocket client that reconnects by its profile and emits telemetry on the bus.

    Iterate over it, call receive(), or pass `on_message`. Invalid arguments raise ConfigurationError at once; no error
    and no repr shows a credential.

    Args:
        url: `ws://` or `wss://`, or a function that returns one, called for every attempt.
        client_id: The tag on everything it emits, 1 to 200 characters. Default: the host and the lowest free number.
        profile: "financial", "standard", "lightweight" or a ws.Profile. Default: None, the profile of the Monitor that
            runs on the bus at the start, or "standard" without one.
        protocol: How messages are encoded and decoded. Default: ws.JsonProtocol().
        on_message: Called with each message, in the client's own thread. Default: None: iterate or call receive().
        on_error: Called with each fault, in the thread where it occurs. Default: None.
        headers: Headers of the upgrade: a mapping, pairs, lines, or a function that returns them, called for every
            attempt. Host, Origin and User-Agent replace the client's own; None removes one. Default: none.
        subprotocols: Names to offer, the preferred one first; a server may choose none. Default: none.
        ssl: An ssl.SSLContext for wss. Default: one that verifies certificates and host names.
        auth: ws.HeaderAuth, ws.MessageAuth or an object with `login(client)`. Default: None.
        subscriptions: Channels to subscribe on every link. Default: none.
        proxy: `http://`, `https://` or `socks5://host:port` (extra `socks`), or "env": the variables. Default: None.
        connect_timeout: Seconds for one attempt: DNS, TCP, TLS and upgrade; above 0. Default: 10.
        max_message_bytes: Bytes of the largest message, after decompression; from 1. Default: 16 MiB.
        max_buffered_bytes: Bytes that may wait for a slow handler; from 1. Default: 64 MiB.
        compression: "deflate" offers permessage-deflate (RFC 7692). Default: None.
        rate_limit: A ws.RateLimit for sent messages. Default: None, no limit.
        idle_timeout: Seconds without a message or pong after which a link is closed; above 0. Default: None, no limit.
        reconnect: False closes the client when its connection ends. Default: True.
        on_reconnect: Called after every link but the first, in the owner's thread. Default: None.
        bus: The ws.Bus to emit on. Default: that of ws.telemetry.
        in_child: "start" also starts a started client in each child of os.fork, in the background, except in the
            children of multiprocessing. Default: "forked", the client is not connected there.
        tags: Additional tags on all its metrics, events and checks: a mapping of names to values. Default: none.
        require_subprotocol: True makes the attempt fail if the server chooses no subprotocol. Default: False.
        server_hostname: The name that TLS asks for and checks. Default: None, the host of the URL.
        source_address: `(address, port)` of this machine to dial from; port 0 picks any. Default: None.
        socket_options: `(level, option, value)` tuples for setsockopt, set before connecting. Default: none.
        unix_socket: The path of a Unix socket to connect to; the URL provides everything else. Default: None.
        follow_redirects: True follows up to five redirects to the same scheme, host and port. Default: False.
    """

    @checks.by_name
    def __init__(
        self,
        url: str | Callable[[], str],
        *,
        client_id: str | None = None,
        profile: ProfileName | Profile | None = None,
        protocol: Protocol[Message] | None = _JSON,
        on_message: Callable[[Message], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
        headers: Headers | Callable[[], Headers] = None,
        subprotocols: Iterable[str] = (),
        ssl: tls.SSLContext | None = None,
        auth: Auth | None = None,
        subscriptions: Iterable[Any] = (),
        proxy: str | None = None,
        connect_timeout: float = 10.0,
        max_message_bytes: int = 16 * 2**20,
        max_buffered_bytes: int = 64 * 2**20,
        compression: Literal["deflate"] | None = None,
        rate_limit: RateLimit | None = None,
        idle_timeout: float | None = None,
        reconnect: bool = True,
        on_reconnect: Callable[[], object] | None = None,
        bus: telemetry.Bus | None = None,
        in_child: Literal["forked", "start"] = "forked",
        tags: Mapping[str, object] | None = None,
        require_subprotocol: bool = False,
        server_hostname: str | None = None,
        source_address: tuple[str, int] | None = None,
        socket_options: Iterable[SocketOption] = (),
        unix_socket: str | os.PathLike[str] | None = None,
        follow_redirects: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "bus")}
        process.refuse_late_patch()
        self._presence = _Presence(self)
        self._lifecycle: Lifecycle | None = None
        self._first: dict[str, Lifecycle] = {}  # the one that was started first
        self._said_forked = self._starts_here = False  # in a child: due to connect there, not connected yet
        self._bus = bus if bus is not None else telemetry.DEFAULT
        given["profile"] = profiles.resolve("standard" if profile is None else profile)
        given["protocol"] = protocol if protocol is not None else JsonProtocol()
        given["tags"] = {} if tags is None else tags
        for name in ("subprotocols", "subscriptions"):
            if not isinstance(given[name], str):  # Options refuses a string
                given[name] = tuple(given[name])
        with _naming:
            if client_id is None:
                given["client_id"] = living.free_id(target(url).host if isinstance(url, str) else "client")
            self._options = Options(**given, follows=profile is None)
            living.add(self._presence)
        process.at_exit(self, process.CLIENT)
        process.on_fork(self)
        opened(self._bus, self._options.whose, self._options.uri)

    @property
    def client_id(self) -> str:
        """The id that tags everything this client emits."""
        return self._options.client_id

    @property
    def on_message(self) -> Callable[[Message], object] | None:
        """The function that is called with each message; None for a client that is iterated."""
        return self._options.on_message

    @property
    def profile(self) -> Profile:
        """The profile in force; before the start, the profile that start() would use now."""
        lifecycle = self._own()
        runs = lifecycle is not None and not lifecycle.over
        return (lifecycle.connection.options if lifecycle and runs else self._options.on(self._bus)).profile

    def wrap_callbacks(self, wrap: Callable[[Callable[..., object]], Callable[..., object]]) -> None:
        """Call before the start: on_message, on_error and on_reconnect are replaced by what `wrap` returns for each.
        For frameworks that set up, around every handler, what the application relies on."""
        self._options = self._options.wrapped(wrap)

    @property
    def state(self) -> State:
        """The client's current state."""
        return self._state_of(self._used())

    # -- start and close ----------------------------------------------------------------------------------------------

    @checks.by_name
    def start(self, timeout: float | None = None, wait: bool = True) -> Client[Message]:
        """Connect, by the profile's retry policy; returns when connected, also if the client is already running.

        Raises ConnectionFailed after `timeout` seconds or max_attempts, and at once for a refusal that another attempt
        cannot fix (a function for url, headers or credentials is called once more first); the client is then stopped
        and may be started again. With `wait=False` it returns at once, and the client keeps trying in the background
        until the first link is up, whatever the answer; failures are logged and passed to on_error. Raises
        ClientIdInUse while another client with this id runs on the bus.
        """
        process.refuse_late_patch()
        checks.flag("wait", wait)
        if timeout is not None:
            checks.seconds("timeout", timeout, zero=True, endless=True)
            if not wait:
                raise ConfigurationError("start(wait=False) does not wait; remove timeout=")
        lifecycle = self._begin()
        try:
            IDS.hold(self._bus, self.client_id, lifecycle)
        except ClientIdInUse:
            lifecycle.close(0.0, "local")
            raise
        self._starts_here = False
        lifecycle.launch(self, patient=not wait)
        if wait:
            lifecycle.await_first(timeout)
        return self

    def _begin(self) -> Lifecycle:
        """The lifecycle that is not over, or a new one. Several threads, or a signal's handler, may call this at once:
        setdefault decides in one step which lifecycle stays."""
        lifecycle = self._own()
        if lifecycle is not None and not lifecycle.over:
            return lifecycle
        self._lifecycle = lifecycle = (self._first if lifecycle is None else lifecycle.next).setdefault(
            "", Lifecycle(self._options, self._bus, self)
        )
        return lifecycle

    def close(self, timeout: float = 5.0) -> None:
        """Close the client for good, with a close handshake; returns within `timeout` seconds, from any thread. In a
        forked child this does nothing: the connection is the parent's."""
        lifecycle, self._starts_here = self._used(), False
        if lifecycle is not None:
            lifecycle.close(timeout, "local")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the client is closed; False after `timeout` seconds. Returns at once if it was never started."""
        lifecycle = self._used()
        return lifecycle is None or lifecycle.wait(timeout)

    def reconnect(self) -> None:
        """Drop the connection and dial now, or end the wait for the next attempt. Raises NotConnected before
        start()."""
        self._running().connection.redial()

    def after_fork(self) -> None:
        """In a forked child: the connection is the parent's. Takes no lock, emits nothing."""
        global _naming
        _naming = threading.RLock()
        lifecycle = self._lifecycle
        if lifecycle is None:
            return
        was_started = self._starts_here or not lifecycle.over
        lifecycle.abandon()
        self._said_forked = not was_started
        pool = process.forked_by_a_pool(sys._getframe(1))
        self._starts_here = was_started and self._options.in_child == "start" and not pool
        if self._starts_here:
            threading.Thread(target=self._start_in_child, name=process.thread_name("start"), daemon=True).start()

    def _start_in_child(self) -> None:
        """wsnova-start, in a child: start in the background, unless it was started or closed meanwhile."""
        time.sleep(_CHILD_STARTS_AFTER)
        if self._starts_here:
            try:
                self.start(wait=False)
            except Exception as error:
                log_fault(_log, error, "client %s cannot be started in this child process", one_line(self.client_id))

    def at_exit(self, deadline: float) -> None:
        """Called at interpreter exit, before reporters flush."""
        lifecycle = self._own()
        if lifecycle is not None:
            lifecycle.close(max(0.0, (deadline - time.monotonic()) / 2), "shutdown")

    def __enter__(self) -> Client[Message]:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if sys.is_finalizing() or not process.ALIVE[0] or not hasattr(self, "_options"):
            return
        lifecycle = self._own()
        if lifecycle is not None and lifecycle.let_go():
            warnings.warn(f"{self!r} was not closed; it is now", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"<wsnova_statsd.Client {one_line(self.client_id)} {self._state_of(self._lifecycle).value}>"

    # -- messages -----------------------------------------------------------------------------------------------------

    def send(self, message: Any, wait: float = 0.0) -> None:
        """Encode and send one message; returns after the socket write.

        Raises EncodeError, and NotConnected if there is no link after up to `wait` seconds.
        """
        lifecycle = self._lifecycle
        if lifecycle is None or lifecycle.phase is not _RUNNING or not _ALIVE[0]:
            lifecycle = self._running()
        lifecycle.sender.send(message, wait)

    def send_text(self, text: str, wait: float = 0.0) -> None:
        """Send one text frame as it is. Raises EncodeError, NotConnected."""
        self._running().sender.send_text(text, wait)

    def send_binary(self, data: bytes | bytearray | memoryview, wait: float = 0.0) -> None:
        """Send one binary frame as it is. Raises NotConnected."""
        self._running().sender.send_binary(bytes(data), wait)

    def request(self, message: Any, timeout: float = 5.0) -> Any:
        """Send a request and wait for its reply, which is not delivered elsewhere.

        Raises RequestTimeout, RequestInterrupted if the link is lost first, RequestRejected if the reply is an error,
        NotConnected. Call it from any thread, also inside on_message and while a handler runs.
        """
        lifecycle = self._lifecycle
        if lifecycle is None or lifecycle.phase is not _RUNNING or not _ALIVE[0]:
            lifecycle = self._running()
        if lifecycle.connection.until is not None:
            timeout = lifecycle.bounded(timeout)
        return lifecycle.requests.request(message, timeout)

    def expect(self, message: Any, read: Callable[[Any], bool | None], timeout: float = 5.0) -> bool:
        """Send a message and wait for its answer, which `read` recognises: True, False, or None if it is another."""
        checks.function("read", read, "message")
        lifecycle = self._running()
        return lifecycle.requests.expect(message, read, lifecycle.bounded(timeout))

    def subscribe(self, channel: Any, timeout: float = 5.0) -> None:
        """Subscribe to a channel, on this link and every later one, and wait for the server's confirmation.

        Raises SubscriptionRejected, and the channel is dropped; RequestTimeout or RequestInterrupted, and the client
        keeps asking for it; NotConnected.
        """
        self._running().subscriptions.subscribe(channel, timeout)

    def unsubscribe(self, channel: Any, timeout: float = 5.0) -> None:
        """Unsubscribe a channel. Raises RequestTimeout, RequestInterrupted, SubscriptionRejected, NotConnected."""
        self._running().subscriptions.unsubscribe(channel, timeout)

    @property
    def waiting(self) -> int:
        """Messages that have arrived and are not yet handled."""
        lifecycle = self._own()
        return 0 if lifecycle is None or lifecycle.phase is Phase.FORKED else lifecycle.receiver.waiting

    def health(self) -> Health:
        """The client's state in figures ready for JSON: for a health check, a log line or a status page.

        `client_id`; `state`; `status`, "ok" if there is a link and the client is less than a second behind the feed,
        otherwise "degraded"; `connected_since`, `disconnected_since` and `last_message_at` in seconds since the epoch;
        `error`, why there is no link; each of these is None if it does not apply; `received` (waiting ones included),
        `sent` and `reconnects` since the start; `waiting` messages; `behind` in seconds. Any thread.
        """
        lifecycle = self._own()
        return health(self.client_id, self._state_of(lifecycle).value, lifecycle)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose on this link; None if it chose none, and while there is no link. During
        a login it is that of the new link."""
        lifecycle = self._own()
        try:
            return None if lifecycle is None else lifecycle.connection.up(0.0).subprotocol
        except NotConnected:
            return None

    @property
    def wanted(self) -> list[Any]:
        """The channels that are restored on every new link."""
        lifecycle = self._own()
        return [] if lifecycle is None or lifecycle.phase is Phase.FORKED else lifecycle.subscriptions.wanted

    @property
    def confirmed(self) -> list[Any]:
        """The wanted channels that the server confirmed on this link."""
        lifecycle = self._own()
        return [] if lifecycle is None or lifecycle.phase is Phase.FORKED else lifecycle.subscriptions.confirmed

    @property
    def late_replies(self) -> int:
        """Replies that arrived after their request timed out; they are not delivered."""
        return 0 if self._lifecycle is None else self._lifecycle.replies.late

    def receive(self, timeout: float | None = None) -> Message:
        """Return one message, not timed as processing. Raises TimeoutError after `timeout` s, NotConnected if
        closed."""
        lifecycle = self._lifecycle
        if (
            lifecycle is None
            or lifecycle.phase is not _RUNNING
            or self._options.on_message is not None
            or not _ALIVE[0]
        ):
            lifecycle = self._iterated()
        message: Message = lifecycle.receive(timeout)
        return message

    def __iter__(self) -> Iterator[Message]:
        """Yield messages one by one; the loop body is timed as their processing. Starts the client."""
        if self._options.on_message is not None:
            raise ConfigurationError("this client has on_message; create it without on_message to iterate")
        self.start()
        return self._iterated().messages(self)

    def _own(self) -> Lifecycle | None:
        """The latest lifecycle."""
        if not process.ALIVE[0]:
            process.in_child()
        lifecycle = self._lifecycle or self._first.get("")
        while lifecycle is not None and (later := lifecycle.next.get("")) is not None:
            lifecycle = later  # a thread that set _lifecycle was overtaken
        return lifecycle

    def _used(self) -> Lifecycle | None:
        """The latest lifecycle, for a call from the user."""
        lifecycle = self._own()
        if lifecycle is not None and lifecycle.phase is Phase.FORKED and not self._said_forked:
            self._said_forked = True
            if not self._starts_here:
                _log.warning(
                    "client %s was started in the parent process and is not connected in this one; call start() here, "
                    "or pass in_child='start'",
                    one_line(self.client_id),
                )
        return lifecycle

    def _state_of(self, lifecycle: Lifecycle | None) -> State:
        return State.IDLE if lifecycle is None else lifecycle.connection.state

    def _running(self) -> Lifecycle:
        lifecycle = self._used()
        if self._starts_here:  # a call came before the background start
            lifecycle = self.start(wait=False)._own()
        if lifecycle is None:
            raise NotConnected("the client was not started; call start(), or use it as a context manager")
        if lifecycle.phase is Phase.FORKED:
            raise Forked("this client was started in the parent process; call start() in this one")
        return lifecycle

    def _iterated(self) -> Lifecycle:
        if self._options.on_message is not None:
            raise ConfigurationError("this client has on_message; create it without on_message to receive")
        return self._running()


class _Presence:
    """A client as reporters and Monitors see it (see Living)."""

    def __init__(self, client: Client[Any]) -> None:
        self._client = weakref.ref(client)

    @property
    def client(self) -> Client[Any] | None:
        """The client; None if it is being collected."""
        return self._client()

    @property
    def client_id(self) -> str:
        client = self.client
        return "" if client is None else client.client_id

    @property
    def bus(self) -> telemetry.Bus | None:
        client = self.client
        return None if client is None else client._bus

    @property
    def closed(self) -> bool:
        client = self.client
        return client is None or client._state_of(client._lifecycle) is State.CLOSED

    def announce(self) -> None:
        client = self.client
        lifecycle = None if client is None else client._own()
        started = lifecycle is not None and not lifecycle.over
        if client is not None and (started or lifecycle is None):
            profile = lifecycle.connection.options.profile if started and lifecycle is not None else None
            opened(client._bus, client._options.whose, client._options.uri, profile=profile)

    def asked_by(self, profile: Profile) -> bool:
        client = self.client
        lifecycle = None if client is None else client._own()
        if client is None or lifecycle is None or not lifecycle.launched or lifecycle.over:
            return False
        lifecycle.connection.emit.emit_state()
        return client._options.follows and lifecycle.connection.options.profile != profile

    def pending(self) -> OfLifecycle | None:
        client = self.client
        lifecycle = None if client is None else client._lifecycle
        return None if lifecycle is None else OfLifecycle(lifecycle)


def running(bus: telemetry.Bus) -> Iterator[tuple[Client, Lifecycle]]:
    """The clients on this bus, in this process, that were started and are not closed. Any thread."""
    for one in living.everyone():
        client = one.client if isinstance(one, _Presence) and one.bus is bus else None
        lifecycle = None if client is None else client._own()
        if client is not None and lifecycle is not None and lifecycle.launched and not lifecycle.over:
            yield client, lifecycle


def links(bus: telemetry.Bus) -> Iterator[tuple[telemetry.Metadata, Link | None]]:
    """The metadata and the link of each of these clients; None for a client without a link. Any thread."""
    for _, lifecycle in running(bus):
        link = lifecycle.connection.link
        yield lifecycle.connection.emit.whose, link if link is not None and link.loss is None else None
