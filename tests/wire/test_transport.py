"""The upgrade against servers that answer it in every way, and the bytes of the transport after it."""

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest
import websocket

from tests.support import LATE, Contexts, take
from wsnova_statsd import Bus, Client
from wsnova_statsd.client.sender import data_frame
from wsnova_statsd.dial.dial import Dial, Stream
from wsnova_statsd.dial.headers import header_pairs
from wsnova_statsd.dial.target import target
from wsnova_statsd.errors import ConfigurationError, ConnectionFailed, HandshakeRefused, NotConnected
from wsnova_statsd.link.handshake import Offer, upgrade
from wsnova_statsd.link.transport import Transport
from wsnova_statsd.testing.server import WebSocketServer, send_messages, silent
from wsnova_statsd.testing.tcp import (
    BINARY,
    PING,
    TEXT,
    Connection,
    TcpServer,
    half_open,
    redirects,
    refuses,
    server_frame,
    wrong_accept_key,
)


def _dial(
    server: TcpServer | WebSocketServer,
    headers: Sequence[str] = (),
    subprotocols: Sequence[str] = (),
    context: ssl.SSLContext | None = None,
    timeout: float = 5.0,
) -> tuple[Transport, str | None]:
    dial = Dial(timeout)
    try:
        sock: Stream = dial.connect("127.0.0.1", server.port)
        if context is not None:
            sock = dial.secure(sock, context, "localhost")
        try:
            made = upgrade(dial, sock, target(server.url), header_pairs(headers), Offer(subprotocols))
            return Transport(sock, made.ahead), made.subprotocol
        except ConnectionFailed:
            assert sock.fileno() == -1  # nothing of a failed upgrade is left
            raise
    finally:
        dial.close()


@contextmanager
def _connected(
    server: TcpServer | WebSocketServer, headers: Sequence[str] = (), context: ssl.SSLContext | None = None
) -> Iterator[Transport]:
    transport, _ = _dial(server, headers, context=context)
    try:
        yield transport
    finally:
        transport.close()


def _fails(server: TcpServer, timeout: float = 5.0) -> ConnectionFailed:
    with pytest.raises(ConnectionFailed) as caught:
        _dial(server, timeout=timeout)[0].close()
    return caught.value


def _refused(server: TcpServer) -> HandshakeRefused:
    error = _fails(server)
    assert isinstance(error, HandshakeRefused)
    return error


def _read(transport: Transport, size: int) -> bytes:
    got, deadline = b"", time.monotonic() + 5
    while len(got) < size and time.monotonic() < deadline:
        data = take(transport)
        if data == b"":
            break
        if data is None:
            transport.wait(0.2)
        else:
            got += data
    return got


# Refusals


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 426, 500, 503])
def test_another_status_is_an_error(status: int) -> None:
    """As it is, and as a bounded cause; here without a Retry-After."""
    with TcpServer(refuses(status, body=b"no")) as server:
        error = _refused(server)
    assert (error.status, error.cause, error.retry_after) == (status, f"http_{status}", None)


@pytest.mark.parametrize(
    ("status", "given_", "expected"),
    [
        (503, "7", 7.0),
        (429, " 30 ", 30.0),
        (503, "301", 300.0),
        (503, "9" * 400, 300.0),
        (503, "soon", None),
        (503, "-5", None),
        (503, "1.5", None),
        (503, "", None),
        (503, "Sat, 01 Jan 2000 00:00:00 GMT", 0.0),
        (503, "Mon, 01 Jan 0001 00:00:00 -0000", None),
        (503, "Fri, 31 Dec 9999 23:59:59 -2359", 300.0),
        (401, "7", None),
    ],
)
def test_retry_after_is_read_for_429_and_503(status: int, given_: str, expected: float | None) -> None:
    """In seconds, at most five minutes; an unusable value is ignored, however strange."""
    with TcpServer(refuses(status, {"Retry-After": given_})) as server:
        found = _refused(server).retry_after
    assert found == expected or (expected is None and found == 0.0 and given_.endswith("-0000"))


