"""The test kit's raw TCP server and proxy: each misbehaves exactly as it says."""

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable

import pytest
import trustme
import websocket
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError, InvalidHandshake, InvalidProxyStatus, InvalidStatus
from websockets.sync.client import connect

from wsnova_statsd.testing import tcp
from wsnova_statsd.testing.server import WebSocketServer
from wsnova_statsd.testing.tcp import Connection, ConnectProxy, TcpServer, server_frame

_REQUEST = (
    b"GET /feed HTTP/1.1\r\nHost: feed.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_RFC_ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # RFC 6455 section 1.3


def _dial(server: TcpServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=5)


def _until_end(sock: socket.socket) -> bytes:
    got = b""
    while data := sock.recv(65536):
        got += data
    return got


def _ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("wsnova-test-tcp")]


def _answer(script: tcp.Script) -> bytes:
    """All that the script says to one request, to the end of the stream."""
    with TcpServer(script) as server, _dial(server) as client:
        client.sendall(_REQUEST)
        return _until_end(client)


# Frames


def test_frames_are_written_as_in_the_rfc() -> None:
    """The unmasked examples of RFC 6455 section 5.7 come out byte for byte."""
    assert server_frame(tcp.TEXT, b"Hello") == bytes.fromhex("81 05 48 65 6c 6c 6f")
    assert server_frame(tcp.TEXT, b"Hel", fin=False) == bytes.fromhex("01 03 48 65 6c")
    assert server_frame(tcp.CONTINUATION, b"lo") == bytes.fromhex("80 02 6c 6f")
    assert server_frame(tcp.BINARY, bytes(256))[:4] == bytes.fromhex("82 7e 01 00")
    assert server_frame(tcp.BINARY, bytes(65536))[:10] == bytes.fromhex("82 7f 00 00 00 00 00 01 00 00")


def test_frames_can_be_wrong_on_purpose() -> None:
    """Reserved bits, a mask, and a length that is not the payload's are written as asked."""
    assert server_frame(tcp.TEXT, rsv=4) == bytes.fromhex("c1 00")
    assert server_frame(tcp.TEXT, b"x", declared_length=2**40)[:10] == bytes.fromhex("81 7f 00 00 01 00 00 00 00 00")
    masked = server_frame(tcp.TEXT, b"Hello", masked=True)
    assert (len(masked), masked[1]) == (11, 0x85)


