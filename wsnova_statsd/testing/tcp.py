"""Scripted TCP servers for peers that misbehave: no library between the script and the bytes.

    with TcpServer(refuses(503, {"Retry-After": "1"})) as server:
        ...  # dial server.url

Threads, all daemons named `wsnova-test-tcp...`: one accepts, each connection has one that runs the script. Public
methods of the servers from any thread, those of a `Connection` from its script's. Scripts wait on `stopping`, never
sleep, so `stop()` ends them. Never listens on anything but the given host.
"""

from __future__ import annotations

import base64
import hashlib
import http
import os
import select
import socket
import ssl as tls
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Literal, Self

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_TLS_SECONDS: Final = 5.0

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Ending = Literal["wait", "close", "drop"]
Script = Callable[["Connection"], object]  # what it returns is not looked at


def server_frame(
    opcode: int,
    payload: bytes = b"",
    fin: bool = True,
    masked: bool = False,
    rsv: int = 0,
    declared_length: int | None = None,
) -> bytes:
    """One frame, right or wrong (RFC 6455 section 5.2).

    `rsv` is the three reserved bits as a number from 0 to 7 (4 is RSV1), `masked` what a server must not do, and
    `declared_length` the length to announce instead of the payload's.
    """
    length = len(payload) if declared_length is None else declared_length
    head = bytearray([fin << 7 | rsv << 4 | opcode])
    mask_bit = masked << 7
    if length < 126:
        head.append(mask_bit | length)
    elif length < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, length)
    else:
        head += struct.pack("!BQ", mask_bit | 127, length)
    if masked:
        mask = os.urandom(4)
        return bytes(head) + mask + _masked(payload, mask)
    return bytes(head) + payload


def _masked(payload: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))