def test_retry_after_may_be_a_date() -> None:
    """Sixty seconds from now."""
    with TcpServer(refuses(503, {"Retry-After": formatdate(time.time() + 60, usegmt=True)})) as server:
        wait = _refused(server).retry_after
    assert wait is not None
    assert 50 < wait <= 61


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused(status: int) -> None:
    """Following one would send the headers elsewhere; no other host is dialled."""
    with TcpServer(half_open) as other, TcpServer(redirects(other.url, status)) as server:
        assert _refused(server).status == status
        assert server.connections == 1
        assert other.connections == 0


# Invalid answers


_ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def test_the_wrong_accept_key_is_refused() -> None:
    """An answer to another request, for example from a cache."""
    with TcpServer(wrong_accept_key) as server:
        assert _fails(server).cause == "handshake"


@pytest.mark.parametrize(
    ("head", "piece", "cause"),
    [
        (_ACCEPTED, b"X-Filler: " + b"x" * 1000 + b"\r\n", "handshake"),
        (_ACCEPTED, b"x" * 1000, "handshake"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40, "handshake"),
        (b"HTTP/1.1 503 Busy\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n", "http_503"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 1000, "http_503"),
    ],
)
def test_an_endless_answer_is_bounded(head: bytes, piece: bytes, cause: str) -> None:
    """Many lines, one without an end, hints without an end, or the body of a refusal: over long before the deadline."""
    sent = 0

    def script(connection: Connection) -> None:
        nonlocal sent
        connection.read_request()
        connection.send(head)
        while not connection.stopping.is_set():
            connection.send(piece)
            sent += len(piece)

    with TcpServer(script) as server:
        began = time.monotonic()
        assert _fails(server, timeout=50.0).cause == cause
        assert time.monotonic() - began < 25.0
    assert sent < 16 * 2**20  # what the kernel's buffers hold, not what memory holds


def test_what_is_no_http_is_an_error_before_its_end() -> None:
    """A peer of another protocol sends its first bytes and waits: the dial does not wait for the deadline."""

    def script(connection: Connection) -> None:
        connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")
        connection.wait_closed()

    with TcpServer(script) as server:
        began = time.monotonic()
        assert _fails(server, timeout=30.0).cause == "handshake"
        assert time.monotonic() - began < LATE


# The request


def test_headers_and_subprotocols_are_sent() -> None:
    """As lines of the request; the server's choice comes back."""
    with WebSocketServer(subprotocols=["v2.feed"]) as server:
        transport, chosen = _dial(server, ["X-Token: abc", "X-Other: d"], ["v1.feed", "v2.feed"])
        transport.close()
        (request,) = server.requests
    assert chosen == "v2.feed"
    assert (request.headers["X-Token"], request.headers["X-Other"]) == ("abc", "d")
    assert request.headers["Sec-WebSocket-Protocol"].replace(" ", "") == "v1.feed,v2.feed"