@given(st.sampled_from([tcp.TEXT, tcp.BINARY, tcp.PING]), st.binary(max_size=70_000), st.booleans())
def test_a_frame_reads_back_as_it_was_written(opcode: int, payload: bytes, masked: bool) -> None:
    """`read_frame` undoes `server_frame`, masked or not, whatever the length."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=theirs.sendall, args=(server_frame(opcode, payload, masked=masked),))
        writer.start()
        assert Connection(ours, threading.Event()).read_frame() == (opcode, payload)
        writer.join()


# A connection in the hands of its script


def test_a_script_talks_to_a_real_client() -> None:
    """Upgrade, frames in both directions and the close handshake work with a client that checks them."""

    def script(connection: Connection) -> None:
        connection.accept_upgrade([("X-Extra", "1")])
        opcode, payload = connection.read_frame()
        connection.send(server_frame(opcode, payload.upper()))
        assert connection.read_frame() == (tcp.CLOSE, b"\x03\xe8")
        connection.send(server_frame(tcp.CLOSE, b"\x03\xe8"))

    with TcpServer(script) as server, connect(server.url, compression=None) as client:
        assert client.response is not None
        assert client.response.headers["X-Extra"] == "1"
        client.send("hello")
        assert client.recv(5) == "HELLO"
        client.close()
        assert client.close_code == 1000


def test_the_accept_key_is_the_rfcs() -> None:
    """The example key of RFC 6455 gets the example answer."""
    assert _RFC_ACCEPT in _answer(lambda connection: connection.accept_upgrade())


def test_a_request_is_read_to_its_blank_line_and_no_further() -> None:
    """Bytes behind the request stay for `read_frame`; headers are found in any case of letters."""
    seen: list[object] = []

    def script(connection: Connection) -> None:
        seen.append(connection.read_request())
        seen.append(connection.read_frame())
        seen.extend([connection.header("sec-websocket-version"), connection.header("X-None")])

    with TcpServer(script) as server, _dial(server) as client:
        client.sendall(_REQUEST + server_frame(tcp.PING, b"early", masked=True))
        assert _until_end(client) == b""
    assert seen == [_REQUEST, (tcp.PING, b"early"), "13", ""]


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", _REQUEST, _REQUEST + b"\x81\x85abc"])
def test_a_peer_that_leaves_too_early_raises_eof_error(sent: bytes) -> None:
    """`read_request` and `read_frame` tell a stream that ends before they have what they need."""
    caught: list[BaseException] = []

    def script(connection: Connection) -> None:
        try:
            connection.read_request()
            connection.read_frame()
        except EOFError as error:
            caught.append(error)

    with TcpServer(script) as server, _dial(server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert _until_end(client) == b""
    assert len(caught) == 1


@pytest.mark.parametrize("status", ["503 Service Unavailable", "HTTP/1.1 503 Service Unavailable"])
def test_an_answer_has_status_headers_and_body(status: str) -> None:
    """`respond` writes one complete HTTP answer."""
    answer = _answer(lambda connection: connection.respond(status, {"Retry-After": "1"}, b"later"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 Service Unavailable",
        b"Content-Length: 5",
        b"Connection: close",
        b"Retry-After: 1",
    ]
    assert body == b"later"


def test_waiting_for_the_peer_tells_whether_it_has_left() -> None:
    """`wait_closed` is False while the peer stays, True once it has gone, and leaves no timeout behind."""
    seen: list[object] = []
    told = threading.Event()

    def script(connection: Connection) -> None:
        seen.append(connection.wait_closed(0.02))
        seen.append(connection.socket.gettimeout())
        told.set()
        seen.append(connection.wait_closed(5))

    with TcpServer(script) as server:
        with _dial(server):
            assert told.wait(5)
        assert server.wait_for(lambda: len(seen) == 3)
    assert seen == [False, None, True]


# The server


def test_it_counts_connections_and_restarts_on_its_port() -> None:
    """An outage is a stop and a start; connections are counted over both."""
    with TcpServer(tcp.refuses(503)) as server:
        port = server.port
        with _dial(server) as client:
            assert server.wait_for(lambda: server.connections == 1)
            server.stop()
            assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            _dial(server)
        server.start()
        assert server.port == port
        with _dial(server) as client:
            client.sendall(_REQUEST)
            assert _until_end(client).startswith(b"HTTP/1.1 503 ")
        assert server.connections == 2


def test_stopping_ends_scripts_wherever_they_wait() -> None:
    """Scripts that read, trickle, or wait for the stop all end, and no thread is left."""
    scripts: list[tcp.Script] = [tcp.never_answers, tcp.half_open, tcp.trickles(60), tcp.sends_raw([])]
    for script in scripts:
        with TcpServer(script) as server, _dial(server) as client:
            client.sendall(_REQUEST)
            assert server.wait_for(lambda server=server: server.connections == 1)  # type: ignore[misc]
        assert _ours() == []


def test_a_script_that_does_not_end_is_reported() -> None:
    """`stop` raises TimeoutError instead of hanging."""
    release = threading.Event()
    server = TcpServer(lambda _connection: release.wait())
    server.start()
    with _dial(server):
        assert server.wait_for(lambda: server.connections == 1)
        with pytest.raises(TimeoutError, match=r"wsnova-test-tcp-1 still runs after 0\.05 s"):
            server.stop(timeout=0.05)
    release.set()
    server.stop()
    assert _ours() == []


def test_misuse_is_an_error() -> None:
    """No address before the start, and no second start."""
    server = TcpServer(tcp.never_answers)
    with pytest.raises(RuntimeError, match="start"):
        _ = server.port
    with server, pytest.raises(RuntimeError, match="started already"):
        server.start()


def test_its_threads_are_named_daemons() -> None:
    """Every thread has the documented name, and none keeps the interpreter alive."""
    with TcpServer(tcp.never_answers) as server, _dial(server):
        assert server.wait_for(lambda: "wsnova-test-tcp-1" in _ours())
        named = [thread for thread in threading.enumerate() if thread.name in _ours()]
        assert {thread.name for thread in named} == {"wsnova-test-tcp", "wsnova-test-tcp-1"}
        assert all(thread.daemon for thread in named)
    assert _ours() == []


def test_it_speaks_tls_and_survives_a_client_that_does_not() -> None:
    """With an SSLContext the script starts after the TLS handshake, and a failed one ends only its connection."""
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    with TcpServer(tcp.sends_raw([server_frame(tcp.TEXT, b"hi")]), ssl=server_tls) as server:
        with _dial(server) as plain:
            plain.sendall(_REQUEST)
            plain.shutdown(socket.SHUT_WR)
            with pytest.raises((AssertionError, ConnectionError)):
                assert _until_end(plain).startswith(b"HTTP")
        assert server.url == f"wss://localhost:{server.port}"
        client = websocket.create_connection(server.url, timeout=5, sslopt={"context": client_tls})
        assert client.recv() == "hi"
        client.shutdown()  # type: ignore[no-untyped-call]
        with _dial(server) as mute:  # never begins its handshake
            assert server.wait_for(lambda: server.connections == 3)
            server.stop(timeout=2)
            assert mute.recv(1) == b""


# Ready scripts


def test_never_answers() -> None:
    """The request is read, and nothing comes back."""
    with TcpServer(tcp.never_answers) as server, _dial(server) as client:
        client.sendall(_REQUEST)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_accept_then_close() -> None:
    """The stream ends in order, without an answer."""
    assert _answer(tcp.accept_then_close) == b""


def test_accept_then_drop() -> None:
    """The client gets a reset, not an end."""
    with pytest.raises(ConnectionResetError):
        _answer(tcp.accept_then_drop)


def test_refuses() -> None:
    """A client sees the status, its phrase and the headers; a status of nobody's list has a phrase too."""
    with TcpServer(tcp.refuses(429, {"Retry-After": "7"}, b"slow down")) as server:
        with pytest.raises(InvalidStatus) as caught:
            connect(server.url)
        response = caught.value.response
        assert (response.status_code, response.reason_phrase) == (429, "Too Many Requests")
        assert (response.headers["Retry-After"], response.body) == ("7", b"slow down")
    assert _answer(tcp.refuses(599)).startswith(b"HTTP/1.1 599 Refused\r\n")