def _authority(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def server_url(host: str, port: int, ssl: tls.SSLContext | None) -> str:
    """`ws://` with the address, or `wss://localhost`, the name that is in certificates."""
    return f"ws://{_authority(host)}:{port}" if ssl is None else f"wss://localhost:{port}"


def cut(sock: socket.socket) -> None:
    """End both directions of a connection under another thread that may be blocked in it; TLS is not told."""
    with suppress(OSError):  # it has ended already
        # SSLSocket.shutdown() would drop the TLS layer first, and the other thread would read ciphertext as data
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class LoopbackPort:
    """A port that stays ours while nobody listens on it: dialling it is refused, and no other socket is given it.

    Without that, an outage in a test could end with a stranger on the port, or with a client that is given the port as
    its own source port and connects to itself. On Linux only; elsewhere the number is merely remembered.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        holder = socket.socket(self._family)
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((host, port))
        except OSError:
            holder.close()
            raise
        self.port: int = holder.getsockname()[1]
        if sys.platform == "linux":
            weakref.finalize(self, holder.close)
        else:
            holder.close()

    def listen(self, backlog: int = 128) -> socket.socket:
        """A listening socket on the port, which may be in use by older connections."""
        return socket.create_server((self.host, self.port), family=self._family, backlog=backlog)


class Connection:
    """One accepted connection, in the hands of its script."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.socket = sock
        self.stopping = stopping
        self.request = b""
        self._buffer = bytearray()

    def start_tls(self, context: tls.SSLContext) -> None:
        """Take the server's part in a TLS handshake. Raises OSError, with ssl.SSLError under it, if that fails."""
        # Two steps: stop() can cut the handshake only if self.socket is the socket that is in it
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.socket.settimeout(_TLS_SECONDS)
        self.socket.do_handshake()
        self.socket.settimeout(None)

    def read_request(self) -> bytes:
        """Read one HTTP request head, to the blank line and with it. Raises EOFError if the peer leaves before."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._fill()
        self.request = self._take(end + 4)
        return self.request

    def header(self, name: str) -> str:
        """A header of the request read last, in any case of letters; empty if it has none."""
        for line in self.request.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return ""

    def accept_upgrade(
        self, extra_headers: Headers = (), key_override: str | None = None, trickle: float | None = None
    ) -> None:
        """Answer 101, having read the request if the script has not.

        `key_override` is the client key to compute Sec-WebSocket-Accept from instead of the request's; `trickle` the
        seconds between two bytes of the answer.
        """
        if not self.request:
            self.read_request()
        key = self.header("Sec-WebSocket-Key") if key_override is None else key_override
        accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_GUID).digest()).decode()
        answer = _head(
            "101 Switching Protocols",
            [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)],
            extra_headers,
        )
        if trickle is None:
            self.send(answer)
            return
        for index in range(len(answer)):
            self.send(answer[index : index + 1])
            if self.stopping.wait(trickle):
                raise EOFError("the server stops")

    def respond(self, status_line: str, headers: Headers = (), body: bytes = b"") -> None:
        """Answer the request: `"503 Service Unavailable"`, with the HTTP version before it or without."""
        self.send(_head(status_line, [("Content-Length", str(len(body))), ("Connection", "close")], headers) + body)

    def send(self, data: bytes) -> None:
        """Write these bytes as they are. Raises OSError if the peer has gone."""
        self.socket.sendall(data)

    def read_frame(self) -> tuple[int, bytes]:
        """Read one frame: its opcode and unmasked payload. Raises EOFError if the peer leaves before its end."""
        first, second = self._take(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8))
        mask = self._take(4) if second & 0x80 else bytes(4)
        return first & 0x0F, _masked(self._take(length), mask)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Read and throw away until the peer leaves, for `timeout` seconds at most (None: no limit); whether it has."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                if deadline is not None:
                    self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                if not self.socket.recv(65536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            with suppress(OSError):
                self.socket.settimeout(None)

    def drop(self) -> None:
        """Reset the connection: the peer gets RST instead of an end."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """End the TCP connection in order: the peer reads what was sent, then the end of the stream."""
        with suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
        self.socket.close()

    def end(self, how: Ending) -> None:
        """Wait for the peer to leave, or `close()`, or `drop()`."""
        if how == "wait":
            self.wait_closed()
        elif how == "close":
            self.close()
        else:
            self.drop()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the peer has closed the connection")
        self._buffer += data


def _head(status_line: str, headers: Iterable[tuple[str, str]], more: Headers) -> bytes:
    pairs = [*headers, *(more.items() if isinstance(more, Mapping) else more)]
    status = status_line if status_line.startswith("HTTP/") else f"HTTP/1.1 {status_line}"
    return "".join([f"{status}\r\n", *(f"{key}: {value}\r\n" for key, value in pairs), "\r\n"]).encode("latin-1")


class TcpServer:
    """A server that runs `script(connection)` for each TCP connection, in a thread of its own.

    `ssl` is an ssl.SSLContext: the script then starts after the TLS handshake. `port` 0 takes a free one, and keeps it
    over `stop()` and `start()`.
    """

    def __init__(
        self, script: Script, *, ssl: tls.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.script = script
        self.ssl = ssl
        self.host = host
        self.stopping = threading.Event()
        self._wanted_port = port
        self._port: LoopbackPort | None = None
        self._changed = threading.Condition()  # guards what follows
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._threads: dict[threading.Thread, Connection] = {}
        self._accepted = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port, known from the first `start()` on; it stays the same while the server is stopped."""
        if self._port is None:
            raise RuntimeError("this server has no port yet; start() it first")
        return self._port.port

    @property
    def url(self) -> str:
        """The address to dial, `ws://` or `wss://`; the latter names localhost, as certificates do."""
        return server_url(self.host, self.port, self.ssl)

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted so far."""
        with self._changed:
            return self._accepted

    def wait_for(self, predicate: Callable[[], bool], timeout: float = 5.0) -> bool:
        """Wait up to `timeout` seconds until the predicate holds, asked again after each change; whether it does."""
        with self._changed:
            return self._changed.wait_for(predicate, timeout)

    def start(self) -> None:
        """Listen and accept. Raises RuntimeError if it does already, OSError if the given port is taken."""
        with self._changed:
            if self._listener is not None:
                raise RuntimeError("this server has been started already")
            if self._port is None:
                self._port = LoopbackPort(self.host, self._wanted_port)
            self.stopping = threading.Event()  # a new one: a script left over from before the stop keeps its own
            self._listener = self._port.listen()
            arguments = (self._listener, self.stopping)
            self._acceptor = threading.Thread(target=self._accept, args=arguments, name="wsnova-test-tcp", daemon=True)
            self._acceptor.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop listening and cut every connection.

        Raises TimeoutError if a script does not end within `timeout` seconds; calling it again waits for that again.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            listener, self._listener = self._listener, None
            self.stopping.set()
        if listener is not None:
            cut(listener)  # wakes accept() on Linux; closing alone would not
            listener.close()
        if self._acceptor is not None:
            self._acceptor.join(timeout)
        with self._changed:
            running = {thread: its for thread, its in self._threads.items() if thread is not threading.current_thread()}
        for connection in running.values():
            cut(connection.socket)
        for thread, connection in running.items():
            while thread.is_alive() and time.monotonic() < deadline:
                cut(connection.socket)  # again: the first may have met the moment in which TLS takes the socket over
                thread.join(0.02)
            if thread.is_alive():
                raise TimeoutError(f"the script of {thread.name} still runs after {timeout} s; let it wait on stopping")

    def _accept(self, listener: socket.socket, stopping: threading.Event) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                if stopping.wait(0.05):  # stop() has closed it; else no descriptor was free
                    return
                continue
            connection = Connection(sock, stopping)
            with self._changed:
                self._accepted += 1
                name = f"wsnova-test-tcp-{self._accepted}"
                thread = threading.Thread(target=self._run, args=(connection,), name=name, daemon=True)
                thread.start()
                self._threads = {each: its for each, its in self._threads.items() if each.is_alive()}
                self._threads[thread] = connection
                self._changed.notify_all()

    def _run(self, connection: Connection) -> None:
        try:
            # Only what the peer or stop() does to a script is expected; its own mistakes go to threading.excepthook
            with suppress(EOFError, OSError):
                if self.ssl is not None:
                    connection.start_tls(self.ssl)
                self.script(connection)
        finally:
            connection.close()
            with self._changed:
                self._changed.notify_all()


# Ready scripts, for TcpServer(script)


def never_answers(connection: Connection) -> None:
    """Read the request, and whatever follows it, and never say a word."""
    connection.wait_closed()


def accept_then_close(connection: Connection) -> None:
    """Read the request, then end the connection in order, without an answer."""
    connection.read_request()


def accept_then_drop(connection: Connection) -> None:
    """Read the request, then reset the connection."""
    connection.read_request()
    connection.drop()


def wrong_accept_key(connection: Connection) -> None:
    """Answer 101 with the Sec-WebSocket-Accept of another request."""
    connection.accept_upgrade(key_override="c29tZWJvZHkgZWxzZSdzIQ==")
    connection.wait_closed()


def half_open(connection: Connection) -> None:
    """Complete the upgrade, then neither read nor write any more: a peer that was unplugged."""
    connection.accept_upgrade()
    connection.stopping.wait()


def cuts_mid_frame(connection: Connection) -> None:
    """Complete the upgrade, then end the connection in the middle of a text frame of 100 bytes."""
    connection.accept_upgrade()
    connection.send(server_frame(TEXT, b"x" * 50, declared_length=100))


def refuses(status: int, headers: Headers = (), body: bytes = b"") -> Script:
    """Answer every upgrade with this HTTP status."""
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Refused"

    def script(connection: Connection) -> None:
        if not connection.request:  # the proxy has read it already
            connection.read_request()
        connection.respond(f"{status} {phrase}", headers, body)

    return script


def redirects(location: str, status: int = 302) -> Script:
    """Answer every upgrade with a redirect to `location`."""
    return refuses(status, {"Location": location})


def trickles(interval: float) -> Script:
    """Answer 101, one byte every `interval` seconds."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade(trickle=interval)
        connection.wait_closed()

    return script


def sends_raw(chunks: Iterable[bytes], then: Ending = "wait") -> Script:
    """Complete the upgrade and write these bytes, each in one call, to every client; then wait, close or drop."""
    written = list(chunks)

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        for chunk in written:
            connection.send(chunk)
        connection.end(then)

    return script


@contextmanager
def black_hole(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Yield the (host, port) of a listener whose queue is full: a TCP connect to it hangs. Linux only.

    Raises RuntimeError where the system answers such a connect all the same.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    waiting: list[socket.socket] = []
    with socket.create_server((host, 0), family=family, backlog=0) as listener:
        try:
            address: tuple[str, int] = listener.getsockname()[:2]
            for _ in range(16):
                filler = socket.socket(family)
                waiting.append(filler)
                filler.setblocking(False)
                filler.connect_ex(address)
                # A loopback connect is complete at once, so one that is not by now found the queue full
                if not select.select([], [filler], [], 0.05)[1]:
                    break
            else:
                raise RuntimeError("this system completes connects to a full listener; black_hole() needs Linux")
            yield address
        finally:
            for filler in waiting:
                filler.close()


class ConnectProxy(TcpServer):
    """An HTTP CONNECT proxy (RFC 9110 section 9.3.6).

    `credentials` is the (user, password) it asks for, with 407, by Proxy-Authorization; `refuse` an HTTP status to
    answer every CONNECT with; `upstream` the (host, port) to reach whatever the target is called, for names that only
    the proxy can resolve.
    """

    def __init__(
        self,
        *,
        credentials: tuple[str, str] | None = None,
        refuse: int | None = None,
        upstream: tuple[str, int] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(self._serve, host=host, port=port)
        self.credentials = credentials
        self.refuse = refuse
        self.upstream = upstream
        self._targets: list[str] = []

    @property
    def url(self) -> str:
        """The proxy's address, `http://host:port`."""
        return f"http://{_authority(self.host)}:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The `host:port` of every CONNECT so far, refused ones too; a copy."""
        with self._changed:
            return list(self._targets)

    def _serve(self, connection: Connection) -> None:
        method, target, *_ = connection.read_request().decode("latin-1").split()
        if method != "CONNECT":
            connection.respond("405 Method Not Allowed", {"Allow": "CONNECT"})
            return
        with self._changed:
            self._targets.append(target)
            self._changed.notify_all()
        if self.credentials is not None and connection.header("Proxy-Authorization") != _basic(*self.credentials):
            connection.respond("407 Proxy Authentication Required", {"Proxy-Authenticate": 'Basic realm="test"'})
        elif self.refuse is not None:
            refuses(self.refuse)(connection)
        else:
            self._tunnel(connection, target)

    def _tunnel(self, connection: Connection, target: str) -> None:
        host, _, port = target.rpartition(":")
        try:
            upstream = socket.create_connection(self.upstream or (host.strip("[]"), int(port)), timeout=5.0)
        except (OSError, ValueError):
            connection.respond("502 Bad Gateway")
            return
        with upstream:
            upstream.settimeout(None)
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            name = f"{threading.current_thread().name}-back"
            back = threading.Thread(target=_pump, args=(upstream, connection.socket), name=name, daemon=True)
            back.start()
            _pump(connection.socket, upstream)
            cut(upstream)  # the client has gone, nobody reads the rest
            back.join()


http_connect_proxy = ConnectProxy


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until the source ends, then end the sink's direction."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
