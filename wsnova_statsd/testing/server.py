"""A real WebSocket server on the loopback interface; a script defines what it sends. Needs the `testing` extra.

    with WebSocketServer(send_messages(['{"n": 1}'])) as server, ws.Client(server.url) as client: ...

`stop()` then `start()` simulates an outage on the same port, `drop_all()` a cut cable, `close_all()` an orderly end.

Threads, all daemons named `wsnova-test-server...`: one accepts; each connection has one that runs the script and one
that reads. Call every method from any thread. Never listens on anything but the given host. After `stop()` nothing is
left running but a script that does not return.
"""

from __future__ import annotations

import functools
import socket
import ssl as tls
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from wsnova_statsd import checks
from wsnova_statsd.errors import MissingExtra
from wsnova_statsd.testing._connection import Ending
from wsnova_statsd.testing._loopback import TLS_SECONDS, LockedTls, LoopbackServer, cut

try:
    from websockets.exceptions import ConnectionClosed
    from websockets.frames import Frame, Opcode
    from websockets.http11 import Request, Response
    from websockets.protocol import Event, State
    from websockets.sync.server import Server, ServerConnection, serve
    from websockets.typing import Subprotocol
except ImportError as _error:
    raise MissingExtra("websockets", "testing") from _error

_CLOSE_SECONDS: Final = 0.5  # a loopback peer that has not answered a close frame by then never will

Message = str | bytes
Script = Callable[["ScriptedConnection"], object]  # its return value is ignored
ProcessRequest = Callable[[ServerConnection, Request], Response | None]


class ScriptedConnection(ServerConnection):
    """One accepted connection, as passed to a script: a `websockets` server connection that can also `drop()`."""

    def __init__(
        self, sock: socket.socket, protocol: Any, server: Server, *, owner: WebSocketServer, **options: Any
    ) -> None:
        self.owner: WebSocketServer = owner
        self.raw: socket.socket = sock
        self.ready: bool = False  # until it is True, the connection has no state
        self._fragments: list[bytes] = []
        self._text = True
        name = owner._register(self)  # before the TLS handshake, so that stop() can cut that short too
        threading.current_thread().name = name
        owner._track(threading.current_thread())
        if owner.ssl is not None:
            self.raw = owner.ssl.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            try:
                self.raw.settimeout(TLS_SECONDS)
                self.raw.do_handshake()
            except OSError:
                self.raw.close()
                raise
            sock = cast(socket.socket, LockedTls(self.raw))
        super().__init__(sock, protocol, server, **options)
        self.recv_events_thread.name = f"{name}-read"
        owner._track(self.recv_events_thread)
        self.ready = True

    def drop(self) -> None:
        """End the TCP connection now, without a close frame."""
        cut(self.raw)

    def start_keepalive(self) -> None:
        super().start_keepalive()
        if self.keepalive_thread is not None:
            self.keepalive_thread.name = f"{threading.current_thread().name}-ping"
            self.owner._track(self.keepalive_thread)

    def process_event(self, event: Event) -> None:
        """Record what arrives, whether or not the script reads it. Called in the reading thread."""
        if isinstance(event, Request):
            self.owner._record(request=event)
        elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if event.opcode is not Opcode.CONT:
                self._fragments, self._text = [], event.opcode is Opcode.TEXT
            self._fragments.append(bytes(event.data))
            if event.fin:
                data = b"".join(self._fragments)
                # recv() answers invalid UTF-8 with close code 1007; the recorded text stays readable.
                self.owner._record(message=data.decode(errors="backslashreplace") if self._text else data)
        super().process_event(event)

    def recv_events(self) -> None:
        try:
            super().recv_events()
        finally:
            self.owner._record()  # the state has just become CLOSED