def test_redirects() -> None:
    """A client that follows redirects ends up where it is sent; the status can be chosen."""
    with WebSocketServer() as goal, TcpServer(tcp.redirects(goal.url)) as server:
        client = websocket.create_connection(server.url, timeout=5)
        client.send("here")
        assert client.recv() == "here"
        client.close()
    assert _answer(tcp.redirects("/there", 307)).startswith(b"HTTP/1.1 307 Temporary Redirect\r\n")


def test_trickles() -> None:
    """The answer is right, but each byte comes alone."""
    with TcpServer(tcp.trickles(0.001)) as server, _dial(server) as client:
        client.sendall(_REQUEST)
        began = time.monotonic()
        got = b""
        while not got.endswith(b"\r\n\r\n"):
            got += client.recv(65536)
        assert _RFC_ACCEPT in got
        assert time.monotonic() - began >= 0.001 * (len(got) - 1)


def test_wrong_accept_key() -> None:
    """A client that checks the key refuses the upgrade."""
    with TcpServer(tcp.wrong_accept_key) as server:
        with pytest.raises(InvalidHandshake):
            connect(server.url)
        with pytest.raises(websocket.WebSocketException):
            websocket.create_connection(server.url, timeout=5)


def test_half_open() -> None:
    """After the upgrade neither pings nor pushes have an effect: in the end the client cannot write any more."""
    with TcpServer(tcp.half_open) as server, _dial(server) as client:
        client.sendall(_REQUEST)
        assert client.recv(12) == b"HTTP/1.1 101"
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(1 << 26))  # more than any kernel buffers