def test_a_subprotocol_that_was_not_offered_is_refused() -> None:
    """RFC 6455 section 4.1: the connection fails."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade({"Sec-WebSocket-Protocol": "other"})
        connection.wait_closed()

    with TcpServer(script) as server, pytest.raises(ConnectionFailed) as caught:
        _dial(server, subprotocols=["v1.feed"])
    assert caught.value.cause == "handshake"


@pytest.mark.parametrize("headers", [{"X-Key": "a\r\nX-Evil: 1"}, ["X-Key: a\nX-Evil: 1"], [("X-Key\r\nX-Evil", "1")]])
def test_a_header_cannot_inject_another(headers: Any) -> None:
    """Refused where it is written; if a callable returns it, no request is sent."""
    with WebSocketServer(silent) as server:
        with pytest.raises(ConfigurationError):
            Client(server.url, headers=headers)
        client = Client(server.url, headers=lambda: headers, reconnect=False, bus=Bus())
        with pytest.raises(ConnectionFailed) as caught:
            client.start()
        assert caught.value.cause == "headers"
        assert server.requests == []


def test_a_cookie_of_one_handshake_is_never_sent_with_another() -> None:
    """Neither with another of ours nor with one of an application that uses websocket-client directly."""
    cookies: list[str] = []

    def script(connection: Connection) -> None:
        connection.read_request()
        cookies.append(connection.header("Cookie"))
        connection.accept_upgrade({"Set-Cookie": "sid=secret; Domain=127.0.0.1"})
        connection.wait_closed()

    with TcpServer(script) as server:
        for _ in range(2):
            with _connected(server):
                pass
        other = websocket.create_connection(server.url, timeout=5)
        other.shutdown()  # type: ignore[no-untyped-call]
        with _connected(server):
            pass
    assert cookies == ["", "", "", ""]


# Bytes after the upgrade


def test_frames_sent_together_with_the_answer_are_not_lost(
    tls: Contexts,
) -> None:
    """In one write with the 101, in one TLS record even, and more than one read takes."""
    frames = server_frame(TEXT, b"first") + server_frame(BINARY, b"x" * 10_000) + server_frame(TEXT, b"last")

    def script(connection: Connection) -> None:
        answer = bytearray()
        connection.read_request()
        direct, connection.send = connection.send, answer.extend  # type: ignore[method-assign, assignment]
        connection.accept_upgrade()
        direct(bytes(answer) + frames)
        connection.wait_closed()

    with TcpServer(script, ssl=tls[0]) as server, _connected(server, context=tls[1]) as transport:
        assert _read(transport, len(frames)) == frames
        assert take(transport) is None


def test_a_read_without_data_is_none_and_the_end_is_empty(
    tls: Contexts,
) -> None:
    """Reading never waits; waiting ends when bytes come."""
    go = threading.Event()

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        go.wait(5)
        connection.send(server_frame(PING))

    with TcpServer(script, ssl=tls[0]) as server, _connected(server, context=tls[1]) as transport:
        began = time.monotonic()
        assert take(transport) is None
        assert time.monotonic() - began < LATE
        if tls[0] is None:  # TLS 1.3 tickets are bytes for the socket, though not for us
            assert not transport.wait(0.05)
        go.set()
        assert _read(transport, 2) == b"\x89\x00"
        assert _read(transport, 1) == b""


def test_if_poll_is_missing_a_selector_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: until bytes come, and no longer than its timeout."""
    go = threading.Event()

    def script(connection: Connection) -> None:
        connection.accept_upgrade()
        go.wait(5)
        connection.send(server_frame(PING))

    monkeypatch.delattr("select.poll")
    with TcpServer(script) as server, _connected(server) as transport:
        assert not transport.wait(0.05)
        go.set()
        assert transport.wait(5.0)
        assert take(transport) == b"\x89\x00"


def test_masked_frames_arrive(tls: Contexts) -> None:
    """Of every length form, byte for byte, each with its own mask."""
    payloads = [b"", b"a" * 125, b"b" * 126, b"c" * 65535, b"d" * 65536]
    with WebSocketServer(send_messages([]), ssl=tls[0]) as server, _connected(server, context=tls[1]) as transport:
        for payload in payloads:
            transport.send(data_frame(BINARY, payload), 5.0)
        assert server.wait_for(lambda: len(server.received) == len(payloads))
        assert server.received == payloads
    assert all(data_frame(TEXT, b"x")[1] & 0x80 for _ in range(10))
    assert len({data_frame(TEXT, b"same") for _ in range(10)}) == 10


def test_a_peer_that_reads_no_more_ends_the_send_at_its_deadline(
    tls: Contexts,
) -> None:
    """NotConnected, since half a frame may have been sent."""
    with TcpServer(half_open, ssl=tls[0]) as server, _connected(server, context=tls[1]) as transport:
        began = time.monotonic()
        with pytest.raises(NotConnected):
            transport.send(bytes(64 * 2**20), 0.4)
        assert 0.3 < time.monotonic() - began < 0.4 + LATE


def test_shutdown_wakes_reader_and_writer(tls: Contexts) -> None:
    """From another thread; the reader then sees the end of the stream, never ciphertext."""
    with TcpServer(half_open, ssl=tls[0]) as server, _connected(server, context=tls[1]) as transport:
        while take(transport) is not None:
            pass
        threading.Timer(0.2, transport.shutdown).start()
        began = time.monotonic()
        while take(transport) is None:
            assert transport.wait(5.0)
        assert time.monotonic() - began < 0.2 + LATE
        with pytest.raises(NotConnected):
            transport.send(data_frame(TEXT, b"late"), 1.0)