class WebSocketServer(LoopbackServer):
    """A WebSocket server for tests. It runs `script(connection)` for each connection in that connection's thread.

    The script is by default `echo`. When it returns, the connection is closed with code 1000. A ConnectionClosed that
    it raises is the ordinary end; any other error closes with 1011 and is logged by `websockets.server`. `ssl` is an
    ssl.SSLContext, `ping_interval` is in seconds or None for no pings, `compression` is "deflate" or None.
    `process_request(connection, request)` may return a Response that refuses the upgrade. `port` 0 uses a free port,
    which the server keeps over `stop()` and `start()`, like its counts and records.
    """

    @checks.by_name
    def __init__(
        self,
        script: Script | None = None,
        *,
        ssl: tls.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        subprotocols: Sequence[str] | None = None,
        ping_interval: float | None = None,
        process_request: ProcessRequest | None = None,
        compression: str | None = None,
    ) -> None:
        super().__init__(ssl, host, port)
        self.script: Script = echo if script is None else script
        self._options: dict[str, Any] = {
            "subprotocols": cast(Sequence[Subprotocol] | None, subprotocols),
            "ping_interval": ping_interval,
            "process_request": process_request,
            "process_response": self._answering,
            "compression": compression,
            "close_timeout": _CLOSE_SECONDS,
            "open_timeout": TLS_SECONDS,
            "max_size": None,
            "max_queue": None,  # record what arrives even if the script does not read
        }
        self._server: Server | None = None  # _changed guards this field and those below
        self._live: list[ScriptedConnection] = []
        self._threads: list[threading.Thread] = []
        self._sockets = 0
        self._connections = 0
        self._received: list[Message] = []
        self._requests: list[Request] = []

    @property
    def connections(self) -> int:
        """The number of upgrades accepted so far; each is counted before the client receives the answer."""
        with self._changed:
            return self._connections

    @property
    def open_connections(self) -> int:
        """The number of connections that are open at the moment."""
        return len(self._open())

    @property
    def received(self) -> list[Message]:
        """Every data message from clients so far, in order of arrival; a copy."""
        with self._changed:
            return list(self._received)

    @property
    def requests(self) -> list[Request]:
        """Every handshake request so far, refused ones too, with `.path` and `.headers`; a copy."""
        with self._changed:
            return list(self._requests)

    def start(self) -> None:
        """Listen and accept. Raises RuntimeError if already started, OSError if the port is in use."""
        with self._changed:
            if self._server is not None:
                raise RuntimeError("this server has already been started; stop() it first")
            create = cast(type[ServerConnection], functools.partial(ScriptedConnection, owner=self))
            server = serve(self._run, sock=self._listen_locked(), create_connection=create, **self._options)
            self._server = server
        # The threads that `websockets` starts for connections are daemons because this one is.
        self._spawn(server.serve_forever)

    def stop(self, timeout: float = 5.0, *, drop: bool = False) -> None:
        """Stop listening and end every connection, with close code 1001 or, with `drop`, without a close frame.

        Raises TimeoutError if a script does not end within `timeout` seconds; calling it again waits for that again.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            server, self._server = self._server, None
            self.stopping.set()
        if server is not None:
            # It joins the threads of all connections without a limit, so it runs in its own thread.
            self._spawn(server.shutdown, False, name="-stop")
            server.socket_closed.wait(timeout)  # from here on no new connection is accepted
            if not drop:
                self.close_all(1001)
        while (remaining := self._running()) and threading.current_thread() not in remaining:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"a script still runs after {timeout} s; have it wait on the server's stopping event"
                )
            self.drop_all()  # peers that have not answered by now, and handshakes in progress
            remaining[0].join(0.02)

    def drop_all(self) -> None:
        """End every TCP connection now, without a close frame."""
        with self._changed:
            live = list(self._live)
        for connection in live:
            connection.drop()

    def close_all(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame on every open connection, and wait at most half a second for the answers."""
        threads = [self._spawn(each.close, code, reason, name="-close") for each in self._open()]
        deadline = time.monotonic() + _CLOSE_SECONDS + 0.1
        for thread in threads:  # a blocked send() holds the connection's lock, and close() waits for it
            thread.join(max(0.0, deadline - time.monotonic()))

    def send_all(self, message: Message) -> None:
        """Send one message on every open connection; connections that end meanwhile are skipped."""
        for connection in self._open():
            with suppress(ConnectionClosed):
                connection.send(message)

    def _spawn(self, target: Callable[..., object], *args: object, name: str = "") -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=f"wsnova-test-server{name}", daemon=True)
        thread.start()
        self._track(thread)
        return thread

    def _track(self, thread: threading.Thread) -> None:
        """Make stop() wait for this running thread."""
        with self._changed:
            self._threads = [*self._running(), thread]

    def _running(self) -> list[threading.Thread]:
        with self._changed:
            return [thread for thread in self._threads if thread.is_alive()]

    def _open(self) -> list[ScriptedConnection]:
        with self._changed:
            return [each for each in self._live if each.ready and each.state is State.OPEN]

    def _register(self, connection: ScriptedConnection) -> str:
        """Register a new connection. Returns the name for its thread."""
        with self._changed:
            self._live = [*(each for each in self._live if each.raw.fileno() >= 0), connection]
            self._sockets += 1
            return f"wsnova-test-server-{self._sockets}"

    def _record(self, *, request: Request | None = None, message: Message | None = None) -> None:
        with self._changed:
            if request is not None:
                self._requests.append(request)
            if message is not None:
                self._received.append(message)
            self._changed.notify_all()

    def _answering(self, _connection: ServerConnection, _request: Request, response: Response) -> None:
        """Count the upgrade before its answer is sent, so that a connected client has always been counted."""
        if response.status_code == 101:
            with self._changed:
                self._connections += 1
                self._changed.notify_all()

    def _run(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            self.script(cast(ScriptedConnection, connection))


# Ready-made scripts for WebSocketServer(script)


def echo(connection: ScriptedConnection) -> None:
    """Send every message back."""
    for message in connection:
        connection.send(message)


def silent(connection: ScriptedConnection) -> None:
    """Read every message and send nothing."""
    for _message in connection:
        pass


def answers(reply: Callable[[Message], Message | None]) -> Script:
    """Answer every message with `reply(message)`, unless that is None."""

    def script(connection: ScriptedConnection) -> None:
        for message in connection:
            answer = reply(message)
            if answer is not None:
                connection.send(answer)

    return script


def send_messages(messages: Iterable[Message], then: Ending = "wait") -> Script:
    """Send these messages to every client; then wait for it to close, close with code 1000, or drop."""
    prepared = list(messages)

    def script(connection: ScriptedConnection) -> None:
        for message in prepared:
            connection.send(message)
        if then == "wait":
            silent(connection)
        elif then == "drop":
            connection.drop()

    return script


def closes(code: int = 1000, reason: str = "") -> Script:
    """Accept every upgrade, then close with this code and reason at once."""
    return lambda connection: connection.close(code, reason)