def test_cuts_mid_frame() -> None:
    """The client gets half a frame and then the end."""
    frame = _answer(tcp.cuts_mid_frame).partition(b"\r\n\r\n")[2]
    assert frame == b"\x81\x64" + b"x" * 50
    with TcpServer(tcp.cuts_mid_frame) as server, connect(server.url) as client, pytest.raises(ConnectionClosedError):
        client.recv(5)


def test_sends_raw() -> None:
    """The bytes come as they are, to every client, and then the ending that was asked for."""
    chunks = [b"\x81\x02h", b"i", b"\xff\xff"]
    with TcpServer(tcp.sends_raw(iter(chunks), then="close")) as server:
        for _ in range(2):
            with _dial(server) as client:
                client.sendall(_REQUEST)
                assert _until_end(client).partition(b"\r\n\r\n")[2] == b"".join(chunks)
    with pytest.raises(ConnectionResetError):
        _answer(tcp.sends_raw([], then="drop"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux leaves such a connect hanging")
def test_black_hole() -> None:
    """A TCP connect neither succeeds nor fails, time and again."""
    with tcp.black_hole() as address:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.1)


# The proxy


def test_a_client_reaches_its_server_through_the_proxy() -> None:
    """A tunnel carries a WebSocket both ways, and its target is counted."""
    with WebSocketServer() as server, ConnectProxy() as proxy:
        with connect(server.url, proxy=proxy.url) as client:
            client.send("x" * 300_000)
            assert client.recv(5) == "x" * 300_000
        assert proxy.targets == [f"127.0.0.1:{server.port}"]
        assert server.connections == 1
    assert _ours() == []


def test_the_proxy_resolves_what_the_client_cannot() -> None:
    """With `upstream`, any target leads there."""
    with WebSocketServer() as server, ConnectProxy(upstream=("127.0.0.1", server.port)) as proxy:
        with connect("ws://feed.invalid:8080/", proxy=proxy.url) as client:
            client.send("hi")
            assert client.recv(5) == "hi"
        assert proxy.targets == ["feed.invalid:8080"]


def test_the_end_of_the_server_reaches_the_client_through_the_proxy() -> None:
    """A dropped upstream connection ends the tunnel, and so does stopping the proxy."""
    for end in (WebSocketServer.drop_all, None):
        with WebSocketServer() as server, ConnectProxy() as proxy, connect(server.url, proxy=proxy.url) as client:
            if end is None:
                proxy.stop()
            else:
                end(server)
            with pytest.raises(ConnectionClosedError):
                client.recv(5)


def test_the_proxy_asks_for_credentials() -> None:
    """Without the right ones the answer is 407; with them the tunnel opens."""
    with WebSocketServer() as server, ConnectProxy(credentials=("ann", "s3cret")) as proxy:
        with pytest.raises(InvalidProxyStatus) as caught:
            connect(server.url, proxy=proxy.url)
        assert caught.value.response.status_code == 407
        with connect(server.url, proxy=proxy.url.replace("//", "//ann:s3cret@")):
            pass
        assert len(proxy.targets) == 2
        assert server.connections == 1


def _tunnelled(proxy: ConnectProxy, request: bytes) -> bytes:
    with _dial(proxy) as client:
        client.sendall(request)
        return _until_end(client)


@pytest.mark.parametrize(
    ("make", "request_head", "status"),
    [
        (lambda: ConnectProxy(refuse=403), b"CONNECT feed.example:443 HTTP/1.1\r\n\r\n", b"403 Forbidden"),
        (ConnectProxy, b"GET http://feed.example/ HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (ConnectProxy, b"CONNECT feed.example HTTP/1.1\r\n\r\n", b"502 Bad Gateway"),
    ],
)
def test_the_proxy_refuses(make: Callable[[], ConnectProxy], request_head: bytes, status: bytes) -> None:
    """A status of the test's choice, another method, and a target that cannot be reached each have their answer."""
    with make() as proxy:
        assert _tunnelled(proxy, request_head).startswith(b"HTTP/1.1 " + status)
